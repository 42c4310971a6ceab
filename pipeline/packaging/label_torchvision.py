"""Make ``import torchvision`` work beside a torch without CUDA; run by the server's own Python.

MONAI Label imports torchvision. A torchvision for CUDA needs operators, which MONAI Label never
calls, that a torch for the CPU lacks. If the import fails for this reason, ``python
label_torchvision.py`` adds this module to the environment. From then on Python loads it at each
start, and it declares the operators before torchvision is loaded.
"""

from __future__ import annotations

import importlib.abc
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

NAME = Path(__file__).stem


class DeclareOperators(importlib.abc.MetaPathFinder):
    """An import hook that only acts when torchvision is imported."""

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            for operator in ("nms", "qnms"):
                torch.library.define(
                    f"torchvision::{operator}",
                    "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
                )
        return None


def main() -> None:
    test = [sys.executable, "-c", "import torchvision"]
    found = subprocess.run(test, capture_output=True, text=True)
    if found.returncode and "operator torchvision::nms does not exist" in found.stderr:
        packages = Path(sysconfig.get_path("purelib"))
        shutil.copy(__file__, packages / f"{NAME}.py")
        (packages / f"{NAME}.pth").write_text(f"import {NAME}\n")
        found = subprocess.run(test, capture_output=True, text=True)
    sys.exit(found.stderr or None)


if __name__ == "__main__":
    main()
else:
    sys.meta_path.insert(0, DeclareOperators())
