"""What a file is that cannot be read as an image, and what to do about it."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

COPY_AGAIN = "copy or extract the file again"
_SAVE = "save it as a PNG, or a volume as NIfTI"

# What files of a kind begin with, what they are, and how their names end; for messages only.
_BEGINNINGS: dict[bytes, tuple[str, tuple[str, ...]]] = {
    b"\x89PNG\r\n": ("a PNG picture", (".png",)),
    b"\xff\xd8\xff": ("a JPEG picture", (".jpg", ".jpeg")),
    b"II*\x00": ("a TIFF picture", (".tif", ".tiff")),
    b"MM\x00*": ("a TIFF picture", (".tif", ".tiff")),
    b"NRRD0": ("an NRRD", (".nrrd", ".nhdr")),
    b"ObjectType": ("a MetaImage", (".mha", ".mhd")),
    b"NDims": ("a MetaImage", (".mha", ".mhd")),
    b"\x00\x00\x00\x01": ("an MGH volume, not packed", (".mgh",)),
}
_FOREIGN = {  # by the first bytes, or by those from the fifth on
    b"%PDF": "a PDF",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "an array of numpy",
    b"MATLAB": "a file of MATLAB",
    b"CDF": "a NetCDF, such as MINC",
    b"8BPS": "a picture of Photoshop",
    b"\xff\x0a": "a JPEG XL picture",
    b"JXL ": "a JPEG XL picture",
    b"ftyphe": "a HEIC picture",
    b"ftypmif1": "a HEIC picture",
    b"ftypavi": "an AVIF picture",
}
_PACKED = {
    b"PK\x03\x04": "a ZIP archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
}


def read_start(path: Path, size: int = 1 << 16) -> bytes:
    """Read the first bytes of a file."""
    with path.open("rb") as file:
        return file.read(size)


def explain_content(path: Path) -> tuple[str, str] | None:
    """Say what a file is that its reader refused.

    Returns:
        The problem and its fix, as in "it PROBLEM: FIX"; None where the file is what its name says,
        as far as its beginning shows.
    """
    if path.is_dir():
        return "is a folder", "give a file; a series in DICOM is converted by `data prepare dicom`"
    try:
        start = read_start(path, 1024)
    except OSError as error:
        return f"cannot be read ({error.strerror})", "give the path of a file that is there"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        return "is empty: 0 bytes", COPY_AGAIN
    if not start.strip(b"\0") and len(start) == 1024:
        return "begins with 1024 zeros: a copy that broke off leaves such a file", COPY_AGAIN
    if text.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the file itself", "fetch the files by `git lfs pull`"
    if b"/annex/objects/" in text[:200]:
        return "is a pointer of git-annex, not the file itself", "fetch it by `git annex get`"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return (
            "is a web page, not an image",
            "download it again: the page says why, such as a login that was needed",
        )
    if text.startswith((b"{", b"[", b"<?xml", b"<error")) and b"<svg" not in text:
        return "is a text, such as a server's message, not an image", "read it, and download again"
    return explain_kind(path, start)


def explain_kind(path: Path, start: bytes) -> tuple[str, str] | None:
    """Say what a whole file is that its name does not say, from its first 1024 bytes."""
    name = path.name.lower()
    if b"<svg" in start:
        return "is an SVG drawing, which is not read", _SAVE
    for beginning, what in _FOREIGN.items():
        if start.startswith(beginning) or start[4:].startswith(beginning):
            return f"is {what}, which is not read", _SAVE
    if start[128:132] == b"DICM":
        return "is DICOM", "give the folder of its series, or convert it: data prepare dicom"
    if start.startswith(b"\x1f\x8b"):
        return _explain_packed(path, name)
    if _is_nifti(start):
        if start[344:348] == b"ni1\0" or start[4:8] == b"ni2\0":
            return "is the header of a NIfTI in two files", "convert it to .nii.gz"
        return None if name.endswith(".nii") else _misnamed("a NIfTI", ".nii")
    for beginning, what in _PACKED.items():
        if start.startswith(beginning):
            return f"is {what}", "unpack it"
    for beginning, (what, endings) in _BEGINNINGS.items():
        if start.startswith(beginning):
            return None if name.endswith(endings) else _misnamed(what, endings[0])
    return None


def _explain_packed(path: Path, name: str) -> tuple[str, str] | None:
    try:
        with gzip.open(path) as file:
            inside = file.read(1024)
            while _is_nifti(inside) and file.read(1 << 20):
                pass  # so that its checksum is compared
    except (OSError, EOFError, zlib.error):
        return "is cut off or broken: gzip cannot unpack it", COPY_AGAIN
    if _is_nifti(inside):
        packed = name.endswith(".nii.gz")
        return None if packed else _misnamed("a NIfTI packed by gzip", ".nii.gz")
    if inside[257:262] == b"ustar":
        return "is a TAR archive", "unpack it by `tar -xzf`"
    if inside.startswith(b"\x1f\x8b"):
        return "is packed by gzip twice", f"unpack it once: `gunzip {path.name}`"
    if name.endswith((".mgz", ".nii.gz")):
        return None
    return "is packed by gzip", "unpack it"


def _is_nifti(start: bytes) -> bool:
    """Tell by the magic of a header, which is elsewhere in NIfTI-2."""
    return start[344:348] in (b"n+1\0", b"ni1\0") or start[4:8] in (b"n+2\0", b"ni2\0")


def _misnamed(kind: str, ending: str) -> tuple[str, str]:
    return f"is {kind}, whatever its name says", f"rename it, so that it ends in {ending}"
