"""Where a figure shows a colour, once it is drawn."""

import io

import numpy as np
from PIL import Image


def rendered(figure):
    """RGB picture (H, W, 3) of a figure."""
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=100)
        return np.asarray(Image.open(file).convert("RGB")).astype(int)


def marked(picture, panel, colour):
    """Bounding box (left, right, top, bottom), in the panel's px, of a colour there."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    rows, columns = np.nonzero(np.abs(picture - wanted).max(axis=-1) < 40)
    bounds, height = panel.get_window_extent(), picture.shape[0]
    inside = (
        (columns > bounds.x0) & (columns < bounds.x1)
        & (height - rows > bounds.y0) & (height - rows < bounds.y1)
    )  # fmt: skip
    if not inside.any():
        return None
    points = np.stack([columns[inside], height - rows[inside]], axis=1)
    x, y = panel.transData.inverted().transform(points).T
    return x.min(), x.max(), y.min(), y.max()
