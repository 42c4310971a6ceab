"""Read cases as a bundle's training does, so that a check says what the training would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..bundle.configs import Config
from ..bundle.labels import describe_absence
from ..bundle.listing import FILES, Fault, files_of
from ..errors import ADVICE, InputError

_DESCRIBED = ("modality", "channel_names", "regions", "vertical_cdr")


class BundleReader:
    """The transforms of a bundle that read an image and its label, and what it says of them.

    Raises:
        InputError: it has no ``configs/train.json``, or one that lacks these transforms.
    """

    def __init__(self, bundle: Path) -> None:
        fix = "give --bundle, the folder of a bundle."
        config = Config.read(bundle / "configs" / "train.json", fix=fix)
        self.bundle = bundle
        self.said = {name: config.get(name) for name in _DESCRIBED}
        self.transforms = [
            config.built("preprocessing").transforms[0],
            *map(config.built, ("load_label", "same_grid", "label_regions")),
        ]

    def read(self, folder: Path, case: Mapping[str, Any]) -> tuple[str, str, str] | None:
        """Read a case; the file, problem and fix where a training would end."""
        data: Any = {
            key: [str(folder / name) for name in files_of(case[key])]
            if isinstance(case[key], list)
            else str(folder / case[key])
            for key in FILES
        }
        try:
            for transform in self.transforms:
                data = transform(data)
        except InputError as error:
            # The end of these errors names the command that is running.
            text = str(error).removesuffix(ADVICE).strip()
            names = [case["label"], *files_of(case["image"])]
            name = next((each for each in names if str(folder / each) in text), names[-1])
            return name, text, f"or train another bundle than {self.bundle.name}"
        return None

    def find_absent(self, present: set[float]) -> Iterator[Fault]:
        """Yield the regions of the bundle that no training label holds, as its training would."""
        regions = self.said["regions"]
        if absent := [name for name in regions if not present & set(regions[name])]:
            yield describe_absence(self.said, absent)

    def find_gaps(self, present: Mapping[str, set[float]]) -> Iterator[Fault]:
        """Yield where parts of a dataset lack a region that some training label holds.

        Args:
            present: label values by the name of the part: ``fold 0``, ..., ``testing``.
        """
        folds = present.keys() - {"testing"}
        for name, values in self.said["regions"].items():
            holding = {part for part, held in present.items() if held & set(values)}
            lacking = sorted(present.keys() - holding)
            if lacking and holding & folds:
                fix = "share such cases out, or it is not measured there"
                if len(holding & folds) == 1 < len(folds):
                    fix += f"; a training that holds out {min(holding & folds)} is refused"
                yield f"no label of {', '.join(lacking)} holds {name}", fix

    def remark(self, datalist: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield where the bundle segments something else than the dataset says."""
        regions = datalist.get("regions")
        if regions and regions != self.said["regions"]:
            yield (
                f'"regions" is {regions}, and {self.said["regions"]} in {self.bundle.name}',
                "look whether they mean the same",
            )
