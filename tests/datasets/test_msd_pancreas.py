from collections import Counter

import numpy as np
import pytest

from pipeline.bundle.cases import read_datalist
from pipeline.datasets.checks import check_datalist
from pipeline.datasets.msd_pancreas import find_cases, prepare

nibabel = pytest.importorskip("nibabel")


def _archive(root, numbers, *, suffix=".nii.gz"):
    """Files named as in the archive: a gland of two densities in fat and air."""
    for folder in ("imagesTr", "labelsTr", "imagesTs"):
        (root / folder).mkdir(parents=True)
    affine = np.diag([-0.8, 0.8, 2.5, 1])
    for number in numbers:
        label = np.zeros((12, 12, 6), np.uint8)
        label[3:9, 3:9, 2:5], label[5:7, 5:7, 3] = 1, 2
        ct = np.where(label > 0, 100 - 20 * label.astype(np.int16), -100).astype(np.int16)
        ct[0] = -1000 + number % 100
        for folder, voxels in (("imagesTr", ct), ("labelsTr", label)):
            path = root / folder / f"pancreas_{number:03d}{suffix}"
            nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
            (path.parent / f"._{path.name}").write_bytes(b"Mac OS X")
    (root / "imagesTs" / f"pancreas_999{suffix}").touch()  # the test split has no labels
    return root


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_prepared_cases_are_sound_and_in_five_folds(tmp_path, suffix):
    source = _archive(tmp_path / "Task07_Pancreas/Task07_Pancreas", range(1, 13), suffix=suffix)
    datalist, notes = prepare(tmp_path / "Task07_Pancreas", tmp_path / "out")
    assert check_datalist(datalist) == []
    content = read_datalist(datalist)
    assert [case["patient"] for case in content["training"]] == list(find_cases(source))
    assert sorted(Counter(case["fold"] for case in content["training"]).values()) == [2, 2, 2, 3, 3]
    assert content["testing"] == []
    assert [note[:12] for note in notes] == ["12 of 281 ca"]
    for kind in ("image", "label"):
        voxels = [
            np.asarray(nibabel.load(path).dataobj)
            for path in (
                source / f"{kind}sTr/pancreas_001{suffix}",
                tmp_path / f"out/{kind}s/pancreas_001.nii.gz",
            )
        ]
        assert np.array_equal(*voxels)
    datalist.unlink()
    with pytest.raises(FileExistsError, match="--overwrite"):
        prepare(source, tmp_path / "out")
    prepare(source, tmp_path / "out", overwrite=True)
    assert len(find_cases(source)) == 12  # links to the source, which stays whole


def test_faulty_folders_are_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_cases(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="imagesTr and labelsTr"):
        find_cases(tmp_path)
    source = _archive(tmp_path / "in", [1, 2, 3])
    (source / "labelsTr/pancreas_002.nii.gz").rename(tmp_path / "kept.nii.gz")
    with pytest.raises(FileNotFoundError, match=r"pancreas_002 .* label .*--skip-incomplete"):
        prepare(source, tmp_path / "out")
    assert list(find_cases(source, skip_incomplete=True)) == ["pancreas_001", "pancreas_003"]
    label = nibabel.load(tmp_path / "kept.nii.gz")
    nibabel.save(label.slicer[1:], source / "labelsTr/pancreas_002.nii.gz")
    with pytest.raises(ValueError, match=r"labelsTr/pancreas_002\.nii\.gz .*11 x 12 x 6 instead"):
        prepare(source, tmp_path / "out")
    (source / "imagesTr/pancreas_001.nii.gz").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"imagesTr/pancreas_001\.nii\.gz"):
        prepare(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (source / "copy/labelsTr").mkdir(parents=True)
    (source / "copy/labelsTr/pancreas_003.nii").touch()
    with pytest.raises(ValueError, match=r"pancreas_003\.nii and |and .*pancreas_003\.nii"):
        find_cases(source)
