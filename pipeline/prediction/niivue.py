"""NiiVue, in which the page of a report shows volumes: brought beside the page once."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

from ..files import replacing
from .output import writing
from .view import FOLDER

VERSION = "0.69.0"
VIEWER = f"{FOLDER}/niivue-{VERSION}.js"  # from the folder of the masks
URL = f"https://registry.npmjs.org/@niivue/niivue/-/niivue-{VERSION}.tgz"
# As npm gives it: npm view @niivue/niivue@VERSION dist.integrity
SHA512 = "YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA=="
FILE = "dist/niivue.umd.js"  # of the archive, which has no text of the licence
LICENSE = Path(__file__).with_name("niivue_license.txt")
SECONDS = 5  # that a server may be silent


def bring_viewer(folder: Path) -> str:
    """Put NiiVue into a folder of predictions, where it is not there yet.

    It comes from the file that ``NIIVUE`` in the environment names, from the user's cache, or from
    the registry of npm into that cache.

    Returns:
        Why it is not there, and what to do; empty if it is.

    Raises:
        OutputError: the folder cannot be written.
    """
    if (folder / VIEWER).exists():
        return ""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    cache = cache / "attention-unet-pipeline" / Path(VIEWER).name
    given = os.environ.get("NIIVUE")
    try:
        if given or cache.exists():
            content = Path(given or cache).read_bytes()
        else:
            content = _fetch()
            with suppress(OSError), replacing(cache) as temporary:
                temporary.write_bytes(content)
    except (OSError, ValueError) as error:
        place = f"NIIVUE={given}" if given else URL
        return (
            f"the page shows planes of volumes and does not turn them: {place} cannot be read "
            f"({error}); name the file {FILE} of that archive by NIIVUE=FILE"
        )
    with writing(folder / VIEWER), replacing(folder / VIEWER) as temporary:
        temporary.write_bytes(content)
    return ""


def _fetch() -> bytes:
    """Fetch the script, with its licence before it.

    Raises:
        OSError: the server cannot be reached.
        ValueError: it gives another file.
    """
    with urlopen(URL, timeout=SECONDS) as answer:
        archive = answer.read()
    if base64.b64encode(hashlib.sha512(archive).digest()).decode() != SHA512:
        raise ValueError("its SHA-512 is another")
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        script = opened.extractfile(f"package/{FILE}").read()
    return f"/*! NiiVue {VERSION}\n\n{LICENSE.read_text()}*/\n".encode() + script
