"""Compile the pretended GPU."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("pretended_gpu.cpp")
TORCH = Path(importlib.util.find_spec("torch").origin).parent


def build() -> Path:
    """Compile the device for this PyTorch, once; half a minute.

    Raises:
        RuntimeError: says what is missing on this machine.
    """
    include = Path(sysconfig.get_paths()["include"])
    if not shutil.which("g++") or not (include / "Python.h").exists():
        raise RuntimeError("g++ and Python.h are needed")
    if platform.system() != "Linux" or (TORCH / "lib" / "libtorch_cuda.so").exists():
        raise RuntimeError("it takes PyTorch's CPU build on Linux")
    known = SOURCE.read_bytes() + (TORCH / "version.py").read_bytes() + sys.version.encode()
    name = f"pretended_gpu-{os.getuid()}-{hashlib.sha256(known).hexdigest()[:16]}.so"
    library = Path(tempfile.gettempdir()) / name
    if not library.exists():
        mine = library.with_suffix(f".{os.getpid()}")
        folders = ("include", "include/torch/csrc/api/include")
        command = ["g++", "-std=c++20", "-O0", "-shared", "-fPIC", "-o", mine, SOURCE]
        command += [f"-I{TORCH / each}" for each in folders] + [f"-I{include}"]
        command += [f"-L{TORCH / 'lib'}", "-lc10", "-ltorch_cpu"]
        subprocess.run(command, check=True)
        mine.replace(library)
    return library
