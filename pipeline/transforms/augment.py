"""Random transforms of a whole batch of images, on the device that holds it.

MONAI's random transforms work case by case. Here one kernel serves the batch, so that on a GPU
augmentation costs less than the network. Every transform takes and returns a dictionary of tensors
(B, C, *spatial). The draws come from torch's CPU generator, so they are reproducible and can be
saved. Those of a transform go to the device in one copy, for which nothing waits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import torch
import torch.nn.functional as F

from .grid import Batch, find_middle, resample


def uniform(low: float, high: float, *size: int) -> torch.Tensor:
    """Draw from [low, high) on the CPU."""
    return torch.empty(size).uniform_(low, high)


def send(device: torch.device, *tensors: torch.Tensor) -> list[torch.Tensor]:
    """Copy float32 tensors from the host to a device at once; a GPU is not waited for."""
    if device.type == "cpu":
        return list(tensors)
    flat = torch.cat([each.flatten() for each in tensors]).pin_memory()
    parts = flat.to(device, non_blocking=True).split([each.numel() for each in tensors])
    return [part.view(each.shape) for part, each in zip(parts, tensors, strict=True)]


@dataclass(eq=False)
class RandAffineBatchd:
    """Flip, rotate, scale, stretch and shift image and label together, bilinearly.

    With a ``patch_size``, the same resampling cuts a random patch out of each case at the image's
    own resolution, so that a step costs the patch and not the photograph. The label's channels
    become soft at their edges, which Dice and BCE losses accept. Outside the image is 0.

    Args:
        keys: the image and the label, each (B, C, X, Y).
        patch_size: size of the output; None for the size of the image.
        regions: how many of the label's channels are regions; None for all.
        focus: share of the patches that are placed around the middle of the label's regions, which
            then lies anywhere in the patch; the others lie anywhere in the image.
        prob: share of the cases that are rotated, scaled and shifted; flips are separate.
        rotate: largest angle, in degrees.
        scale: smallest and largest zoom.
        stretch: largest change of the aspect ratio, as a factor; 1 for none.
        shift: largest shift, as a fraction of the patch.
        flip: probability of a flip, for each spatial axis.
    """

    keys: tuple[str, str] = ("image", "label")
    _: KW_ONLY
    patch_size: Sequence[int] | None = None
    regions: int | None = None
    focus: float = 0.7
    prob: float = 0.9
    rotate: float = 30.0
    scale: tuple[float, float] = (0.8, 1.25)
    stretch: float = 1.1
    shift: float = 0.1
    flip: tuple[float, float] = (0.5, 0.5)

    def __call__(self, batch: Batch) -> Batch:
        image, label = (batch[key] for key in self.keys)
        size = image.shape[2:]
        patch = [min(pair) for pair in zip(self.patch_size or size, size, strict=True)]
        linear = self.matrices(len(image), size, patch)
        linear, *draws = send(image.device, linear, *self.draw_places(len(image), size, patch))
        centres = self.centres(label, linear, draws)
        theta = torch.cat([linear, centres[..., None]], dim=2)
        grid = F.affine_grid(theta, [len(image), 1, *patch], align_corners=False)
        return resample(batch, self.keys, grid)

    def matrices(self, count: int, size: Sequence[int], patch: Sequence[int]) -> torch.Tensor:
        """Draw linear maps (count, 2, 2) from patch to image, in grid_sample's coordinates.

        These run over [-1, 1] and name the last axis first; the rotation is one of pixels.
        """
        on = (torch.rand(count) < self.prob).float()
        rotate = math.radians(self.rotate)
        angle = on * uniform(-rotate, rotate, count)
        zoom = torch.exp(on * uniform(math.log(self.scale[0]), math.log(self.scale[1]), count))
        stretch = torch.exp(on * uniform(-0.5, 0.5, count) * math.log(self.stretch))
        flips = 1 - 2 * (torch.rand(count, 2) < torch.tensor(self.flip)).float()
        across = flips[:, 1] / (zoom * stretch)
        down = flips[:, 0] * stretch / zoom
        cos, sin = torch.cos(angle), torch.sin(angle)
        pixels = torch.stack([cos * across, -sin * across, sin * down, cos * down], dim=1)
        to_image = torch.tensor(size[::-1])[:, None]
        to_patch = torch.tensor(patch[::-1])[None]
        return pixels.view(count, 2, 2) * to_patch / to_image

    def draw_places(
        self, count: int, size: Sequence[int], patch: Sequence[int]
    ) -> tuple[torch.Tensor, ...]:
        """Draw what ``centres`` takes besides the label."""
        reach = torch.tensor([p / s for p, s in zip(patch, size, strict=True)]).flip(0)
        anywhere = uniform(-1, 1, count, 2)
        offset = uniform(-0.6, 0.6, count, 2, 1)
        focused = (torch.rand(count) < self.focus).float()
        shift = uniform(-2 * self.shift, 2 * self.shift, count, 2)
        return reach, anywhere, offset, focused, shift

    def centres(
        self, label: torch.Tensor, linear: torch.Tensor, draws: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Place the middle of each patch in the image (count, 2), likewise in [-1, 1]."""
        reach, anywhere, offset, focused, shift = draws
        room = 1 - reach
        on_label, mass = find_middle(label[:, : self.regions].amax(dim=1))
        # In the patch's own coordinates, so that no rotation or zoom moves the label out of it.
        around = torch.clamp(on_label + (linear @ offset)[..., 0], -room, room)
        focused = (focused > 0) & (mass > 0)
        centre = torch.where(focused[:, None], around, anywhere * room)
        return centre + shift * reach


