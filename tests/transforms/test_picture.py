"""Pictures of every format, as an image and as a mask."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from pipeline.errors import InputError, UnfitFile
from pipeline.transforms.picture import read_grid, read_mask, read_picture
from pipeline.transforms.read import ReadImaged

RAMP = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (8, 1))
RGB = np.stack([RAMP, RAMP // 2, 255 - RAMP], axis=-1)


def fault(read, path, **options) -> str:
    with pytest.raises(UnfitFile) as raised:
        read(path, **options)
    return ": ".join(raised.value.args)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "I;16", "I", "F"])
def test_a_grey_photograph_of_any_mode_keeps_its_picture_in_rgb(mode, tmp_path):
    kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}.get(mode)
    picture = Image.fromarray(RAMP.astype(kind) * 16) if kind else Image.fromarray(RAMP)
    picture.convert(mode).save(tmp_path / "a.tif")
    pixels = read_picture(tmp_path / "a.tif", channels=3)
    np.testing.assert_array_equal(pixels, np.repeat(RAMP[..., None], 3, axis=2))
    grey = read_picture(tmp_path / "a.tif", channels=1)
    np.testing.assert_array_equal(grey, RAMP * (16.0 if kind else 1))


@pytest.mark.parametrize(
    ("name", "options", "levels"),
    [
        ("a.png", {}, 0),
        ("a.tif", {}, 0),
        ("a.gif", {}, 90),  # quantised by Pillow
        ("a.bmp", {}, 0),
        ("a.ppm", {}, 0),
        ("a.webp", {"lossless": True}, 0),
        ("a.jp2", {}, 0),
        ("a.jpg", {"quality": 95, "subsampling": 0}, 6),
        ("cmyk.jpg", {"quality": 95, "subsampling": 0}, 6),
        ("palette.png", {}, 90),
        ("ycbcr.tif", {}, 6),
    ],
)
def test_a_colour_picture_of_any_format_keeps_its_colours(name, options, levels, tmp_path):
    mode = {"cmyk": "CMYK", "palette": "P", "ycbcr": "YCbCr"}.get(name.split(".")[0], "RGB")
    Image.fromarray(RGB).convert(mode).save(tmp_path / name, **options)
    assert read_grid(tmp_path / name)[:2] == ((64, 8), 3)
    pixels = read_picture(tmp_path / name).astype(int)
    assert np.abs(pixels - RGB).max() <= levels
    if not levels:
        np.testing.assert_array_equal(read_picture(tmp_path / name, channels=3), RGB)


def write_png(path, pixels):
    """Write 16-bit grey and colour, with or without opacity, which Pillow cannot."""
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=pixels.ndim == 3), str(path))


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_colours_of_many_bits_keep_them(bits, tmp_path):
    deep = np.rint(np.linspace(0, 1, 300) * (2**bits - 1)).astype(np.uint16)
    deep = np.tile(deep, (32, 1))
    deep = np.stack([deep, deep // 2, deep[:, ::-1]], axis=-1)
    solid = np.dstack([deep, np.full(deep.shape[:2], 65535, np.uint16)])
    write_png(tmp_path / "a.png", deep)
    write_png(tmp_path / "alpha.png", solid)
    write_png(tmp_path / "grey_alpha.png", solid[..., [0, 3]])
    header = f"P6\n300 32\n{2**bits - 1}\n".encode() if bits > 8 else b"P6\n300 32\n65535\n"
    (tmp_path / "a.ppm").write_bytes(header + deep.astype(">u2").tobytes())
    for name, options in {
        "plain": {},
        "big_endian": {"byteorder": ">"},
        "packed": {"compression": "zlib", "predictor": True},
        "tiled": {"tile": (16, 16)},
        "big_tiff": {"bigtiff": True},
    }.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", deep, photometric="rgb", **options)
    tifffile.imwrite(tmp_path / "alpha.tif", solid, photometric="rgb", extrasamples=["unassalpha"])
    write_png(tmp_path / "lzw.tif", deep)
    expected = deep.astype(float) * 255 / deep.max()
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) == 11
    for name in sorted(names - {"grey_alpha.png"}):
        pixels = read_picture(tmp_path / name)
        assert np.abs(pixels - expected).max() < 1e-4, name
        assert (pixels.max(), len(np.unique(pixels))) == (255, len(np.unique(deep))), name
    np.testing.assert_array_equal(read_picture(tmp_path / "grey_alpha.png"), deep[..., 0])
    assert read_grid(tmp_path / "grey_alpha.png").channels == 1


def test_colours_whose_bits_would_be_cut_are_refused(tmp_path):
    deep = RGB.astype(np.uint16) * 257
    planes = np.moveaxis(deep, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    zipped = {"planarconfig": "separate", "compression": "zlib"}
    tifffile.imwrite(tmp_path / "zip.tif", planes, photometric="rgb", **zipped)
    four = np.dstack([deep, deep[..., 0]])
    tifffile.imwrite(tmp_path / "cmyk.tif", four, photometric="separated")
    (tmp_path / "p3.ppm").write_bytes(b"P3\n2 1\n65535\n0 1 2 300 400 65535\n")
    Image.fromarray(RGB).save(tmp_path / "twelve.jp2")
    stream = bytearray((tmp_path / "twelve.jp2").read_bytes())
    start = stream.index(b"\xff\x4f\xff\x51") + 42
    stream[start : start + 9 : 3] = b"\x0b" * 3  # 12 bits
    (tmp_path / "twelve.jp2").write_bytes(stream)
    for path in tmp_path.iterdir():
        for read in (read_grid, read_picture):
            assert "bits per colour" in fault(read, path), path
    for kind in (np.float32, np.uint32, np.int16):  # which Pillow does not know
        tifffile.imwrite(tmp_path / "b.tif", RGB.astype(kind), photometric="rgb")
        assert "PNG with 8 or 16 bits" in fault(read_picture, tmp_path / "b.tif")


def test_a_tiff_of_other_channels_or_signed_numbers_is_not_misread(tmp_path):
    for name, pixels, photometric in (
        ("two.tif", RGB[..., :2], "minisblack"),
        ("infrared.tif", np.dstack([RGB, RAMP]), "rgb"),
    ):
        extra = {"photometric": photometric, "extrasamples": ["unspecified"]}
        tifffile.imwrite(tmp_path / name, pixels, planarconfig="contig", **extra)
        for read in (read_grid, read_picture, read_mask):
            assert "neither a colour" in fault(read, tmp_path / name)
    tifffile.imwrite(tmp_path / "a.tif", RAMP.astype(np.int8))
    assert "negative" in fault(read_picture, tmp_path / "a.tif")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), RAMP.astype(np.int8))


def test_what_is_transparent_is_black(tmp_path):
    opacity = np.zeros((8, 64), np.uint8)
    opacity[:, 16:], opacity[:, 32:] = 51, 255  # hidden, a fifth, solid
    shown = np.rint(RGB * (opacity[..., None] / 255)).astype(np.uint8)
    cut = np.dstack([RGB, opacity])
    for name in ("a.png", "a.tif", "a.webp"):
        options = {"lossless": True, "exact": True} if name == "a.webp" else {}
        Image.fromarray(cut).save(tmp_path / name, **options)
        np.testing.assert_array_equal(read_picture(tmp_path / name), shown)
    write_png(tmp_path / "deep.png", cut.astype(np.uint16) * 257)
    assert np.abs(read_picture(tmp_path / "deep.png") - RGB * (opacity[..., None] / 255)).max() < 1
    Image.fromarray(np.dstack([RAMP, opacity])).save(tmp_path / "la.png")
    expected = np.rint(RAMP * (opacity / 255))
    np.testing.assert_array_equal(read_picture(tmp_path / "la.png"), expected)
    indices = (np.arange(512).reshape(8, 64) % 4).astype(np.uint8)
    palette = Image.fromarray(indices)
    palette.putpalette([250, 10, 20, 0, 200, 0, 0, 0, 90, 40, 40, 40])
    for name, hidden in (("p.png", 0), ("p.gif", 0), ("some.png", b"\0\xff\xff\xff")):
        palette.save(tmp_path / name, transparency=hidden)
        pixels = read_picture(tmp_path / name)
        assert not pixels[indices == 0].any()
        assert (pixels[indices == 1] == [0, 200, 0]).all()
        np.testing.assert_array_equal(read_mask(tmp_path / name), indices)
    Image.fromarray(RAMP).save(tmp_path / "key.png", transparency=255)
    np.testing.assert_array_equal(
        read_picture(tmp_path / "key.png"), np.where(RAMP == 255, 0, RAMP)
    )
    Image.fromarray(RGB).save(tmp_path / "rgb_key.png", transparency=tuple(RGB[0, 0].tolist()))
    assert not read_picture(tmp_path / "rgb_key.png")[:, 0].any()


@pytest.mark.parametrize("largest", [2, 100, 255, 256, 4095, 65535])
def test_a_pgm_keeps_its_numbers_whatever_the_largest_is(largest, tmp_path):
    values = np.array([[0, 1, 2], [largest // 2, largest - 1, largest]])
    head = f"3 2\n{largest}\n".encode()
    stored = values.astype("u1" if largest < 256 else ">u2").tobytes()
    (tmp_path / "packed.pgm").write_bytes(b"P5\n" + head + stored)
    plain = " ".join(map(str, values.ravel())).encode()
    (tmp_path / "plain.pgm").write_bytes(b"P2\n" + head + plain + b"\n")
    for path in tmp_path.iterdir():
        for read in (read_picture, read_mask):
            np.testing.assert_array_equal(read(path), values)


def test_a_mask_keeps_its_numbers_and_hides_what_is_transparent(tmp_path):
    mask = np.repeat([[0, 1, 2, 3]], 3, axis=0).astype(np.uint8)
    solid = np.full_like(mask, 255)
    Image.fromarray(mask).convert("P").save(tmp_path / "p.png")
    Image.fromarray(mask.astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(mask.astype(np.float32) + 1e-7).save(tmp_path / "f.tif")
    Image.fromarray(np.dstack([mask, solid])).save(tmp_path / "la.png")
    Image.fromarray(np.dstack([mask, solid // 2])).save(tmp_path / "even.png")
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(read_mask(path), mask)
        assert read_grid(path, is_mask=True).channels == 1
    Image.fromarray(mask > 1).save(tmp_path / "one.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "one.png"), mask > 1)
    hidden = np.where(mask == 3, 0, solid)
    Image.fromarray(np.dstack([mask, hidden])).save(tmp_path / "hole.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "hole.png"), mask * (mask < 3))
    Image.fromarray(np.dstack([mask, hidden // 2 + 9])).save(tmp_path / "soft.png")
    assert "partly transparent" in fault(read_mask, tmp_path / "soft.png")
    Image.fromarray(mask.astype(np.float32) / 2).save(tmp_path / "half.tif")
    assert "0.5" in fault(read_mask, tmp_path / "half.tif")


def test_a_mask_of_which_programs_read_other_numbers_is_refused(tmp_path):
    mask = np.zeros((16, 16), np.uint8)
    mask[2:9, 3:9], mask[4, 4:7] = 1, 2
    path = tmp_path / "a.png"

    def palette(*greys, **options):
        picture = Image.fromarray(mask)
        picture.putpalette([grey for each in greys for grey in (each,) * 3])
        picture.save(path, **options)
        return path

    # As optimizers leave it: of 0, 2 and 3 as of 0, 1 and 2; in another order; black last.
    for greys in ((0, 2, 3), (0, 2, 1), (255, 127, 0)):
        assert str(list(greys)) in fault(read_mask, palette(*greys))
    for greys in ((0, 1, 2), (0, 127, 255), (0, 0, 0)):  # plain, to look at, or without meaning
        np.testing.assert_array_equal(read_mask(palette(*greys)), mask)
    np.testing.assert_array_equal(
        read_mask(palette(0, 127, 255, transparency=2)), mask * (mask < 2)
    )
    alphas = bytes([0, 128, 128])  # an overlay, whose indices are what counts
    np.testing.assert_array_equal(read_mask(palette(0, 127, 255, transparency=alphas)), mask)


@pytest.mark.parametrize(
    ("name", "lossy", "exact"),
    [
        ("a.jpg", {}, None),
        ("a.tif", {"compression": "jpeg"}, {"compression": "tiff_lzw"}),
        ("a.webp", {"quality": 50}, {"lossless": True}),
        ("a.jp2", {"irreversible": True}, {}),
    ],
)
def test_small_numbers_that_a_compression_changes_are_no_mask(name, lossy, exact, tmp_path):
    path = tmp_path / name
    mask = np.zeros((40, 48), np.uint8)
    mask[5:30, 5:30], mask[10:20, 10:20] = 12, 9
    if name == "a.webp":  # which is never grey
        mask = np.stack([mask] * 3, axis=-1)
    Image.fromarray(mask).save(path, **lossy)
    assert "compression" in fault(read_mask, path)
    Image.fromarray(np.where(mask == 12, np.uint8(255), np.uint8(0))).save(path, **lossy)
    assert read_mask(path).max() > 200  # large numbers can be told by ranges
    Image.fromarray(mask * 0).save(path, **lossy)
    assert not read_mask(path).any()
    if exact is not None:
        Image.fromarray(mask).save(path, **exact)
        np.testing.assert_array_equal(read_mask(path), mask)


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_a_tiff_whose_zero_is_white_is_read_as_it_is_seen_or_refused(bits, tmp_path):
    stored = (RAMP > 99) if bits == 1 else RAMP.astype(f"u{bits // 8}")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, photometric="miniswhite")
    if bits == 16:
        assert "0 is white" in fault(read_picture, path)
    else:
        seen = 255 * ~stored if bits == 1 else 255 - stored
        np.testing.assert_array_equal(read_picture(path), seen)
    if bits == 1:  # of which every program makes what is seen
        np.testing.assert_array_equal(read_mask(path), ~stored)
    else:
        assert "0 is white" in fault(read_mask, path)


def test_several_pictures_in_one_file_are_refused_with_their_number(tmp_path):
    pages = [Image.fromarray(np.roll(RGB, n, axis=1)) for n in range(3)]
    more = {"save_all": True, "append_images": pages[1:]}
    for name in ("a.tif", "a.gif", "a.png", "a.webp"):
        pages[0].save(tmp_path / name, **more)
    for path in tmp_path.iterdir():
        for read in (read_grid, read_picture, read_mask):
            assert "holds 3 pictures" in fault(read, path)
    # A telephone's file holds a preview, a stereo camera's another view; an entry tells them apart.
    pages[0].save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=pages[1:2])
    np.testing.assert_allclose(read_picture(tmp_path / "phone.jpg"), RGB, atol=99)
    data = (tmp_path / "phone.jpg").read_bytes()
    at = data.rindex(b"\0\0\3\0", 0, data.index(b"MPF") + 90)  # a primary image; now a disparity
    (tmp_path / "stereo.jpg").write_bytes(data[:at] + b"\2\0\2\0" + data[at + 4 :])
    assert "holds 2 pictures" in fault(read_picture, tmp_path / "stereo.jpg")


def test_a_picture_that_viewers_turn_is_refused(tmp_path):
    exif = Image.Exif()
    for orientation in (1, 3, 6):
        exif[0x0112] = orientation
        for ending in ("jpg", "png", "tif", "webp"):
            Image.fromarray(RGB).save(tmp_path / f"{orientation}.{ending}", exif=exif)
    assert all(read_picture(path).shape == (8, 64, 3) for path in tmp_path.glob("1.*"))
    for path in tmp_path.glob("[36].*"):
        assert "EXIF" in fault(read_picture, path)


@pytest.mark.parametrize("value", [-0.5, float("nan"), float("inf")])
def test_values_that_cannot_be_shown_are_refused(value, tmp_path):
    grey = RAMP / np.float32(255)
    Image.fromarray(grey).save(tmp_path / "a.tif")
    assert read_picture(tmp_path / "a.tif", channels=3).max() == 255
    grey[3, 3] = value
    Image.fromarray(grey).save(tmp_path / "a.tif")
    assert "negative, NaN" in fault(read_picture, tmp_path / "a.tif")


def test_a_picture_of_one_value_is_never_an_image(tmp_path):
    grey = [("L", 0), ("L", 255), ("1", 1), ("I;16", 700), ("F", 5.0)]
    coloured = {"RGB": (9, 7, 5), "RGBA": (200, 100, 0, 0), "CMYK": (0, 0, 0, 0)}
    for n, (mode, colour) in enumerate([*grey, *coloured.items()]):
        path = tmp_path / f"{n}.tif"
        Image.new(mode, (6, 4), colour).save(path)
        assert "all over" in fault(read_picture, path)
        read_mask(path)
    assert "9, 7, 5" in fault(read_picture, tmp_path / "5.tif")


def test_a_picture_may_be_larger_than_pillows_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for name in ("a.png", "a.tif", "a.jpg", "a.webp", "a.gif", "a.jp2"):
        Image.fromarray(RGB).save(tmp_path / name)
        assert read_picture(tmp_path / name, channels=3).shape == (8, 64, 3)
    assert Image.MAX_IMAGE_PIXELS == 10
    with pytest.raises(Image.DecompressionBombError):
        Image.open(tmp_path / "a.png")


def test_what_is_not_a_picture_says_what_it_is(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    for name, data, words in (
        ("torn.png", whole[: len(whole) // 2], "cannot be read"),
        ("empty.jpg", b"", "0 bytes"),
        ("a.dcm", b"hello" * 90, "cannot be read"),
    ):
        (tmp_path / name).write_bytes(data)
        assert words in fault(read_picture, tmp_path / name), name
    (tmp_path / "avif.png").write_bytes(b"\0\0\0\x20ftypavif" + bytes(300))  # of unknown bits
    assert "AVIF" in fault(read_picture, tmp_path / "avif.png")
    assert "cannot be read" in fault(read_picture, tmp_path / "gone.png")


def test_the_number_of_channels_says_how_a_picture_is_read(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "grey.png")
    Image.fromarray(np.stack([RAMP] * 3, axis=-1)).save(tmp_path / "same.png")
    Image.fromarray(RGB).save(tmp_path / "colour.png")
    Image.fromarray(RAMP.astype(np.uint16) * 256).save(tmp_path / "deep.png")
    Image.new("L", (64, 8)).save(tmp_path / "black.png")

    def read(channels, *names):
        reader = ReadImaged("image", spatial_dims=2, channels=channels, ensure_channel_first=True)
        paths = [str(tmp_path / name) for name in names]
        return reader({"image": paths if len(paths) > 1 else paths[0]})["image"]

    for name in ("grey.png", "same.png"):
        np.testing.assert_array_equal(read(1, name), RAMP.T[None])
        np.testing.assert_array_equal(read(3, name), [RAMP.T] * 3)
    np.testing.assert_array_equal(read(1, "deep.png"), RAMP.T[None].astype(float) * 256)
    np.testing.assert_array_equal(read(2, "grey.png", "deep.png")[0], RAMP.T)
    np.testing.assert_array_equal(read(3, "colour.png"), RGB.transpose(2, 1, 0))
    for words, *case in (
        (r"colour\.png: .*3 channels, not 1", 1, "colour.png"),
        (r"4 channels, not 2", 2, "grey.png", "colour.png"),
        (r"black\.png: it has the value 0 all over", 3, "black.png"),
        (r"gone\.png: it cannot be read", 3, "gone.png"),
    ):
        with pytest.raises(InputError, match=words):
            read(*case)
    label = ReadImaged("label", spatial_dims=2, ensure_channel_first=True)
    assert label({"label": str(tmp_path / "black.png")})["label"].shape == (1, 64, 8)
