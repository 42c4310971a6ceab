"""What a request may hold: names and numbers, but no path and nothing that MONAI would run.

MONAI Label joins ids and tags to paths without a look at them, and puts the options of a request
into the bundle's configuration, whose expressions (``$``), macros (``%``) and components
(``_target_``) run code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

RUNS = ("$", "%", "@")  # how an expression, a macro and a reference of MONAI begin
TEXTS = frozenset({"label_info"})  # what goes into a DICOM file as a text, and may have a slash
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha")
UPLOADS = (*PICTURES, *VOLUMES, ".dcm", ".bin")  # OHIF sends the voxels of a mask as .bin
RESOURCES = ("studies", "series", "instances")  # of DICOMweb, PS3.18
LOOPBACK = ("127.0.0.1", "localhost", "::1")  # names of this machine
HEADER = 2**16  # bytes in which a volume says where its voxels are
LONGEST = 200  # characters of a name; a file system takes 255 bytes


class Refused(ValueError):
    """A request that the server does not pass on; the text says why."""


def check_value(value: Any, name: str) -> None:
    """Refuse what is a path or would be run, in a value as JSON holds it.

    Args:
        value: text, number, list or dict.
        name: of the value, for the error.

    Raises:
        Refused: it is, or holds, such a text.
    """
    if isinstance(value, Mapping):
        for key, each in value.items():
            check_text(key, f"a key in {name}")
            if key.startswith("_"):
                raise Refused(f"{name}: the key {key!r} begins with _; leave it out")
            if key in TEXTS:
                check_label_list(each, key)
            else:
                check_value(each, key)
    elif isinstance(value, list | tuple):
        for each in value:
            check_value(each, name)
    elif isinstance(value, str):
        check_text(value, name)


def check_label_list(value: Any, name: str) -> None:
    """Refuse what is not a list of labels, each with a ``name`` and perhaps its value, ``idx``."""
    for each in value if isinstance(value, list) else [value]:
        if (
            not isinstance(each, Mapping)
            or not isinstance(each.get("name", ""), str)
            or not str(each.get("idx", 1)).isdecimal()
        ):
            raise Refused(f"{name}: give a list of labels such as {{'name': 'liver', 'idx': 1}}")


def check_text(text: str, name: str) -> None:
    """Refuse a text that leads to another folder, or that MONAI would run."""
    if text.lstrip().startswith(RUNS):
        raise Refused(f"{name} {text[:LONGEST]!r}: it begins with one of {' '.join(RUNS)}")
    if any(part in text for part in ("/", "\\", "..")) or text in (".", "~"):
        raise Refused(f"{name} {text[:LONGEST]!r}: it is a path; give a name")
    if any(ord(character) < 32 for character in text):
        raise Refused(f"{name} {text[:LONGEST]!r}: it holds a control character")


def check_upload(filename: str) -> None:
    """Refuse an uploaded file that is not an image by its name, which decides how it is read.

    So no configuration, program or pickle gets in, such as ``datastore_v2.json`` or a ``.npy``.
    """
    check_text(filename, "file")
    if not filename.lower().endswith(UPLOADS):
        raise Refused(f"file {filename[:LONGEST]!r}: give an image, one of {' '.join(UPLOADS)}")
    if len(filename) > LONGEST:
        raise Refused(f"file {filename[:LONGEST]!r}...: give a shorter name")


def check_header(head: bytes, filename: str) -> None:
    """Refuse a volume whose voxels are in another file, which may be any file of the server.

    Args:
        head: the first bytes of the file. Readers go by them, not by the ending.
        filename: for the error.
    """
    head = head.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    elsewhere = rb"(?im)^\s*(data ?file:|ElementDataFile\s*=(?!\s*LOCAL\s*$))"
    endless = (head.startswith(b"NRRD") and b"\n\n" not in head) or (
        b"NDims" in head and b"ElementDataFile" not in head
    )
    if endless or re.search(elsewhere, head):
        raise Refused(f"file {filename[:LONGEST]!r}: its voxels are in another file; give one file")


def check_dicomweb(path: str) -> None:
    """Refuse a path behind ``/proxy/dicom/`` that leads out of the DICOMweb part of its server.

    Orthanc's own interface is beside it, which can delete patients and run scripts.
    """
    plain = unquote(path)  # a client in between would decode it again
    parts = PurePosixPath(plain).parts
    if (
        plain != unquote(plain)
        or any(character in plain for character in "\\?#")
        or not plain.isprintable()
        or "//" in plain
        or "." in plain.split("/")
        or ".." in parts
        or parts[:1] not in [(name,) for name in RESOURCES]
    ):
        raise Refused(f"{path[:LONGEST]!r}: it is not in {', '.join(RESOURCES)} of DICOMweb")


def check_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Check the names and values of a query or a form that are plain texts."""
    for name, value in fields:
        check_text(name, "a name")
        check_value(value, name)
        if name in ("image", "id", "label", "tag") and len(value) > LONGEST:
            raise Refused(f"{name} {value[:LONGEST]!r}...: give a shorter name")