@dataclass(eq=False)
class RandIntensityBatchd:
    """Change the intensities of some cases: what such transforms have in common.

    Args:
        keys: images.
        prob: share of the cases that are changed.
    """

    keys: Sequence[str]
    _: KW_ONLY
    prob: float

    def __call__(self, batch: Batch) -> Batch:
        return {**batch, **{key: self.change(batch[key]) for key in self.keys}}

    def change(self, x: torch.Tensor) -> torch.Tensor:
        """Change images (B, C, *spatial), and leave the tensor itself as it is."""
        raise NotImplementedError

    def draw_cases(self, *shape: int) -> torch.Tensor:
        """Draw 1 for the cases to change and 0 for the others."""
        return (torch.rand(shape) < self.prob).float()


@dataclass(eq=False, kw_only=True)
class RandColourBatchd(RandIntensityBatchd):
    """Change brightness, contrast, colour balance and gamma, and add camera noise.

    Args:
        keys: images with intensities in [0, 1].
        prob: share of the cases that are changed.
        brightness: largest shift of the intensities.
        contrast: largest relative change of the contrast.
        balance: largest relative change of one colour channel.
        gamma: largest gamma; 1 for none.
        noise: largest standard deviation of the noise.
    """

    prob: float = 0.8
    brightness: float = 0.1
    contrast: float = 0.25
    balance: float = 0.15
    gamma: float = 1.8
    noise: float = 0.03

    def change(self, x: torch.Tensor) -> torch.Tensor:
        count, channels = x.shape[:2]
        space = (1,) * (x.ndim - 2)
        one = (count, 1, *space)  # one draw per case
        on = self.draw_cases(*one)
        contrast = on * uniform(-self.contrast, self.contrast, *one)
        balance = on * uniform(-self.balance, self.balance, count, channels, *space)
        gain = (1 + contrast) * (1 + balance)
        offset = on * uniform(-self.brightness, self.brightness, *one)
        power = torch.exp(on * uniform(-1, 1, *one) * math.log(self.gamma))
        spread = on * uniform(0, self.noise, *one)
        gain, offset, power, spread = send(x.device, gain, offset, power, spread)
        mean = x.flatten(2).mean(dim=2).view(count, channels, *space)
        x = ((x - mean) * gain + mean + offset).clamp(0, 1) ** power
        return x + spread * torch.randn_like(x)


@dataclass(eq=False, kw_only=True)
class RandIlluminationBatchd(RandIntensityBatchd):
    """Multiply by a smooth random field: uneven lighting, shadow and vignetting.

    Args:
        keys: images.
        prob: share of the cases that are changed.
        strength: largest change of the logarithm of the intensity at a node of the field, which
            has four along each axis.
    """

    prob: float = 0.5
    strength: float = 0.3

    def change(self, x: torch.Tensor) -> torch.Tensor:
        on = self.draw_cases(len(x), 1, 1, 1)
        field = on * uniform(-self.strength, self.strength, len(x), 1, 4, 4)
        (field,) = send(x.device, field)
        smooth = F.interpolate(field, size=x.shape[2:], mode="bicubic")
        return x * torch.exp(smooth)


@dataclass(eq=False, kw_only=True)
class RandBlurBatchd(RandIntensityBatchd):
    """Gaussian blur of some cases: haze and missed focus.

    Args:
        keys: images.
        prob: share of the cases that are changed.
        sigma: smallest and largest standard deviation, in pixels.
    """

    prob: float = 0.25
    sigma: tuple[float, float] = (0.5, 2.0)

    def change(self, x: torch.Tensor) -> torch.Tensor:
        which = self.draw_cases(len(x)).nonzero().flatten()
        if not len(which):
            return x
        kernels = self.draw_kernels(len(which))
        kernels, which = send(x.device, kernels, which.float())
        blurred, where = x.clone(), which.long()
        blurred[where] = self.blur(x[where], kernels)
        return blurred

    def draw_kernels(self, count: int) -> torch.Tensor:
        """Draw a Gaussian for each image (count, length)."""
        sigma = uniform(*self.sigma, count)
        reach = math.ceil(3 * self.sigma[1])
        steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
        kernels = torch.exp(-0.5 * (steps / sigma[:, None]) ** 2)
        return kernels / kernels.sum(dim=1, keepdim=True)

    def blur(self, x: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
        """Filter each image with its own kernel (B, length)."""
        count, channels = x.shape[:2]
        reach = kernels.shape[1] // 2
        kernel = kernels.to(x.dtype).repeat_interleave(channels, dim=0)[:, None]  # one per plane
        dims = x.ndim - 2
        conv = F.conv2d if dims == 2 else F.conv3d
        planes = x.reshape(1, count * channels, *x.shape[2:])
        planes = F.pad(planes, [reach] * 2 * dims, mode="replicate")
        for axis in range(dims):  # the filter is separable
            along = [1] * axis + [-1] + [1] * (dims - 1 - axis)
            planes = conv(planes, kernel.view(*kernel.shape[:2], *along), groups=count * channels)
        return planes.reshape(x.shape)
