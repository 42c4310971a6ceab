"""Random rotation, zoom and warp of a whole batch of volumes, on the device that holds it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import torch
import torch.nn.functional as F

from .augment import send, uniform
from .grid import Batch, resample


@dataclass(eq=False)
class RandAffineVolumeBatchd:
    """Rotate, scale, warp and flip image and label together, linearly, and cut a patch out.

    The volumes are larger than the patch by a margin: the patch lies anywhere inside, and a
    rotation brings in anatomy rather than padding. The body is rotated in mm, whatever the shape
    of the voxels. The label's channels become soft at their edges, which Dice and BCE losses
    accept. Outside the volume is 0, the lowest value after scaling.

    Args:
        keys: the image and the label, each (B, C, X, Y, Z).
        patch_size: size of the output, in voxels.
        spacing: of the voxels along each axis, in mm.
        prob: share of the cases that are rotated, scaled and warped; shift and flips are separate.
        rotate: largest angle in degrees, one for all axes or one about each.
        scale: smallest and largest zoom.
        stretch: largest change of one axis relative to the others, as a factor; 1 for none.
        warp: standard deviation of a smooth random displacement, in mm; 0 for none. Its control
            points are five along each axis of the patch.
        flip: probability of a flip, one for all spatial axes or one for each.
    """

    keys: tuple[str, str] = ("image", "label")
    _: KW_ONLY
    patch_size: Sequence[int]
    spacing: Sequence[float] = (1.0, 1.0, 1.0)
    prob: float = 0.7
    rotate: float | Sequence[float] = 15.0
    scale: tuple[float, float] = (0.8, 1.25)
    stretch: float = 1.0
    warp: float = 0.0
    flip: float | Sequence[float] = 0.0

    def __post_init__(self) -> None:
        self.steps = torch.tensor(self.spacing, dtype=torch.float32)
        angles = torch.tensor(self.rotate, dtype=torch.float32).expand(3)
        self.angle = math.radians(angles.max())
        self.about = angles / angles.max().clamp(min=1e-6)  # share of it about each axis
        self.flips = torch.tensor(self.flip, dtype=torch.float32).expand(3)

    def __call__(self, batch: Batch) -> Batch:
        image = batch[self.keys[0]]
        count = len(image)
        size = torch.tensor(image.shape[2:], dtype=torch.float32)
        patch = torch.tensor(self.patch_size, dtype=torch.float32).minimum(size)
        # Voxels about the patch's middle to voxels about the volume's middle, and a random shift.
        shift = uniform(-0.5, 0.5, count, 3) * (size - patch)
        # In grid_sample's coordinates, which run over [-1, 1] and name the last axis first.
        on = (torch.rand(count) < self.prob).float()
        linear = self.matrices(on) * patch / size[:, None]
        theta = torch.cat([linear, (2 * shift / size)[..., None]], dim=2)
        theta = torch.cat([theta[:, :, :3].flip(1, 2), theta[:, :, 3:].flip(1)], dim=2)
        shape = [count, 1, *(int(length) for length in patch)]
        knots = [self.draw_knots(on, size)] if self.warp else []
        theta, *knots = send(image.device, theta, *knots)
        grid = F.affine_grid(theta, shape, align_corners=False)
        for each in knots:
            smooth = F.interpolate(each, size=shape[2:], mode="trilinear", align_corners=True)
            grid = grid + smooth.flip(1).permute(0, 2, 3, 4, 1)
        return resample(batch, self.keys, grid)

    def matrices(self, on: torch.Tensor) -> torch.Tensor:
        """Draw linear maps (B, 3, 3) of voxels, from patch to volume, where ``on`` (B,) is 1."""
        count = len(on)
        angles = on[:, None] * uniform(-self.angle, self.angle, count, 3) * self.about
        zoom = on * uniform(math.log(self.scale[0]), math.log(self.scale[1]), count)
        uneven = on[:, None] * uniform(-0.5, 0.5, count, 3) * math.log(self.stretch)
        turn = torch.eye(3).expand(count, 3, 3)
        for axis in range(3):
            turn = make_rotations(angles[:, axis], axis) @ turn
        flips = 1 - 2 * (torch.rand(count, 3) < self.flips).float()
        voxels = turn * self.steps / self.steps[:, None]
        return voxels * (flips / torch.exp(zoom[:, None] + uneven))[:, None]

    def draw_knots(self, on: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        """Draw the control points of a smooth warp, (B, 3, 5, 5, 5) in grid_sample's units."""
        knots = on[:, None, None, None, None] * torch.randn(len(on), 3, 5, 5, 5)
        reach = self.warp / self.steps * 2 / size  # one standard deviation along each axis
        return knots * reach[:, None, None, None]


def make_rotations(angles: torch.Tensor, axis: int) -> torch.Tensor:
    """Make rotation matrices (B, 3, 3) about one axis by angles (B,) in radians."""
    first, second = (each for each in range(3) if each != axis)
    out = torch.eye(3).repeat(len(angles), 1, 1)
    out[:, first, first] = out[:, second, second] = torch.cos(angles)
    out[:, second, first] = torch.sin(angles)
    out[:, first, second] = -torch.sin(angles)
    return out
