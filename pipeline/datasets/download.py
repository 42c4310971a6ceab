"""Fetch a dataset by its card: download with resume, checksum, safe extraction."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from .archives import extract

CARDS = Path(__file__).parents[2] / "data"
RETRIES = 2  # within one run; each goes on where the last stopped


@dataclass(frozen=True)
class Card:
    """What is known about a dataset's archive; ``None`` is what its publisher does not say."""

    name: str
    homepage: str
    licence: str
    citation: str
    filename: str
    needs_registration: bool = False
    url: str | None = None
    size: int | None = None  # bytes
    sha256: str | None = None
    md5: str | None = None
    description: str = ""
    checksum_note: str = ""


def load_card(name: str | Path) -> Card:
    """Read ``data/NAME/card.json``, or the card at the path ``name``.

    Raises:
        FileNotFoundError: there is no such card; the message lists those that there are.
        ValueError: the file is no card.
    """
    path = Path(name)
    if path.suffix != ".json":
        path = CARDS / str(name).lower().replace("-", "_") / "card.json"
    if not path.is_file():
        cards = ", ".join(
            sorted(p.parent.name.replace("_", "-") for p in CARDS.glob("*/card.json"))
        )
        raise FileNotFoundError(f"no dataset card {name}: give one of {cards}, or a card's path")
    try:
        return Card(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a dataset card: {error}") from error


def fetch(
    name: str | Path,
    output: str | Path,
    *,
    archive: str | Path | None = None,
    overwrite: bool = False,
) -> tuple[Path, str]:
    """Download the archive of a dataset, check it, and extract it to ``output/files``.

    A download that was cut goes on where it stopped. The archive stays as ``output/FILENAME``, and
    its SHA-256 beside it, with which the next run compares it.

    Args:
        name: name or path of a card.
        output: folder for archive and files.
        archive: the archive, if the user has downloaded it; it stays where it is.
        overwrite: replace files that were extracted before.

    Returns:
        The folder with the files, and the archive's SHA-256.

    Raises:
        PermissionError: the dataset needs a registration and no ``archive`` is given.
        ConnectionError: the download failed; run again to go on.
        ValueError: wrong checksum, or an archive that is broken, unsafe or of an unknown kind.
        FileExistsError: there are files already and ``overwrite`` is off.
    """
    card = load_card(name)
    output = Path(output)
    files = output / "files"
    pin = output / f"{card.filename}.sha256"
    if files.exists() and any(files.iterdir()) and not overwrite:
        raise FileExistsError(f"{files} has files already: add --overwrite to extract them again")
    if archive is not None:
        source = Path(archive)
        if not source.is_file():
            raise FileNotFoundError(f"no archive {source}: give the downloaded file as --archive")
        digest = verify(source, card, pin=pin)
    elif card.url is None or card.needs_registration:
        raise PermissionError(
            f"{card.name} asks for a registration: get {card.filename} at {card.homepage} "
            f"({card.licence}), then run: python -m pipeline data fetch {name} "
            f"--archive {card.filename} --output {output}"
        )
    else:
        source = output / card.filename
        if source.is_file():
            digest = verify(source, card, pin=pin)
        else:
            output.mkdir(parents=True, exist_ok=True)
            part = source.with_name(f"{source.name}.part")
            download(card.url, part, known=bool(card.sha256 or card.md5))
            try:
                digest = verify(part, card, pin=pin)
            except ValueError:
                part.unlink()  # a new attempt must not go on from wrong bytes
                raise
            part.replace(source)
    extract(source, files, overwrite=overwrite)
    pin.write_text(f"{digest}  {card.filename}\n", encoding="ascii")  # of one that was sound
    return files, digest


def download(url: str, target: Path, *, known: bool) -> None:
    """Download to ``target``; what a cut leaves beside it is used by the next call.

    Args:
        url: http or https address.
        target: file to write.
        known: whether a checksum will be compared. Without one, a resume needs the server's ETag
            to say that the file is still the same; else the download starts anew.

    Raises:
        ConnectionError: the server cannot be reached, refuses, or breaks off.
        ModuleNotFoundError: the optional dependency is not installed.
    """
    try:
        from pypdl import Pypdl
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "downloads need pypdl: pip install 'attention-unet-pipeline[data]'"
        ) from error
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    reasons: list[str] = []
    logger = logging.Logger("download")  # of its own: pypdl else writes to the terminal
    logger.addHandler(_Gather(reasons))
    loader = Pypdl(logger=logger)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    ) as progress:
        task = progress.add_task(f"Downloading {url.rpartition('/')[2]}", total=None)
        future = loader.start(
            url, file_path=str(target), segments=1, retries=RETRIES, etag_validation=not known,
            proxy=_proxy(url), display=False, block=False,
        )  # fmt: skip
        try:
            while not loader.completed:
                progress.update(task, completed=loader.current_size, total=loader.size)
                time.sleep(0.1)
            progress.update(task, completed=loader.current_size, total=loader.size)
            future.result()
        except BaseException:  # Ctrl-C too: the part that came stays for the next run
            with contextlib.suppress(Exception):
                loader.shutdown()
            raise
    if loader.failed or not target.is_file():
        raise ConnectionError(
            f"the download of {url} failed ({reasons[-1] if reasons else 'no answer'}): "
            "run the same command again to go on where it stopped"
        )


def _proxy(url: str) -> str | None:
    """The proxy that the environment (``https_proxy``, ``no_proxy``) asks for, as hospitals do."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)


class _Gather(logging.Handler):
    """Keeps the reasons of failures, which pypdl only logs."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__(logging.ERROR)
        self.reasons = reasons

    def emit(self, record: logging.LogRecord) -> None:
        self.reasons.append(str(record.msg).splitlines()[0] if str(record.msg) else "no answer")


def verify(path: Path, card: Card, *, pin: Path) -> str:
    """Compare a file with the card's checksums and with the SHA-256 kept in ``pin``.

    Where the publisher gives none, the digest of the first that was extracted is kept and compared.

    Returns:
        The SHA-256 of ``path``.

    Raises:
        ValueError: a digest or the size differs.
    """
    digests = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            for digest in digests.values():
                digest.update(block)
    for kind, expected in (("sha256", card.sha256), ("md5", card.md5)):
        if expected and digests[kind].hexdigest() != expected.lower():
            raise ValueError(
                f"{path} has {kind} {digests[kind].hexdigest()}, the card of {card.name} says "
                f"{expected}: the file is damaged or another version; get it again"
            )
    if card.size and path.stat().st_size != card.size:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, its card says {card.size}")
    found = digests["sha256"].hexdigest()
    if pin.is_file() and (kept := pin.read_text(encoding="ascii").split()[0]) != found:
        raise ValueError(
            f"{path} has sha256 {found}, the first one had {kept}: remove {pin} if right"
        )
    return found
