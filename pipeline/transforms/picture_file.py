"""A picture's file as Pillow decodes it, but with all its bits, of any size, and one page."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UnfitFile, one_line
from .content import COPY_AGAIN, explain_content, read_start

if TYPE_CHECKING:
    from PIL import Image

SAVE = "save it as a PNG with 8 or 16 bits"

#: The formats of Pillow whose bits are known here; it cuts those of others in silence.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "DIB", "WEBP", "JPEG2000", "PPM", "GIF")
# Of TIFF: BitsPerSample, Photometric-, PlanarConfiguration, ExtraSamples, SampleFormat.
_BITS, _MEANING, _PLANES, _EXTRA, _NUMBERS = 258, 262, 284, 338, 339
_LARGEST_INDEX = 31  # of a mask's numbers that are indices, rather than shades to look at
_MPO = 0xB002  # the entry of each picture
_GREY = ("1", "L", "LA", "La", "I", "F")  # modes of Pillow with one channel, up to a semicolon
_LOCK = threading.Lock()
_LIFTED: list[int | None] = []  # Pillow's limit, for each reader at work


@contextmanager
def any_size() -> Iterator[None]:
    """Lift Pillow's limit on the size of a picture, which is one for all threads."""
    from PIL import Image

    with _LOCK:
        _LIFTED.append(_LIFTED[0] if _LIFTED else Image.MAX_IMAGE_PIXELS)
        Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        with _LOCK:
            limit = _LIFTED.pop()
            if not _LIFTED:
                Image.MAX_IMAGE_PIXELS = limit


def open_picture(path: Path) -> tuple[Image.Image, str]:
    """Open a picture, and say how its pixels are stored, in Pillow's words: ``RGB;16B``.

    Raises:
        UnfitFile: it cannot be read, or something in it would silently give a wrong mask.
    """
    from PIL import ExifTags, Image

    try:
        picture = Image.open(path, formats=_FORMATS)
        raw, bits = _raw_mode(picture), _lost_bits(picture, path)
        pages = getattr(picture, "n_frames", 1)
        unnamed = picture.format == "TIFF" and 0 in picture.tag_v2.get(_EXTRA, ())
        turned = picture.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1)
    except Exception as error:  # Pillow raises about anything on a broken file
        raise unreadable(path, error) from None
    problem = None
    if pages > 1 and not _holds_previews(picture):
        problem = f"holds {pages} pictures", "save each in a file of its own, or a volume as NIfTI"
    elif turned:  # a mask lies on the pixels as they are stored, and so do its measures
        fix = "save it as it is seen, without the tag, and draw its mask on that"
        problem = "is turned by its EXIF tag, which viewers follow", fix
    elif bits:
        problem = f"has {bits} bits per colour, but only 8 would be read", SAVE
    elif _white_from(picture) > 8:  # Pillow inverts those of 8 bits only
        problem = "has more than 8 bits, of which 0 is white", SAVE
    elif unnamed:
        problem = "has a channel that is neither a colour nor an opacity", "save it without that"
    if problem:
        picture.close()
        raise UnfitFile(*problem)
    return picture, raw


def decode(picture: Image.Image, raw: str, path: Path, *, is_mask: bool) -> np.ndarray:
    """Decode the pixels, (H, W) or (H, W, C), with the opacity last where there is one."""
    if picture.mode.startswith(("RGB", "LA")) and ";16" in raw:
        # Pillow keeps one byte of 16-bit colour, which is the low one in the other order.
        if raw == "LA;16B":
            high, low = (np.asarray(_decode_as(path, "RGBA"))[..., n::2] for n in (0, 1))
        else:
            big = raw.endswith("B") or (raw.endswith("N") and sys.byteorder == "big")
            high, low = (
                np.asarray(_decode_as(path, f"{raw[:-1]}{order}"))
                for order in ("BL" if big else "LB")
            )
        return high.astype(np.uint16) << 8 | low
    lossy = is_mask and _is_lossy(picture, path)
    largest = 0  # of a PGM, which Pillow scales to 8 or 16 bits
    if picture.format == "PPM" and picture.tile[0].codec_name.startswith("ppm"):
        largest = picture.tile[0].args[1]
    if picture.mode in ("P", "PA") and not is_mask:
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    elif not (is_grey(picture) or picture.mode in ("P", "PA", "RGB", "RGBA", "RGBa")):
        picture = picture.convert("RGB")
    pixels = np.asarray(picture)
    if largest and is_grey(picture):
        full = 255 if pixels.dtype == np.uint8 else 65535
        pixels = np.rint(pixels * (largest / full)).astype(pixels.dtype)
    elif picture.mode == "L" and getattr(picture, "tag_v2", {}).get(_NUMBERS) == (2,):
        pixels = pixels.view(np.int8)
    if is_mask:
        _refuse_mask(picture, pixels, lossy=lossy)
    return pixels


def _white_from(picture: Image.Image) -> int:
    """The bits of a TIFF in grey whose 0 is white; 0 of other pictures."""
    tags = getattr(picture, "tag_v2", {})
    return max(tags.get(_BITS, (1,))) if tags.get(_MEANING) == 0 else 0


