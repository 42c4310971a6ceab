"""Zip archives: the same content gives the same bytes, and a stranger's is read with care."""

from __future__ import annotations

import hashlib
import json
import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from ..errors import InputError

MANIFEST = "manifest.json"
WEIGHTS = "models/model.pt"
LARGEST = 4 * 2**30  # bytes that an archive may hold; a network of a billion parameters
MOST_FILES = 1000
BEFORE_ZIP = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can state


def digest_bytes(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def make_manifest(files: Mapping[str, bytes]) -> bytes:
    """Write the size and SHA-256 of every file as JSON."""
    listed = {
        name: {"bytes": len(content), "sha256": digest_bytes(content)}
        for name, content in sorted(files.items())
    }
    return json.dumps({"files": listed}, indent=4).encode() + b"\n"


def write_archive(path: Path, name: str, files: Mapping[str, bytes]) -> None:
    """Write files and their manifest into a zip, all in the folder ``name``.

    Order, times and modes are fixed, so that the bytes depend on names and contents alone.
    """
    content = {**files, MANIFEST: make_manifest(files)}
    with zipfile.ZipFile(path, "w") as archive:
        for each in sorted(content):
            entry = zipfile.ZipInfo(f"{name}/{each}", BEFORE_ZIP)
            entry.create_system = 3  # Unix, wherever it is written
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            # Weights hardly shrink, and deflated bytes would depend on the version of zlib.
            entry.compress_type = zipfile.ZIP_STORED
            archive.writestr(entry, content[each])


def read_archive(path: Path) -> tuple[str, dict[str, bytes]]:
    """Read an archive and check it against its manifest; nothing is written to disk.

    Returns:
        the name of the folder in it, and the files by their path in this folder.

    Raises:
        InputError: the file is not a zip, is dangerous to unpack, or differs from its manifest.
    """
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; give an archive.") from None
    except Exception as error:  # zipfile raises about anything on a damaged archive
        raise InputError(f"{path}: it is not a zip archive ({error}); package it again.") from None
    with archive:
        check_entries(path, archive.infolist())
        files = {}
        for each in archive.infolist():
            if each.is_dir():
                continue
            try:
                with archive.open(each) as stream:
                    files[each.filename] = stream.read(each.file_size + 1)
            except Exception as error:
                raise InputError(
                    f"{path}: {each.filename} cannot be read ({error}); package it again."
                ) from None
    tops = sorted({name.partition("/")[0] for name in files})
    if len(tops) != 1:
        raise InputError(f"{path}: it holds {tops}, not one folder; package it again.")
    inside = {name.partition("/")[2]: content for name, content in files.items()}
    check_manifest(path, inside)
    return tops[0], inside


def check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse entries that could trick an unpacking program."""
    fault = f"{path}: do not unpack it"
    if len(entries) > MOST_FILES or sum(each.file_size for each in entries) > LARGEST:
        raise InputError(f"{fault}; it holds more than {LARGEST} bytes or {MOST_FILES} files.")
    seen: set[str] = set()
    for each in entries:
        name, kind = each.filename, stat.S_IFMT(each.external_attr >> 16)
        pure = PurePosixPath(name)
        if (
            not name
            or each.orig_filename != name  # cut at a zero byte
            or pure.is_absolute()
            or ".." in pure.parts
            or any(character in name for character in "\\:")
            or not name.isprintable()
        ):
            raise InputError(f"{fault}; its entry {each.orig_filename!r} leads out of the folder.")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(f"{fault}; its entry {name!r} is a link or a device.")
        # Where upper and lower case are the same, one would overwrite the other.
        if name.casefold() in seen:
            raise InputError(f"{fault}; it holds {name!r} twice.")
        seen.add(name.casefold())


def check_manifest(path: Path, files: Mapping[str, bytes]) -> None:
    """Refuse files that differ from the manifest."""
    if MANIFEST not in files:
        raise InputError(f"{path}: it has no {MANIFEST}; package it again.")
    try:
        listed = json.loads(files[MANIFEST])["files"]
        expected = {name: entry["sha256"] for name, entry in listed.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: its {MANIFEST} cannot be read ({error}); package it again."
        ) from None
    found = {name: digest_bytes(files[name]) for name in files if name != MANIFEST}
    for name, state in find_changes(expected, found):
        raise InputError(f"{path}: {name} was {state} after packaging; package it again.")


def find_changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the files whose digests differ, and whether each is missing, changed or added."""
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            yield name, "missing" if name not in now else "changed" if name in before else "added"


def unpack(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files, already checked, into a folder."""
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
