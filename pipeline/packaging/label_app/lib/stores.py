"""Where images and labels lie: a folder, or a DICOMweb server."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK
from fastapi import HTTPException
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.local import LocalDatastore
from monailabel.datastore.utils.convert import binary_to_image
from monailabel.datastore.utils.dicom import dicom_web_download_series
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.exception import ImageNotFoundException
from pydicom.dataset import Dataset

from . import segments
from .labels import LabelSet, choose, name_values

logger = logging.getLogger(__name__)
FINAL = DefaultLabelTag.FINAL
REFRESH = 10  # s for which a list of the server's segmentations holds


class Folder(LocalDatastore):
    """A folder of images. An image is never replaced, and an unknown one is an error.

    Args:
        sets: labels of the served models.
        arguments: of MONAI Label's class.
    """

    def __init__(self, sets: list[LabelSet], *arguments: Any, **options: Any) -> None:
        self.sets = sets
        super().__init__(*arguments, **options)

    def get_image_uri(self, image_id: str) -> str:
        if uri := super().get_image_uri(image_id):
            return uri
        raise ImageNotFoundException(f"image {image_id!r}: there is no image of this name")

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        if image_id in self._datastore.objects:
            raise HTTPException(409, f"image {image_id!r} is there already; give another name")
        return super().add_image(image_id, image_filename, image_info)

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Save a label with the values of the model, whatever those of the viewer are."""
        if label_tag == FINAL and label_filename.endswith(segments.MASKS):
            info = (label_info or {}).get("label_info") or []
            try:
                segments.renumber(label_filename, info, self.sets)
            except ValueError as error:
                raise HTTPException(400, f"image {image_id}: {error}") from None
        return super().save_label(image_id, label_filename, label_tag, label_info)


