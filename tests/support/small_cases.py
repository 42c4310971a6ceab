"""What a training leaves of the two bundles, small; images for them; and the command."""

import json
from pathlib import Path

import nibabel
import numpy as np
import torch
from commands import command
from monai.bundle import ConfigWorkflow
from PIL import Image
from scipy.spatial.transform import Rotation

from pipeline.datasets.phantoms.folder import write_phantoms
from pipeline.datasets.phantoms.fundus import ABOUT
from pipeline.networks.attention_unet import AttentionUnet

BUNDLES = Path(__file__).parents[2] / "bundles"
EYE, PANCREAS = BUNDLES / "fundus_disc_cup_segmentation", BUNDLES / "pancreas_ct_segmentation"
SMALL = {"channels": [4, 8], "strides": [2], "deep_supervision": False, "device": "cpu"}


def training(folder: Path, *, dimensions: int, channels: int = 0, **ids) -> Path:
    """The folder of a training whose random network marks about half of an image."""
    torch.manual_seed(1)
    channels = channels or (3 if dimensions == 2 else 1)
    network = AttentionUnet(
        spatial_dims=dimensions,
        in_channels=channels,
        out_channels=len(ids.get("regions", (1, 2))),
        channels=[4, 8],
        strides=[2],
        gates=1,
    )
    with torch.no_grad():
        image = torch.rand(1, channels, *[16] * dimensions)
        network.final.bias -= network.eval()(image).flatten(2).median(dim=2).values[0]
    folder.mkdir()
    torch.save(network.state_dict(), folder / "model.pt")
    (folder / "config.json").write_text(json.dumps({**SMALL, **ids}))
    return folder


def masks_of_the_bundle(bundle, training, images, output):
    """What `monai.bundle run` of inference.json writes with the same weights."""
    ids = json.loads((training / "config.json").read_text()) | {"device": "$torch.device('cpu')"}
    workflow = ConfigWorkflow(
        str(bundle / "configs" / "inference.json"),
        workflow_type="infer",
        logging_file=False,
        dataset_dir=str(images),
        ckpt_path=str(training / "model.pt"),
        output_dir=str(output),
        **ids,
    )
    workflow.initialize()
    workflow.run()
    return output


def photograph(path: Path, *, size=(50, 40), seed: int = 0) -> Path:
    """Noise of ``size``, (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(path)
    return path


def write_eyes(folder: Path, *, count: int = 10, testing: float = 0.2) -> Path:
    """A dataset of small pictures that say where the disc and the cup are; the datalist."""

    def draw(index: int, image: Path, label: Path) -> None:
        random = np.random.default_rng(index)
        height, width = 80 + index % 3 * 8, 100
        y, x = np.ogrid[:height, :width]
        off = np.hypot(y - random.uniform(35, 45), x - random.uniform(40, 60))
        mask = (off < random.uniform(18, 24)) + (off < random.uniform(9, 14)).astype(np.uint8)
        picture = random.normal(60 + 70 * mask[..., None], 15, (height, width, 3))
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(image)
        Image.fromarray(mask.astype(np.uint8)).save(label)

    names = {"stem": "phantom", "suffix": ".png", "title": "Small eyes"}
    return write_phantoms(folder, draw, **names, about=ABOUT, count=count, testing=testing)


def ct_volume(seed: int = 0, shape=(22, 20, 18)) -> tuple[np.ndarray, np.ndarray]:
    """A body of noise in air, HU, and an oblique affine with some axes turned round."""
    random = np.random.default_rng(seed)
    grid = np.indices(shape).T  # (Z, Y, X, 3)
    inside = (((grid - np.divide(shape, 2)) / np.multiply(shape, 0.45)) ** 2).sum(-1).T < 1
    hu = np.where(inside, random.normal(50, 80, shape), -1000).astype(np.int16)
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", (3, -5, 8), degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.diag([-4.1, -3.9, 5.3])
    affine[:3, 3] = random.normal(0, 100, 3)
    return hu, affine


def ct(path: Path, *, seed: int = 0, **kwargs) -> Path:
    """The same as a NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(*ct_volume(seed, **kwargs)), path)
    return path


def predict(*arguments, code: int = 0) -> None:
    """The command, which has to end with this exit status."""
    assert command("predict", *arguments) == code


def report(folder: Path) -> dict:
    """The newest report."""
    return json.loads(sorted(folder.glob("report-*.json"))[-1].read_text())


def statuses(folder: Path) -> dict:
    return {case["name"]: case["status"] for case in report(folder)["cases"]}
