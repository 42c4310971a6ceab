"""Zip archives with the same bytes for the same content, and careful reading of others'."""

from __future__ import annotations

import hashlib
import json
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ..errors import InputError

MANIFEST = "manifest.json"
WEIGHTS = "models/model.pt"
LARGEST = 4 * 2**30  # bytes that an archive may hold; a network of a billion parameters
MOST_FILES = 1000
BEFORE_ZIP = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can state


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def manifest(files: Mapping[str, bytes]) -> bytes:
    """The size and SHA-256 of every file, as JSON."""
    listed = {
        name: {"bytes": len(content), "sha256": sha256(content)}
        for name, content in sorted(files.items())
    }
    return json.dumps({"files": listed}, indent=4).encode() + b"\n"


def write_archive(path: Path, name: str, files: Mapping[str, bytes]) -> None:
    """Write files into a zip, all inside the folder ``name``, with their manifest.

    Order, times and modes are fixed, so that the bytes depend on names and contents alone.
    """
    content = {**files, MANIFEST: manifest(files)}
    with path.open("wb") as stream, zipfile.ZipFile(stream, "w") as archive:
        for each in sorted(content):
            entry = zipfile.ZipInfo(f"{name}/{each}", BEFORE_ZIP)
            entry.create_system = 3  # Unix, wherever it is written
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            # Weights hardly shrink, and deflated bytes would depend on the version of zlib.
            entry.compress_type = zipfile.ZIP_STORED
            archive.writestr(entry, content[each])


def read_archive(path: Path) -> tuple[str, dict[str, bytes]]:
    """The folder's name and the files of an archive, if it is what its manifest says.

    Nothing is written anywhere before all of it is checked.

    Raises:
        InputError: not a zip; a name that leads out of its folder, twice or is a link; more than
            it may hold; a file that differs from the manifest, is missing there, or beside it.
    """
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; give the archive.") from None
    except Exception as error:  # zipfile raises about anything on a damaged archive
        raise InputError(f"{path}: it is no zip archive ({error}); package it again.") from None
    with archive:
        check_entries(path, archive.infolist())
        entries = [each for each in archive.infolist() if not each.is_dir()]
        files = {}
        for each in entries:
            try:
                with archive.open(each) as stream:
                    content = stream.read(each.file_size + 1)
            except Exception as error:
                raise InputError(f"{path}: {each.filename} cannot be read ({error}).") from None
            files[each.filename] = content
    tops = {name.split("/")[0] for name in files}
    if len(tops) != 1:
        raise InputError(f"{path}: it holds {sorted(tops)}, not one folder; package it again.")
    (top,) = tops
    inside = {name.partition("/")[2]: content for name, content in files.items()}
    check_manifest(path, inside)
    return top, inside


def check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse what an unpacking program could be tricked with."""
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
        # A file system without upper and lower case would let one overwrite the other.
        if name.casefold() in seen:
            raise InputError(f"{fault}; it holds {name!r} twice.")
        seen.add(name.casefold())


def check_manifest(path: Path, files: Mapping[str, bytes]) -> None:
    """Compare the files with what the manifest says of them."""
    if MANIFEST not in files:
        raise InputError(f"{path}: it has no {MANIFEST}; package it again.")
    try:
        listed = json.loads(files[MANIFEST])["files"]
        expected = {name: entry["sha256"] for name, entry in listed.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: its {MANIFEST} cannot be read ({error}).") from None
    found = {name: sha256(content) for name, content in files.items() if name != MANIFEST}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            state = (
                "is not in the manifest"
                if name not in expected
                else "is missing"
                if name not in found
                else "is not what the manifest says"
            )
            raise InputError(f"{path}: {name} {state}; it was changed after it was made.")


def unpack(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files that were read and checked."""
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
