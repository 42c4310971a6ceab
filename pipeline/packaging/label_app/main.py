"""The app that MONAI Label serves: packages of ``model/``, without a look at the internet."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import monailabel
from fastapi import HTTPException
from lib.doubt import Doubt, Infer, keep_trust
from lib.labels import LabelSet
from lib.segments import read_values
from lib.stores import Dicom, Folder
from lib.tasks import Batch, Trainer
from monai.transforms.io.array import SUPPORTED_READERS
from monailabel.config import settings
from monailabel.datastore import dicom
from monailabel.endpoints import infer
from monailabel.interfaces import app as interface
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random

# MONAI tries every reader on a file that the right one cannot read, and NumPy's runs the code in a
# pickle, also in one that is called .png.
SUPPORTED_READERS.pop("numpyreader", None)

NAME = "Packages"
REMEMBERED = 100  # results whose model is known until they are sent


class App(MONAILabelApp):
    """Segment and retrain by the packages that ``--conf models`` names."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        names = [name.strip() for name in conf["models"].split(",")]
        self.models = {name: str(Path(app_dir, "model", name)) for name in names}
        self.sets = [LabelSet.read(Path(path)) for path in self.models.values()]
        self.made: dict[str, str] = {}  # the model of a mask, by its file
        version = monailabel.__version__
        interface.DICOMWebDatastore = partial(Dicom, self.sets)
        super().__init__(app_dir, studies, conf, name=f"{NAME} ({version})", version=version)
        # What MONAI Label calls for a mask of a DICOM series.
        infer.nifti_to_dicom_seg = dicom.nifti_to_dicom_seg = self.write_segmentation

    def init_infers(self) -> dict[str, Any]:
        # Weights that do not fit are an error.
        return {n: Infer(p, self.conf, load_strict=True) for n, p in self.models.items()}

    def init_trainers(self) -> dict[str, Any]:
        trainers = {name: Trainer(path, self.conf) for name, path in self.models.items()}
        return {name: each for name, each in trainers.items() if each.is_valid()}

    def init_strategies(self) -> dict[str, Any]:
        return {"random": Random(), "first": First(), "doubt": Doubt()}

    def init_batch_infer(self) -> Batch:
        return Batch()

    def init_datastore(self) -> Datastore:
        if "://" in self.studies:
            return super().init_datastore()
        return Folder(
            self.sets,
            self.studies,
            extensions=settings.MONAI_LABEL_DATASTORE_FILE_EXT,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
        )

    def trainer(self, name: str) -> Trainer | None:
        return self._trainers.get(name)

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Segment an image, and remember which model made the mask."""
        image = request.get("image")
        if isinstance(image, str) and not os.path.isabs(image):  # a name, and not an upload
            store = datastore or self.datastore()
            store.get_image_uri(image)  # raises if there is none
            if os.path.exists(image):  # in the working directory
                raise HTTPException(
                    400, f"image {image!r}: it has the name of a file of the server"
                )
        result = super().infer(request, datastore)
        if file := result.get("file"):
            self.made[file] = request["model"]
            for old in [*self.made][:-REMEMBERED]:
                self.made.pop(old, None)
            if os.path.isabs(str(image)):
                return result
            keep_trust(self.datastore(), image, result)
            if isinstance(self.datastore(), Dicom):
                self.datastore().update_image_info(image, {"predicted_by": request["model"]})
        return result

    def write_segmentation(self, folder: str, mask: str, info: Any, **_: Any) -> str:
        """What stands in for MONAI Label's function; see `Dicom.write`."""
        if not read_values(mask):
            # No content: the model found nothing, and a DICOM segmentation has to have something.
            raise HTTPException(204)
        return self.datastore().write(folder, mask, info, self.made.get(mask, ""))
