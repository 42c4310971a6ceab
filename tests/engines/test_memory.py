"""What a cache may hold, and transforms that are seeded by torch."""

import logging
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandSpatialCropd

from pipeline.engines import memory
from pipeline.engines.handlers import SeedTransforms
from pipeline.engines.memory import cases_that_fit, free_memory


@pytest.fixture
def cases(tmp_path):
    """Three CTs of 40 x 40 x 20 voxels of 2 mm: 256 cm^3, at 1 mm and 3 bytes 0.768 MB each."""
    paths = [tmp_path / f"{number}.nii.gz" for number in range(3)]
    for path in paths:
        volume = nibabel.Nifti1Image(np.zeros((40, 40, 20), np.int16), np.diag([-2, 2, 2, 1]))
        nibabel.save(volume, path)
    return [{"image": str(path)} for path in paths]


@pytest.mark.parametrize(("free", "count"), [(10e6, 3), (2e6, 2), (0, 0)])
def test_a_cache_takes_what_fits_and_says_so(cases, free, count, monkeypatch, caplog):
    monkeypatch.setattr(memory, "free_memory", lambda device: free)
    with caplog.at_level(logging.INFO):
        assert cases_that_fit(cases, spacing=(1, 1, 1), share=0.8) == count
    (record,) = caplog.records
    assert "3 cases on cpu" in record.message
    assert (record.levelname == "WARNING") == (count < 3)


def test_a_short_scan_is_counted_with_its_padding(tmp_path, monkeypatch):
    """Its 10 slices of 5 mm are the first axis of the file, and the third of the network."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = 5, 2, 2, 1
    nibabel.save(nibabel.Nifti1Image(np.zeros((10, 40, 40), np.int16), affine), tmp_path / "a.nii")
    size = 3 * 80 * 80 * 112  # and not 25
    for room, count in ((size, 1), (size - 1, 0)):
        monkeypatch.setattr(memory, "free_memory", lambda device, room=room: room)
        options = {"spacing": (1, 1, 2), "share": 1.0, "least": (64, 64, 112)}
        assert cases_that_fit([{"image": str(tmp_path / "a.nii")}], **options) == count


def test_processes_of_one_machine_share_its_memory(cases, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: 4e6)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert cases_that_fit(cases, spacing=(1, 1, 1), share=0.8) == 2


def test_two_caches_share_a_budget_and_leave_room_for_a_step(cases, monkeypatch):
    """Of 10 MB, 8 for both caches; 2 cases of 0.768 MB are in the first."""
    options = {"spacing": (1, 1, 1), "share": 0.8}
    first = SimpleNamespace(_cache=[{"image": torch.zeros(768_000, dtype=torch.uint8)}] * 2)
    monkeypatch.setattr(memory, "free_memory", lambda device: 10e6 - 2 * 768_000)
    cases = cases * 10
    assert cases_that_fit(cases, after=first, **options) == (8_000_000 - 2 * 768_000) // 768_000
    step = 84 * 3 * 20**3  # 2.016 MB, a little more than what the share leaves
    assert cases_that_fit(cases, after=first, batch=[1, 3, 20, 20, 20], **options) == (
        (10_000_000 - step - 2 * 768_000) // 768_000
    )
    assert cases_that_fit(cases, batch=[4, 32, 50, 50, 50], **options) == 0
    pictures = {"spacing": None, "bytes_per_voxel": 14, "least": [200, 200]}
    assert cases_that_fit([{"image": "1.png"}] * 99, **pictures) == int(0.8 * 8.464e6 / 560_000)


def test_limits_of_a_job_count_but_not_the_files_that_it_has_read(tmp_path):
    root, own = tmp_path / "cgroup", tmp_path / "own"
    job = root / "slurm/job_7"
    (job / "step_0").mkdir(parents=True)
    own.write_text("0::/slurm/job_7/step_0\n")
    assert list(memory.read_group_limits(root, own)) == []
    for folder, limit in ((job, "8000"), (root / "slurm", "max")):
        (folder / "memory.max").write_text(f"{limit}\n")
    (job / "memory.current").write_text("7000\n")
    (job / "memory.stat").write_text("anon 2000\ninactive_file 4000\nactive_file 1000\n")
    assert list(memory.read_group_limits(root, own)) == [6000]


def test_limits_of_version_1_count_too(tmp_path):
    root, own = tmp_path / "cgroup", tmp_path / "own"
    job = root / "memory/slurm/uid_1/job_7"
    (job / "step_0").mkdir(parents=True)
    own.write_text("9:cpu,cpuacct:/slurm\n5:memory:/slurm/uid_1/job_7/step_0\n0::/init\n")
    (job / "memory.limit_in_bytes").write_text("8000\n")
    (job / "memory.usage_in_bytes").write_text("7000\n")
    (job / "memory.stat").write_text(
        "inactive_file 1\nactive_file 1\ntotal_inactive_file 4000\ntotal_active_file 1000\n"
    )
    assert list(memory.read_group_limits(root, own)) == [6000]


def test_free_memory_is_a_sane_number():
    assert 2**20 < free_memory("cpu") < 2**50


def test_torchs_generator_decides_what_monais_transforms_draw():
    crop = Compose([RandSpatialCropd("image", roi_size=4, random_size=False)])
    image = torch.arange(1000.0).view(1, 10, 10, 10)

    def draws(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        drawn = []
        for _ in range(2):
            SeedTransforms(crop)(None)
            drawn += [crop({"image": image})["image"].flatten()[0] for _ in range(3)]
        return torch.stack([torch.as_tensor(each) for each in drawn])

    assert torch.equal(draws(1), draws(1))
    assert not torch.equal(draws(1), draws(2))
