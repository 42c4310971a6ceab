"""A volume gets the same mask in whatever format it is, and one in that format, on its grid."""

import itertools

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel import orientations
from small_cases import PANCREAS, ct_volume, predict, report

from pipeline.transforms.volume_file import open_volume, read_volume

WRITTEN = {".nrrd": ".nrrd", ".nhdr": ".nrrd", ".mha": ".mha", ".mhd": ".mha", ".mgz": ".mgz"}
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write(path, image):
    """A nibabel image in any format, by programs that do not know this project."""
    if path.suffix == ".mgz":
        nibabel.save(nibabel.MGHImage(np.asarray(image.dataobj), image.affine), path)
        return
    affine = TO_LPS @ image.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    out = sitk.GetImageFromArray(np.asarray(image.dataobj).T)
    out.SetSpacing(spacing.tolist())
    out.SetOrigin(affine[:3, 3].tolist())
    out.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    sitk.WriteImage(out, str(path))


def affine_of(path):
    """Where another program sees a file, mm, RAS."""
    if path.suffix == ".mgz":
        return nibabel.load(path).affine
    image, affine = sitk.ReadImage(str(path)), np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return TO_LPS @ affine


def test_each_format_and_orientation_gives_one_mask_on_its_own_grid(pancreas, tmp_path):
    voxels, affine = ct_volume()
    affine = affine.astype(np.float32).astype(float)  # as a NIfTI keeps it
    source = nibabel.Nifti1Image(voxels, affine)
    axes = itertools.cycle(["RAS", "LPS", "SLA", "AIR", "PSL"])
    for ending, codes in zip([".nii.gz", *WRITTEN], itertools.chain(["RAS"], axes), strict=False):
        turn = orientations.ornt_transform(
            orientations.io_orientation(affine), orientations.axcodes2ornt(codes)
        )
        path = tmp_path / f"in/{ending.strip('.').replace('.', '_')}{ending}"
        path.parent.mkdir(exist_ok=True)
        turned = source.as_reoriented(turn)
        nibabel.save(turned, path) if ending == ".nii.gz" else write(path, turned)
    output = tmp_path / "out"
    predict(tmp_path / "in", "--bundle", PANCREAS, "--checkpoint", pancreas, "--output", output)
    cases = {case["name"]: case["outputs"] for case in report(output)["cases"]}
    assert report(output)["left_out"] == []
    first = nibabel.as_closest_canonical(nibabel.load(output / "nii_gz_seg.nii.gz"))
    for ending, written in WRITTEN.items():
        name = ending[1:]
        assert cases[name] == [f"{name}_seg.nii.gz", f"{name}_seg{written}"]
        mask, own = (output / each for each in cases[name])
        known = affine_of(tmp_path / f"in/{name}{ending}")
        image = nibabel.load(mask)
        assert np.array_equal(np.asarray(image.dataobj), read_volume(own).voxels)
        for code in ("get_sform", "get_qform"):
            np.testing.assert_allclose(getattr(image, code)(), known, atol=1e-4)
        np.testing.assert_allclose(affine_of(own), known, atol=1e-5 if ending == ".mgz" else 0)
        canonical = nibabel.as_closest_canonical(image)
        assert np.array_equal(canonical.dataobj, first.dataobj), ending
        np.testing.assert_allclose(canonical.affine, first.affine, atol=1e-4)


SHORT = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 3 4 5\nendian: little\nencoding: raw\n"
META = "ObjectType = Image\nNDims = 3\nDimSize = 3 4 5\nElementType = MET_SHORT\n"
DIRECTED = "space: {}\nspace directions: (1,0,0) (0,1,0) (0,0,2)\nspace origin: (1,2,3)\n\n"
SCALE = "ElementToIntensityFunctionSlope = {}\nElementToIntensityFunctionOffset = {}\n"
TRANSFORM = "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 1 2 3\nElementSpacing = 1 1 2\n"


@pytest.mark.parametrize(
    ("name", "header", "sees"),
    [
        ("a.nrrd", NRRD + DIRECTED.format("RAS"), [1, 2, 3]),
        ("a.nrrd", NRRD + DIRECTED.format("left-posterior-superior"), [-1, -2, 3]),
        ("a.nrrd", NRRD + DIRECTED.format('RAS\nspace units: "mm" "mm" ""'), [1, 2, 3]),
        ("a.nrrd", NRRD + DIRECTED.format('RAS\nspace units: "cm" "cm" "cm"'), "in cm"),
        ("a.mha", META + "DistanceUnits = um\n" + TRANSFORM + "ElementDataFile = LOCAL\n", "in um"),
        ("a.nrrd", NRRD + "spacings: 1 1 2\n\n", "orientation"),
        ("a.nrrd", NRRD + DIRECTED.format("scanner-xyz"), "orientation"),
        ("a.nrrd", NRRD + "space: RAS\nspace origin: (1,2,3)\n\n", "voxel size"),
        (
            "a.mha",
            META + SCALE.format("2,5", 0) + TRANSFORM + "ElementDataFile = LOCAL\n",
            "rescales",
        ),
        (
            "a.mha",
            META + SCALE.format(1, "0.0") + TRANSFORM + "ElementDataFile = LOCAL\n",
            [-1, -2, 3],
        ),
        ("a.mha", META + TRANSFORM + "ElementDataFile = LOCAL\n", [-1, -2, 3]),
        ("a.mha", META + "ElementSpacing = 1 1 2\nElementDataFile = LOCAL\n", "orientation"),
        (
            "a.mha",
            META + TRANSFORM[: TRANSFORM.index("ElementS")] + "ElementDataFile = LOCAL\n",
            "voxel size",
        ),
    ],
)
def test_a_header_says_the_orientation_or_is_refused(name, header, sees, tmp_path):
    (tmp_path / name).write_bytes(header.encode() + SHORT.tobytes())
    if isinstance(sees, str):
        with pytest.raises(ValueError, match=sees):
            open_volume(tmp_path / name)
        return
    volume = read_volume(tmp_path / name)
    assert volume.affine[:3, 3].tolist() == sees
    assert np.array_equal(volume.voxels, SHORT.T)
