"""Extract the archives of datasets safely: zip, tar and rar."""

from __future__ import annotations

import ntpath
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from ..folders import new_folder
from ..transforms.content import read_start

#: Programs that read RAR, which Python cannot: the arguments to list and to extract an archive.
_RAR_TOOLS = {
    "bsdtar": (["-tf"], ["-xf"]),
    "unrar": (["lb"], ["x", "-y"]),
    "7z": (["l", "-ba", "-slt"], ["x", "-y"]),
}


def extract(archive: Path, output: Path, *, overwrite: bool = False) -> None:
    """Extract a zip, tar or rar to ``output``, all of it or nothing.

    Raises:
        ValueError: the archive is broken, of an unknown kind, or holds a path or a link that
            leaves the folder.
        FileNotFoundError: it is a RAR and no program that reads RAR is installed.
    """
    with new_folder(output, sources=[archive], overwrite=overwrite) as stage:
        try:
            if zipfile.is_zipfile(archive):
                with zipfile.ZipFile(archive) as file:
                    _refuse_escapes(archive, file.namelist())
                    file.extractall(stage)
            elif tarfile.is_tarfile(archive):
                with tarfile.open(archive) as file:
                    file.extractall(stage, filter="data")
            elif read_start(archive, 4) == b"Rar!":
                _extract_rar(archive, stage)
            else:
                raise ValueError(f"{archive} is not a zip, tar or rar: give the downloaded archive")
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise ValueError(f"{archive} cannot be extracted: {error}") from error


def _extract_rar(archive: Path, stage: Path) -> None:
    tool = next((name for name in _RAR_TOOLS if shutil.which(name)), None)
    if tool is None:
        raise FileNotFoundError(
            f"{archive} is a RAR, which needs one of {', '.join(_RAR_TOOLS)}: install one, "
            "such as libarchive-tools (apt) or libarchive (conda), or extract it by hand"
        )
    listing, extraction = _RAR_TOOLS[tool]
    path = str(archive.resolve())
    names = _call([tool, *listing, path], stage).splitlines()
    if tool == "7z":
        names = [line.removeprefix("Path = ") for line in names if line.startswith("Path = ")]
    _refuse_escapes(archive, names)
    _call([tool, *extraction, path], stage)
    for item in stage.rglob("*"):
        if item.is_symlink():
            raise ValueError(f"{archive} holds a link, {item.name}: it is not safe to extract")


def _call(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise ValueError(f"{command[0]} cannot read {command[-1]}: {reason}")
    return done.stdout


def _refuse_escapes(archive: Path, names: list[str]) -> None:
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ntpath.splitdrive(name)[0]:
            raise ValueError(
                f"{archive} holds {name}, outside its folder: it is not safe to extract"
            )
