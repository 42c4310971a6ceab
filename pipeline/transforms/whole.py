"""Labels hold whole numbers, which a file may store with rounding."""

from __future__ import annotations

import numpy as np

from ..errors import UnfitFile

_ROUNDING = 0.01  # of float32, and of scaled integers of 8 bits that are stored as floats again
_SHOWN = 3


def to_whole(values: np.ndarray, *, step: float = 0.0) -> np.ndarray:
    """Round the values of a label, which are whole numbers up to rounding.

    A mask that went through floats, such as those of nibabel's ``get_fdata``, holds 0.99999999; one
    that was saved with the integer type of its image is scaled by a factor, so that its numbers
    are off by up to half of that.

    Args:
        values: of any shape and type.
        step: between two numbers that the file can hold, where it scales integers.

    Returns:
        The same array if all its values are whole.

    Raises:
        UnfitFile: values are not numbers, or not whole.
    """
    if values.dtype.kind not in "biuf":
        raise UnfitFile(f"holds values of type {values.dtype}", "save the label with whole numbers")
    if values.dtype.kind != "f":
        return values
    if bad := values.size - int(np.isfinite(values).sum()):
        raise UnfitFile(
            f"holds {bad} values that are NaN or infinite",
            "save the label with whole numbers, and 0 where there is nothing",
        )
    whole = np.rint(values)
    if np.array_equal(whole, values):
        return values
    off = np.abs(values - whole) > min(_ROUNDING + step / 2, 0.49)
    if off.any():
        found = np.unique(values[off])
        shown = ", ".join(repr(float(value)) for value in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise UnfitFile(
            f"holds values that are not whole numbers: {shown}{more}",
            "save the label with whole numbers: it was interpolated or compressed with losses, or "
            "it holds probabilities",
        )
    return whole
