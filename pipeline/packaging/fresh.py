"""Run a package the way its users will. Started by its path, in an interpreter of its own.

``python -P fresh.py ROOT WORK`` reads ``WORK/given.json`` and writes ``WORK/found.json``: for each
check its result in words, or what went wrong. It imports nothing of this project, and forbids the
package to.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


class WithoutProject:
    """An import hook that hides the project, installed or not."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "pipeline":
            raise ModuleNotFoundError(f"{name}: it is not in the package")


def schema(root: Path, given: dict) -> str:
    """The metadata fit the schema of MONAI bundles."""
    from monai.bundle import verify_metadata

    verify_metadata(meta_file=str(root / "configs/metadata.json"), filepath=given["schema"])
    return "metadata.json fits it"


def weights(root: Path, given: dict) -> str:
    """``model.pt`` holds tensors only, exactly those of the network."""
    import torch

    state = torch.load(root / "models/model.pt", map_location="cpu", weights_only=True)
    others = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise ValueError(f"model.pt holds more than tensors: {others[:3]}")
    network(root).load_state_dict(state)
    return f"{len(state)} tensors, all of the network and no other"


def network(root: Path):
    from monai.bundle import ConfigParser

    return ConfigParser(
        json.loads((root / "configs/inference.json").read_text())
    ).get_parsed_content("network_def")


def in_out(root: Path, given: dict) -> str:
    """The network takes and gives what the metadata say."""
    from monai.bundle import verify_net_in_out

    for name in ("train", "inference"):
        verify_net_in_out(
            net_id="network_def",
            meta_file=str(root / "configs/metadata.json"),
            config_file=str(root / f"configs/{name}.json"),
            device="cpu",
        )
    return "the network's input and output are those of metadata.json"


def logits(root: Path, given: dict) -> str:
    """The network computes what the repository's does."""
    import torch

    if "logits" not in given:
        return "not compared: the package has other code than this repository"
    reference = torch.load(given["logits"], weights_only=True)
    module = network(root)
    module.load_state_dict(torch.load(root / "models/model.pt", weights_only=True))
    with torch.no_grad():
        found = module.eval()(reference["input"])
    torch.testing.assert_close(found, reference["logits"])
    return f"equal to the repository's, {list(found.shape)}"


def inference(root: Path, given: dict) -> str:
    """``inference.json`` has MONAI's properties and writes the repository's mask."""
    from monai.bundle import ConfigWorkflow

    workflow = ConfigWorkflow(
        config_file=str(root / "configs/inference.json"),
        workflow_type="infer",
        logging_file=False,
        bundle_root=str(root),
        dataset_dir=str(Path(given["image"]).parent),
        output_dir=given["output"],
        device="cpu",
    )
    workflow.initialize()
    if missing := workflow.check_properties():
        raise ValueError(f"inference.json lacks {missing}")
    workflow.run()
    (path,) = Path(given["output"]).iterdir()
    return same(read(path), given)


def training(root: Path, given: dict) -> str:
    """``train.json`` has MONAI's properties when it is called as MONAI Label calls it."""
    from monai.bundle import ConfigWorkflow

    cases = [{"image": given["image"], "label": given["label"]}]
    workflow = ConfigWorkflow(
        config_file=str(root / "configs/train.json"),
        workflow_type="train",
        logging_file=False,
        **{
            "bundle_root": str(root),
            "device": "cpu",
            "train#trainer#max_epochs": 1,
            "train#dataset#data": cases,
            "validate#dataset#data": cases,
        },
    )
    workflow.initialize()
    if missing := workflow.check_properties():
        raise ValueError(f"train.json lacks {missing}")
    for step in range(len(workflow.parser["run"]) - 1):  # all but the training itself
        workflow.parser.get_parsed_content(f"run#{step}")
    return "all that MONAI asks of it"


def monai_label(root: Path, given: dict) -> str:
    """The transforms one by one, with a path as ``image_path``, without ``SaveImaged``."""
    import torch
    from monai.bundle import ConfigParser
    from monai.transforms import SaveImaged

    config = json.loads((root / "configs/inference.json").read_text())
    parser = ConfigParser({**config, "bundle_root": str(root), "device": "cpu"})
    # In the inference's memory format, since another one rounds otherwise.
    module = parser.get_parsed_content("network")
    module.load_state_dict(torch.load(root / "models/model.pt", weights_only=True))
    item = {"image": given["image"], "image_path": given["image"]}
    for step in parser.get_parsed_content("preprocessing").transforms:
        item = step(item)
    with torch.no_grad():
        out = parser.get_parsed_content("inferer")(item["image"][None], module.eval())
    item["pred"] = out[0]
    for step in parser.get_parsed_content("postprocessing").transforms:
        item = item if isinstance(step, SaveImaged) else step(item)
    mask = item["pred"].numpy()
    if mask.dtype != "uint8":
        raise ValueError(f"the mask is {mask.dtype}, not uint8")
    if item["image_path"] != given["image"]:
        raise ValueError("the preprocessing lost image_path")
    # A picture goes without, a volume with its axis of channels.
    return same(mask.T if mask.ndim == 2 else mask[0], given)


def read(path: Path):
    import numpy as np

    if path.suffix == ".png":
        from PIL import Image

        return np.asarray(Image.open(path))
    import nibabel

    return np.asarray(nibabel.load(path).dataobj)


def same(mask, given: dict) -> str:
    """Compare a mask, ``(rows, columns)`` or ``(X, Y, Z)``, with the repository's."""
    import numpy as np

    size = read(Path(given["label"])).shape
    if mask.shape != size:
        raise ValueError(f"the mask is {mask.shape}, the image {size}")
    if "mask" not in given:
        return "a mask on the image's grid; not compared, since the package has other code"
    expected = np.load(given["mask"])
    if not np.array_equal(mask, expected):
        raise ValueError(f"{int((mask != expected).sum())} of {mask.size} voxels differ")
    return f"the repository's mask, {np.count_nonzero(mask)} of {mask.size} voxels marked"


CHECKS = {
    "schema": schema,
    "weights": weights,
    "network": in_out,
    "logits": logits,
    "inference": inference,
    "training": training,
    "MONAI Label": monai_label,
}


def main(root: Path, work: Path) -> None:
    sys.meta_path.insert(0, WithoutProject())
    sys.path.insert(0, str(root))
    given = json.loads((work / "given.json").read_text())
    found = {}
    for name, check in CHECKS.items():
        try:
            found[name] = [True, check(root, given)]
        except Exception as error:  # anything may be wrong with a package
            cause = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            found[name] = [False, " ".join(f"{type(cause).__name__}: {cause}".split())[:500]]
    (work / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