def _is_lossy(picture: Image.Image, path: Path) -> bool:
    """Tell a file whose compression changes the values, as far as its header says so."""
    if picture.format == "TIFF":
        return "jpeg" in picture.info.get("compression", "")
    if picture.format not in ("WEBP", "JPEG2000"):
        return picture.format in ("JPEG", "MPO")
    start = read_start(path)
    if picture.format == "WEBP":  # VP8L has no losses
        return b"VP8 " in re.findall(rb"VP8[L ]", start)[:1]
    # The last of the coding style's entries is 1 for wavelets of whole numbers.
    return bool(re.search(rb"\xff\x52\x00.{10}\x00", start, re.DOTALL))


def _refuse_mask(picture: Image.Image, pixels: np.ndarray, *, lossy: bool) -> None:
    """Refuse a mask whose numbers differ from program to program.

    Raises:
        UnfitFile: see the text.
    """
    if lossy and 0 < pixels.max() <= _LARGEST_INDEX:
        told = f"holds the values 0 to {pixels.max()}, which its compression, as JPEG, changes"
        raise UnfitFile(told, "export the mask again as a PNG")
    if _white_from(picture) > 1:
        raise UnfitFile("is a mask whose 0 is white, so that programs read other numbers", SAVE)
    colours = picture.getpalette() or [] if picture.mode == "P" else []
    if len(colours) <= 3 * int(pixels.max()):  # it has no palette, or none to look at
        return
    used = np.unique(pixels).astype(int)
    seen = np.reshape(colours, (-1, 3))[used]
    greys = seen[:, 0]
    apart = len(np.unique(greys)) == len(used) and (seen == greys[:, None]).all()
    odd = greys.max() <= _LARGEST_INDEX or (np.diff(greys) < 0).any()
    if apart and odd and (greys != used).any():  # as programs leave it that make a file smaller
        raise UnfitFile(
            f"has a palette with the greys {greys.tolist()} for the indices {used.tolist()}",
            "save the mask in grey, without a palette",
        )


def _decode_as(path: Path, raw: str) -> Image.Image:
    """Decode a picture anew, with its bytes in another order."""
    from PIL import Image

    picture = Image.open(path, formats=_FORMATS)
    tiles = []
    for tile in picture.tile:
        args = (raw,) if isinstance(tile.args, str) else (raw, *tile.args[1:])
        if tile.codec_name == "ppm":
            tile, args = tile._replace(codec_name="raw"), (raw, 0, 1)
        tiles.append(tile._replace(args=args))
    picture.tile = tiles
    picture.load()
    return picture


def _raw_mode(picture: Image.Image) -> str:
    """How the pixels are stored, in Pillow's words; only what tells 16-bit colour is needed."""
    if picture.format not in ("PNG", "TIFF", "PPM") or not picture.tile:
        return ""
    args = picture.tile[0].args
    raw, *more = (args,) if isinstance(args, str) else args
    return "RGB;16B" if picture.format == "PPM" and raw == "RGB" and more and more[0] > 255 else raw


def _lost_bits(picture: Image.Image, path: Path) -> int:
    """The bits per colour of a file where Pillow keeps 8 of them; 0 if all can be had."""
    if len(picture.getbands()) == 1:
        return 0
    bits = 0
    if picture.format == "TIFF":
        together = ";16" in _raw_mode(picture) and picture.tag_v2.get(_PLANES) != 2
        kept = together and picture.mode != "CMYK"
        bits = 0 if kept else max(picture.tag_v2.get(_BITS, (1,)))
    elif picture.format == "PPM" and picture.tile[0].codec_name == "ppm_plain":
        bits = int(picture.tile[0].args[1]).bit_length()
    elif picture.format == "JPEG2000":
        start = read_start(path)
        sizes = start[start.index(b"\xff\x4f\xff\x51") + 42 :]  # three bytes for each colour
        bits = max((each & 127) + 1 for each in sizes[: 3 * len(picture.getbands()) : 3])
    return bits if bits > 8 else 0


def _holds_previews(picture: Image.Image) -> bool:
    """Tell whether all but the first are previews, as in a telephone's file, and no other view."""
    kinds = [each["Attribute"]["MPType"] for each in getattr(picture, "mpinfo", {}).get(_MPO, ())]
    return bool(kinds) and not any("Multi-Frame" in kind for kind in kinds)


def is_grey(picture: Image.Image) -> bool:
    """Tell a picture of one channel, beside its opacity."""
    return picture.mode.split(";")[0] in _GREY


def unreadable(path: Path, error: Exception) -> UnfitFile:
    """The problem of a file that Pillow refused, and its fix."""
    from PIL import UnidentifiedImageError

    # Where Pillow knows the format, it is right about what is broken.
    unknown = isinstance(error, UnidentifiedImageError)
    other = unknown or getattr(error, "errno", None)
    reason = "its format, or its kind of pixels, is not known" if unknown else one_line(error)
    told = f"cannot be read ({reason})", f"{COPY_AGAIN}, or {SAVE}"
    return UnfitFile(*(explain_content(path) if other else None) or told)