class Dicom(DICOMWebDatastore):
    """The CT series of a DICOMweb server, and the segmentations that people made of them.

    Args:
        sets: labels of the served models.
        arguments: of MONAI Label's class.
    """

    def __init__(self, sets: list[LabelSet], **arguments: Any) -> None:
        self.sets = sets
        self.known: dict[str, dict[str, Any]] = {}  # what is said of a segmentation, by its UID
        self.left_out: list[str] = []  # labels that a training cannot use, and why
        self.people: tuple[float, dict[str, dict[str, Any]]] = (-np.inf, {})
        super().__init__(**arguments)

    def get_image_uri(self, image_id: str) -> str:
        if image_id not in self.list_images():
            raise ImageNotFoundException(f"image {image_id!r}: the server has no such series")
        return super().get_image_uri(image_id)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        raise HTTPException(403, "send images to the DICOMweb server")

    def write(self, folder: str, mask: str, info: Any, model: str = "") -> str:
        """Write a mask as a DICOM segmentation; see `segments.write_segmentation`.

        Args:
            folder: of the series, named by its UID.
            mask: to be written; not empty.
            info: ``label_info`` of the request.
            model: that made the mask; empty if a person did.
        """
        info, predicted = info or [], bool(model)
        by = model or self.get_image_info(Path(folder).name).get("predicted_by", "")
        own = [each for each in self.sets if each.model == by]
        labels = own[0] if own else choose(self.sets, [str(e.get("name")) for e in info])
        names = name_values(segments.read_values(mask), info, labels, predicted=predicted)
        made_by = "AUTOMATIC" if predicted else "SEMIAUTOMATIC" if by else "MANUAL"
        return segments.write_segmentation(folder, mask, names, labels, made_by)

    def save_label(
        self,
        image_id: str,
        label_filename: str,
        label_tag: str,
        label_info: dict[str, Any],
        **_: Any,
    ) -> str:
        """Send a label to the server; an empty one stays here, since DICOM cannot hold it."""
        image = self.get_image_uri(image_id)
        if label_filename.endswith(".bin"):
            label_filename = binary_to_image(image, label_filename)
        try:
            segments.check_grid(label_filename, image)
        except ValueError as error:
            raise HTTPException(400, f"image {image_id}: {error}") from None
        self.people = (-np.inf, {})
        if label_tag == FINAL and not segments.read_values(label_filename):
            label_info = {**(label_info or {}), "empty": True}
            return LocalDatastore.save_label(self, image_id, label_filename, label_tag, label_info)
        saved = super().save_label(image_id, label_filename, label_tag, label_info)
        if label_tag == FINAL:  # a training reads it from the server, by the names of its segments
            self.update_label_info(image_id, FINAL, {"SeriesInstanceUID": ""})
        return saved

    def get_label_uri(self, label_id: str, label_tag: str, image_id: str = "") -> str:
        return LocalDatastore.get_label_uri(self, label_id, label_tag)

    def find_people(self) -> dict[str, dict[str, Any]]:
        """The newest segmentation by a person of each image.

        Those of an algorithm are predictions, and would teach the model what it knows.
        """
        made, found = self.people
        if time.monotonic() - made < REFRESH:
            return found
        found, images = {}, set(self.list_images())
        for item in self._client.search_for_series(search_filters={"Modality": "SEG"}):
            series = Dataset.from_json(item)
            uid = str(series.SeriesInstanceUID)
            if uid not in self.known:
                self.known[uid] = self.describe(str(series.StudyInstanceUID), uid)
            each = self.known[uid]
            old = found.get(each["image"], each)
            if each["image"] in images and each["by_person"] and each["made"] >= old["made"]:
                found[each["image"]] = each
        self.people = (time.monotonic(), found)
        return found

    def describe(self, study: str, uid: str) -> dict[str, Any]:
        """What a segmentation refers to, who made it, and when."""
        content = Dataset.from_json(self._client.retrieve_series_metadata(study, uid)[0])
        refers = content.get("ReferencedSeriesSequence")
        kinds = {str(s.get("SegmentAlgorithmType")) for s in content.get("SegmentSequence", [])}
        return {
            "uid": uid,
            "study": study,
            "image": str(refers[0].SeriesInstanceUID) if refers else "",
            "by_person": bool(kinds - {"AUTOMATIC"}),
            "made": f"{content.get('ContentDate', '')}{content.get('ContentTime', '')}",
        }

    def get_labeled_images(self, label_tag: Any = None, labels: Any = None) -> list[str]:
        local = self._datastore.filter_by_tag(FINAL).items()
        empty = [image for image, each in local if each.labels[FINAL].info.get("empty")]
        return sorted({*self.find_people(), *empty})

    def get_unlabeled_images(self, label_tag: Any = None, labels: Any = None) -> list[str]:
        return sorted({*self.list_images()} - {*self.get_labeled_images()})

    def _download_labeled_data(self) -> None:
        """Bring the labels of people, on the grids of their CTs, into the cache."""
        people = self.find_people()
        for image, each in self._datastore.filter_by_tag(FINAL).items():
            uid = each.labels[FINAL].info.get("SeriesInstanceUID")
            if not each.labels[FINAL].info.get("empty") and people.get(image, {}).get("uid") != uid:
                Path(LocalDatastore.get_label_uri(self, image, FINAL)).unlink(missing_ok=True)
        self.refresh()
        self.left_out = []
        for image, each in people.items():
            volume = self.get_image_uri(image)
            label = self._datastore.label(image, FINAL)
            if label and label.info.get("SeriesInstanceUID") == each["uid"]:
                continue
            try:
                self.take(image, Path(volume), each)
            except ValueError as error:
                self.left_out.append(f"segmentation {each['uid']} of {image}: {error}")
                logger.warning("not a label for training: %s", self.left_out[-1])

    def take(self, image: str, volume: Path, each: dict[str, Any]) -> None:
        """Download a segmentation and save it as the label of its image."""
        series = Path(self._datastore.image_path(), image)
        first = pydicom.dcmread(next(iter(sorted(series.iterdir()))), stop_before_pixels=True)
        folder = Path(tempfile.mkdtemp())
        try:
            dicom_web_download_series(each["study"], each["uid"], str(folder), self._client)
            (path,) = folder.iterdir()
            frame = str(first.FrameOfReferenceUID)
            mask = segments.read_segmentation(path, volume, frame, self.sets)
            SimpleITK.WriteImage(mask, str(folder / "mask.nii.gz"), True)
            info = {"SeriesInstanceUID": each["uid"]}
            LocalDatastore.save_label(self, image, str(folder / "mask.nii.gz"), FINAL, info)
        finally:
            shutil.rmtree(folder)
