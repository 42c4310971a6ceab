"""Pair images and labels by their names, by one rule that fits all of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from unicodedata import normalize

from ..bundle.channels import cut_ending
from ..errors import InputError
from ..files import some
from ..transforms.dicom_picture import tell_other
from ..transforms.volume_file import list_files
from ..walk import LeftOut, walk
from .images import KINDS, is_image

_SAMPLES = 5  # images, and labels, that propose rules
_WILD = re.compile(r"[*?\[]")
_CHANNEL = re.compile(r"(?P<name>.+)_(?P<channel>\d{4})")


@dataclass(frozen=True)
class PairRule:
    """What stands around the name of a case in the names of its image and of its label."""

    image: tuple[str, str] = ("", "")
    label: tuple[str, str] = ("", "")

    def __str__(self) -> str:
        """Say the rule, such as ``NAME, NAME_mask``."""
        image, label = (f"{before}NAME{after}" for before, after in (self.image, self.label))
        return "image and label have the same name" if image == label else f"{image}, {label}"

    def case_of(self, image: str) -> str | None:
        """The name of the case of an image; None where the rule does not fit."""
        before, after = self.image
        fits = image.startswith(before) and image.endswith(after)
        return image[len(before) : len(image) - len(after)] or None if fits else None

    def label_of(self, case: str) -> str:
        """The name of the label of a case."""
        return case.join(self.label)


@dataclass(frozen=True)
class Pairs:
    """The cases that were found.

    Attributes:
        rules: one for each channel.
        files: the images, one for each channel, and the labels of each case, by its name; None
            for a mask that a case lacks.
        unpaired: the images and labels that belong to no case.
        left_out: what else lies in the folders, each a path and the reason.
    """

    rules: Sequence[PairRule]
    files: Mapping[str, tuple[tuple[Path, ...], tuple[Path | None, ...]]]
    unpaired: Sequence[Path]
    left_out: Sequence[LeftOut] = ()


def pair_images(
    images: Sequence[str],
    labels: str,
    *,
    skip_incomplete: bool = False,
    marked: Collection[Path] = (),
) -> Pairs:
    """Pair the images and labels in folders, or of patterns such as ``cases/*/t1.nii.gz``.

    A name is the path below the folder, or below the part of the pattern without wildcards, and
    has no ending. One rule for all says what stands before and after the name of a case.

    Args:
        images: a folder or pattern for each channel; one alone may hold all channels of nnU-Net,
            which end in ``_0000``, ``_0001``, ....
        labels: the folder or pattern.
        skip_incomplete: leave out images and labels that no rule pairs.
        marked: other labels, which are not images either where a folder holds both.

    Raises:
        InputError: there are no files, two have one name, or a file is not paired.
    """
    by_label, left_out = find_files(labels, option="--labels")
    channels = []
    for each in images:
        found, others = find_files(each, option="--images")
        no_image = {*marked, *by_label.values()}
        channels.append({n: p for n, p in found.items() if p not in no_image} or found)
        left_out += others
    if len(channels) == 1:
        channels = _split_channels(channels[0], by_label)
    rules = [find_rule(list(found), list(by_label)) for found in channels]
    cases = [
        {
            rule.label_of(case): (case, path)
            for name, path in found.items()
            if (case := rule.case_of(name))
        }
        for rule, found in zip(rules, channels, strict=True)
    ]
    files = {
        cases[0][name][0]: (tuple(found[name][1] for found in cases), (label,))
        for name, label in by_label.items()
        if all(name in found for found in cases)
    }
    used = {path for images, labels in files.values() for path in (*images, *labels)}
    every = [path for found in (*channels, by_label) for path in found.values()]
    unpaired = [path for path in every if path not in used]
    shown = "; ".join(dict.fromkeys(map(str, rules)))
    if not files or (unpaired and not skip_incomplete):
        raise InputError(
            f"{len(unpaired)} of {len(every)} files have no partner by the best rule ({shown}): "
            f"{some(list(map(str, unpaired)), shown=3)}; rename them, give patterns such as "
            f"--images 'FOLDER/*_image.png'{', or add --skip-incomplete' if files else ''}. Where "
            "an image has several masks, give --labels NAME=FOLDER for each kind."
        )
    if twice := [str(label) for images, (label,) in files.values() if label in images]:
        raise InputError(
            f"{some(twice, shown=2)}: each is both image and label; give a pattern for each, such "
            "as --images 'FOLDER/*_image.png' --labels 'FOLDER/*_mask.png'."
        )
    left_out = [each for each in dict.fromkeys(left_out) if each[0] not in used]
    return Pairs(rules, dict(sorted(files.items())), unpaired, left_out)


def find_rule(images: Sequence[str], labels: Sequence[str]) -> PairRule:
    """Find the rule that pairs the most images with a label, the plainest of several."""
    proposed: Counter[PairRule] = Counter()
    for image in _some_of(images):
        proposed.update({rule for label in labels for rule in _propose(image, label)})
    for label in _some_of(labels):  # where there are few, none may be of those images
        proposed.update({rule for image in images for rule in _propose(image, label)})
    most = [PairRule(), *(rule for rule, _ in proposed.most_common(50))]
    known = set(labels)

    def fitting(rule: PairRule) -> tuple[int, int]:
        named = filter(None, map(rule.case_of, images))
        extra = sum(map(len, (*rule.image, *rule.label)))
        return len({rule.label_of(name) for name in named} & known), -extra

    return max(most, key=fitting)


def find_files(place: str, *, option: str) -> tuple[dict[str, Path], list[LeftOut]]:
    """Find the images of a folder, at any depth, or of a pattern, by name.

    Returns:
        The images; and what else lies in a folder, with the reason why it is left out.

    Raises:
        InputError: there are none, or two have one name.
    """
    parts = Path(place).parts
    literal = [Path(*parts[: n + 1]).exists() for n in range(len(parts))]  # "a [1]" may be a name
    wild = next((n for n, part in enumerate(parts) if _WILD.search(part) and not literal[n]), None)
    root = Path(place) if wild is None else Path(*parts[:wild])
    if not root.is_dir():
        raise InputError(f"{option} {place}: there is no folder {root}; give one, or a pattern.")
    if wild is None:
        paths, left_out = walk(root)
    else:
        paths, left_out = sorted(root.glob(_in_any_case(str(Path(*parts[wild:]))))), []
    found: dict[str, Path] = {}
    slices = {path: why for path in filter(is_image, paths) if (why := tell_other(path))}
    for path in filter(is_image, paths):
        if path in slices:
            continue
        name = normalize("NFC", path.relative_to(root).as_posix())  # a Mac writes NFD
        name = cut_ending(name, KINDS)
        if (other := found.setdefault(name, path)) != path:
            raise InputError(f"{option} {place}: {other} and {path} have one name; keep one.")
    if not found:
        others = f", but {some([path.name for path in paths])}" if paths else ""
        raise InputError(
            f"{option} {place}: it holds no {', '.join(KINDS)}{others}; give another folder, or "
            "convert the images to one of these. For a series in DICOM there is `data prepare "
            "dicom`."
        )
    if wild is None:
        left_out += slices.items()
        used = {part for path in found.values() for part in list_files(path)} | slices.keys()
        left_out += [(p, "it is not an image by its name") for p in paths if p not in used]
    return found, left_out


def _some_of(names: Sequence[str]) -> Sequence[str]:
    return names[:: max(1, len(names) // _SAMPLES)][:_SAMPLES]


def _in_any_case(pattern: str) -> str:
    """Let the ending of a pattern stand for itself in any case, as that of a file does."""
    rest = cut_ending(pattern, KINDS)
    end = pattern[len(rest) :]
    return rest + "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in end)


def _split_channels(found: dict[str, Path], labels: Mapping[str, Path]) -> list[dict[str, Path]]:
    """Take the files of one folder apart by nnU-Net's channels, if only that makes pairs."""
    rule = find_rule(list(found), list(labels))
    if all((case := rule.case_of(name)) and rule.label_of(case) in labels for name in found):
        return [found]
    if not _CHANNEL.fullmatch(f"NAME{rule.image[1]}"):  # a label has the number in its name, too
        return [found]
    groups: dict[str, dict[str, Path]] = {}
    for name, path in found.items():
        if not (match := _CHANNEL.fullmatch(name)):
            return [found]
        groups.setdefault(match["channel"], {})[name] = path
    stems = [{name[:-5] for name in group} for group in groups.values()]
    numbers = [f"{number:04d}" for number in range(len(groups))]
    if len(groups) < 2 or sorted(groups) != numbers or any(each != stems[0] for each in stems):
        return [found]
    return [groups[number] for number in numbers]


def _propose(image: str, label: str) -> Iterable[PairRule]:
    """Yield the rules by which an image and a label may be a pair."""
    if image in label:
        before, _, after = label.partition(image)
        yield PairRule(label=(before, after))
    elif label in image:
        before, _, after = image.partition(label)
        yield PairRule(image=(before, after))
    same = SequenceMatcher(None, image, label, autojunk=False).find_longest_match()
    if same.size:
        start, end = (same.a, same.b), (same.a + same.size, same.b + same.size)
        yield PairRule(
            (image[: start[0]], image[end[0] :]),
            (label[: start[1]], label[end[1] :]),
        )
