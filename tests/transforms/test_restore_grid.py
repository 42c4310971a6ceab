"""Logits go back to the grid of the file: as MONAI's Invertd does it, and read by other readers."""

from __future__ import annotations

import hypothesis.strategies as st
import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from hypothesis import given, settings
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import (
    Compose,
    CropForegroundd,
    Invertd,
    Lambdad,
    LoadImaged,
    Orientationd,
    SaveImaged,
    Spacingd,
    SpatialPadd,
)
from nibabel import orientations
from scipy.spatial.transform import Rotation

from pipeline.errors import InputError
from pipeline.transforms.regions import Regions
from pipeline.transforms.restore_grid import RestoreGridd

ONE, NESTED = {"a": [1]}, {"a": [1, 2], "b": [2]}
AXES = ["".join(code) for code in ("RAS", "LPS", "LAI", "SPL", "PIR", "ASL")]
spacings = st.tuples(*[st.floats(0.5, 4)] * 3)


def body(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Air around a block of noise that fills about half of each axis."""
    image = np.full(shape, -1000, dtype=np.float32)
    block = tuple(slice(generator.integers(0, n // 3 + 1), n - n // 4) for n in shape)
    image[block] = generator.uniform(-400, 400, image[block].shape)
    return image


def affine_of(code: str, shape: tuple, spacing: tuple, angles: tuple, shift: float) -> np.ndarray:
    upright = np.diag([*spacing, 1.0])
    upright[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing
    upright[:3, 3] = shift
    turn = orientations.axcodes2ornt(code)
    return upright @ orientations.inv_ornt_aff(turn, shape)


def preprocessing(spacing: tuple[float, ...], roi: int, *, crop_first: bool) -> Compose:
    crop = CropForegroundd("image", source_key="image", select_fn=lambda image: image > -500)
    resample = Spacingd("image", pixdim=spacing, mode="bilinear")
    steps = [crop, resample] if crop_first else [resample, crop]
    turn = Orientationd("image", axcodes="RAS", labels=None)
    return Compose([turn, *steps, SpatialPadd("image", spatial_size=(roi,) * 3)])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    code=st.sampled_from(AXES),
    shape=st.tuples(*[st.integers(5, 14)] * 3),
    old=spacings,
    factors=st.tuples(*[st.floats(0.3, 2)] * 3),
    angles=st.tuples(*[st.floats(-15, 15)] * 3),
    roi=st.sampled_from([1, 12]),
    crop_first=st.booleans(),
)
def test_it_does_what_inverting_the_transforms_does(
    seed, code, shape, old, factors, angles, roi, crop_first
):
    generator = np.random.default_rng(seed)
    affine = affine_of(code, shape, old, angles, generator.uniform(-300, 300))
    image = body(generator, shape)
    stored = MetaTensor(image[None], affine=affine, meta={"original_affine": affine})
    new = tuple(spacing * factor for spacing, factor in zip(old, factors, strict=True))
    transform = preprocessing(new, roi, crop_first=crop_first)
    data = transform({"image": stored})
    logits = generator.normal(size=(2, *data["image"].shape[1:])).astype(np.float32)
    data["pred"] = MetaTensor(logits)
    expected = Invertd("pred", transform, "image", nearest_interp=False)(data)["pred"].as_tensor()
    result = RestoreGridd("pred", NESTED)(data)["pred"]
    assert result.shape == (2, *shape)
    assert result.dtype == torch.uint8
    np.testing.assert_array_equal(result.affine, affine)
    assert result.applied_operations == []
    clear = (expected.abs() > 1e-4).all(dim=0, keepdim=True).expand(expected.shape)  # of rounding
    assert clear[:, *np.nonzero(image > -500)].float().mean() > 0.9
    marked = Regions(NESTED).mark(expected)
    assert torch.equal(result.as_tensor().bool()[clear], marked[clear])
    outside = expected == 0
    assert not result.as_tensor()[outside].any()


@pytest.mark.parametrize(("qform", "sform"), [(1, 1), (1, 0), (0, 2), (3, 2)])
def test_a_file_goes_through_a_loader_and_comes_back_on_its_own_grid(tmp_path, qform, sform):
    """The affines of input and output are the same bits, for nibabel and for SimpleITK."""
    generator = np.random.default_rng(1)
    shape = (16, 15, 12)
    affine = affine_of("LPS", shape, (0.7, 0.7, 2.5), (9, -4, 7), -120.3)
    file = nibabel.Nifti1Image(body(generator, shape).astype(np.int16), affine)
    file.header.set_xyzt_units("mm")
    file.set_qform(affine, code=qform)
    file.set_sform(affine, code=sform)
    paths = [tmp_path / "Fall ü.nii.gz", tmp_path / "Fall ü_seg.nii.gz"]
    nibabel.save(file, paths[0])
    load = LoadImaged("image", reader="NibabelReader", ensure_channel_first=True)
    transform = Compose([load, *preprocessing((1, 1, 2), 1, crop_first=True).transforms])
    batch = next(iter(DataLoader(Dataset([{"image": paths[0]}], transform), batch_size=1)))
    batch["pred"] = batch["image"].as_tensor() - 0.5
    (data,) = decollate_batch(batch)
    save = SaveImaged(
        "pred",
        output_dir=tmp_path,
        output_postfix="seg",
        output_dtype=np.uint8,
        resample=False,
        separate_folder=False,
        writer="pipeline.transforms.NiftiWriter",
    )
    data = save(RestoreGridd("pred", ONE)(data))
    assert data["pred"].any()

    source, written = map(nibabel.load, paths)
    assert written.get_data_dtype() == np.uint8
    assert written.header.get_xyzt_units() == source.header.get_xyzt_units()
    np.testing.assert_array_equal(written.affine, source.affine)
    for form in ("get_sform", "get_qform"):
        (was, code), (now, same) = (getattr(f, form)(coded=True) for f in (source, written))
        assert code == same
        np.testing.assert_array_equal(was, now)
    np.testing.assert_array_equal(np.asarray(written.dataobj), data["pred"][0])

    source, written = map(SimpleITK.ReadImage, paths)
    for what in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(written, what)() == getattr(source, what)()


def test_slanted_axes_and_a_wrong_size_are_refused():
    affine = np.eye(4)
    affine[0, 2] = 0.3
    meta = {"filename_or_obj": "tilted.nii.gz"}
    image = MetaTensor(torch.rand(1, 8, 8, 8), affine=affine, meta=meta)
    data = Spacingd("image", pixdim=(2, 2, 2))({"image": image})
    with pytest.raises(InputError, match=r"tilted\.nii\.gz.*right angles"):
        RestoreGridd("pred", ONE)({**data, "pred": data["image"]})
    with pytest.raises(ValueError, match=r"\[1, 3, 3, 3\]|\[3, 3, 3\]"):
        RestoreGridd("pred", ONE)({**data, "pred": torch.zeros(1, 3, 3, 3)})


def test_an_operation_that_it_does_not_know_is_named():
    image = MetaTensor(torch.rand(1, 8, 8, 8), affine=np.eye(4))
    data = Lambdad("image", lambda x: 2 * x)({"image": image})
    with pytest.raises(ValueError, match="cannot undo Lambda"):
        RestoreGridd("pred", ONE)({**data, "pred": data["image"]})
