"""Fetch a dataset by its card: a download that resumes, a checksum, a safe extraction."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from ..files import sha256
from ..folders import CARDS
from ..lazy import load_optional
from .archives import extract

RETRIES = 2  # within one run; each resumes where the last one stopped


@dataclass(frozen=True)
class Card:
    """What is known about a dataset's archive; None where its publisher does not say."""

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
        FileNotFoundError: there is no such card; the message lists the existing ones.
        ValueError: the file is not a card.
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
        return Card(**json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a dataset card: {error}") from error


def fetch_archive(
    name: str | Path,
    output: str | Path,
    *,
    archive: str | Path | None = None,
    overwrite: bool = False,
) -> tuple[Path, str]:
    """Download the archive of a dataset, check it, and extract it to ``output/files``.

    A download that broke off resumes where it stopped. The archive stays as ``output/FILENAME``,
    with its SHA-256 beside it, which the next run compares.

    Args:
        name: name or path of a card.
        output: folder for archive and files.
        archive: the archive, if the user downloaded it; it stays where it is.
        overwrite: replace files that were extracted before.

    Returns:
        The folder with the files, and the archive's SHA-256.

    Raises:
        PermissionError: the dataset needs a registration, and no ``archive`` is given.
        ConnectionError: the download failed; the next run resumes it.
        ValueError: the checksum is wrong, or the archive is broken, unsafe or of an unknown kind.
        FileExistsError: files were extracted already, and ``overwrite`` is off.
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
        digest = check_archive(source, card, pin=pin)
    elif card.url is None or card.needs_registration:
        raise PermissionError(
            f"{card.name} asks for a registration: get {card.filename} at {card.homepage} "
            f"({card.licence}), then run: python -m pipeline data fetch {name} "
            f"--archive {card.filename} --output {output}"
        )
    else:
        source = output / card.filename
        if source.is_file():
            digest = check_archive(source, card, pin=pin)
        else:
            output.mkdir(parents=True, exist_ok=True)
            part = source.with_name(f"{source.name}.part")
            download(card.url, part, known=bool(card.sha256 or card.md5))
            try:
                digest = check_archive(part, card, pin=pin)
            except ValueError:
                part.unlink()  # the next run must not resume from wrong bytes
                raise
            part.replace(source)
    extract(source, files, overwrite=overwrite)
    # Not before: an archive that cannot be extracted is not the right one.
    pin.write_text(f"{digest}  {card.filename}\n", encoding="ascii")
    return files, digest


def download(url: str, target: Path, *, known: bool) -> None:
    """Download to ``target``; the next call resumes a download that broke off.

    Args:
        url: http or https address.
        target: file to write.
        known: whether a checksum will be compared. Without one, the server's ETag must say that
            the file is still the same; otherwise the download starts anew.

    Raises:
        ConnectionError: the server cannot be reached, refuses, or breaks off.
        ModuleNotFoundError: pypdl is not installed.
    """
    pypdl = load_optional("pypdl", need="downloads need", extra="data")
    reasons: list[str] = []
    logger = logging.Logger("download")  # our own, since pypdl's writes to the terminal
    logger.addFilter(partial(_keep_reason, reasons))
    loader = pypdl.Pypdl(logger=logger)
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
        except BaseException:  # also Ctrl-C: what arrived stays for the next run
            with contextlib.suppress(Exception):
                loader.shutdown()
            raise
    if loader.failed or not target.is_file():
        raise ConnectionError(
            f"the download of {url} failed ({reasons[-1] if reasons else 'no answer'}): "
            "run the same command again to resume it"
        )


def _proxy(url: str) -> str | None:
    """Find the proxy in the environment (``https_proxy``, ``no_proxy``), as hospitals set it."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)


def _keep_reason(reasons: list[str], record: logging.LogRecord) -> bool:
    """Keep the reason for a failure, which pypdl only logs, and let nothing be printed."""
    if record.levelno >= logging.ERROR:
        reasons.append((str(record.msg).splitlines() or ["no answer"])[0])
    return False


def check_archive(path: Path, card: Card, *, pin: Path) -> str:
    """Compare a file with the card's checksums and with the SHA-256 in the file ``pin``.

    The latter is that of the archive extracted first, for publishers who give no checksum.

    Returns:
        The SHA-256 of ``path``.

    Raises:
        ValueError: a digest or the size differs.
    """
    for kind, expected in (("sha256", card.sha256), ("md5", card.md5)):
        if not expected:
            continue
        with path.open("rb") as file:
            digest = hashlib.file_digest(
                file, partial(hashlib.new, kind, usedforsecurity=False)
            ).hexdigest()
        if digest != expected.lower():
            raise ValueError(
                f"{path} has {kind} {digest}, the card of {card.name} says {expected}: the file is "
                "damaged or another version; download it again"
            )
    if card.size and path.stat().st_size != card.size:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, its card says {card.size}")
    found = sha256(path)
    if pin.is_file() and (kept := pin.read_text(encoding="ascii").split()[0]) != found:
        raise ValueError(
            f"{path} has sha256 {found}, the first one had {kept}: remove {pin} if the new one "
            "is right"
        )
    return found
