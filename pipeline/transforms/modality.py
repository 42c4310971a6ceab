"""What kind of picture an image is: the one table of names, DICOM codes and common spellings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..errors import InputError

#: Each modality, and what else it is called. The codes in upper case are those of DICOM, PS3.3
#: C.7.3.1.1.1; names of MR sequences and of colours stand for channels of that modality.
MODALITIES: Mapping[str, tuple[str, ...]] = {
    "CT": ("computed tomography", "CBCT"),
    "MR": (
        *("MRI", "magnetic resonance", "T1", "T1w", "T1gd", "T1ce", "T1c", "T1n", "T2", "T2w"),
        *("T2f", "T2star", "FLAIR", "ADC", "DWI", "SWI", "PD", "PDw", "bSSFP", "LGE", "cine MRI"),
    ),
    "PET": ("PT", "SUV"),
    "ultrasound": ("US", "IVUS", "echo", "echocardiography", "sonography"),
    "X-ray": (
        *("CR", "DX", "DR", "MG", "XA", "RF", "RG", "PX", "IO", "xray", "radiograph"),
        *("radiography", "mammography", "angiography"),
    ),
    "microscopy": ("SM", "GM", "microscope", "histology", "pathology", "fluorescence"),
    "photograph": (
        *("XC", "OP", "ES", "photo", "photography", "fundus", "endoscopy"),
        *("dermoscopy", "RGB", "R", "G", "B", "red", "green", "blue"),
    ),
}
OF_BODIES = ("CT", "MR", "PET")  # whose images are volumes
_NAMES = {
    "".join(filter(str.isalnum, spelling.lower())): name
    for name, others in MODALITIES.items()
    for spelling in (name, *others)
}


def find_modality(text: str) -> str | None:
    """The modality that a name, a DICOM code or a channel stands for; None if it is not known."""
    return _NAMES.get("".join(filter(str.isalnum, text.lower())))


def read_modality(text: object) -> str:
    """The same for what a user gave.

    Raises:
        InputError: the modality is not known.
    """
    if not isinstance(text, str) or not (found := find_modality(text)):
        raise InputError(
            f"modality {text!r} is not known; give the nearest of {', '.join(MODALITIES)}."
        )
    return found


def shared_modality(names: Iterable[str]) -> str | None:
    """The one modality of several channels; None if one is not known, or if they differ."""
    found = {find_modality(name) for name in names}
    return found.pop() if len(found) == 1 else None
