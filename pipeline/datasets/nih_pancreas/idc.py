"""Download DICOM series of a TCIA collection from the Imaging Data Commons, with its own client."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...lazy import load_optional

if TYPE_CHECKING:
    from idc_index import IDCClient


@dataclass(frozen=True)
class RemoteSeries:
    """A series as the client's index, which is on the disk, lists it."""

    uid: str
    patient: str
    files: int
    size: int  # bytes of all files

    def is_in(self, folder: Path) -> bool:
        """Tell whether ``folder/PATIENT`` holds all its files with all their bytes."""
        here = [path.stat().st_size for path in (folder / self.patient).glob("*.dcm")]
        return (len(here), sum(here)) == (self.files, self.size)


def new_client() -> IDCClient:
    """Start the client, which needs no account, and a network only to download.

    Raises:
        ModuleNotFoundError: idc-index is not installed.
    """
    idc_index = load_optional("idc_index", need="the CTs of the NIH need", extra="nih")
    for name in ("idc_index", "idc_index.index"):  # the log is long; downloads are checked below
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return idc_index.IDCClient()


def list_series(client: IDCClient, collection: str) -> list[RemoteSeries]:
    """List the CT series of a collection, sorted by patient; the index gives their exact size."""
    index = client.index
    rows = index[(index.collection_id == collection) & (index.Modality == "CT")]
    return [
        RemoteSeries(
            uid=row.SeriesInstanceUID,
            patient=row.PatientID,
            files=int(row.instanceCount),
            size=round(row.series_size_MB * 1e6),
        )
        for row in rows.sort_values("PatientID").itertuples()
    ]


def download_series(client: IDCClient, wanted: Sequence[RemoteSeries], folder: Path) -> None:
    """Download series to ``folder/PATIENT``, except for what is there already.

    Raises:
        ConnectionError: some series did not arrive whole; the next call resumes these.
        OSError: there is not enough space on the disk.
    """
    missing = [series for series in wanted if not series.is_in(folder)]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        client.download_from_selection(
            downloadDir=str(folder),
            seriesInstanceUID=[series.uid for series in missing],
            dirTemplate="%PatientID",
            use_s5cmd_sync=True,  # skips files that are there
        )
    except Exception as error:
        if type(error).__name__ == "IDCClientInsufficientDiskSpaceError":
            raise OSError(f"no space for the CTs in {folder}: {error}") from error
        raise
    # The client does not say when a download failed.
    if broken := [series for series in missing if not series.is_in(folder)]:
        raise ConnectionError(
            f"{len(broken)} of {len(wanted)} series did not arrive whole in {folder}, such as "
            f"{broken[0].patient}: run the same command again to resume"
        )
