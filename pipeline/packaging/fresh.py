"""Run a package as its users will: started by path, in a Python process of its own.

``python -P fresh.py ROOT WORK`` reads ``WORK/given.json`` and writes ``WORK/found.json``: for each
check whether it passed, and its result or error as text. It does not import this project, and
hides it from the package.
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


def check_schema(root: Path, given: dict) -> str:
    """The metadata fit the schema of MONAI bundles."""
    from monai.bundle import verify_metadata

    verify_metadata(meta_file=str(root / "configs/metadata.json"), filepath=given["schema"])
    return "metadata.json fits"


def check_weights(root: Path, given: dict) -> str:
    """``model.pt`` holds tensors and settings only, exactly the tensors of the network."""
    import torch

    state = read_state(root)
    others = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise ValueError(f"model.pt holds more than tensors: {others[:3]}")
    build_network(root).load_state_dict(state)
    return f"{len(state)} tensors, exactly those of the network"


def read_state(root: Path) -> dict:
    """The weights, as MONAI Label reads them."""
    import torch

    return torch.load(root / "models/model.pt", map_location="cpu", weights_only=True)


def check_in_out(root: Path, given: dict) -> str:
    """The network's input and output are those of the metadata."""
    from monai.bundle import verify_net_in_out

    for name in ("train", "inference"):
        verify_net_in_out(
            net_id="network_def",
            meta_file=str(root / "configs/metadata.json"),
            config_file=str(root / f"configs/{name}.json"),
            device="cpu",
        )
    return "input and output are those of metadata.json"


def check_logits(root: Path, given: dict) -> str:
    """The network computes the logits of the repository's."""
    import torch

    if "logits" not in given:
        return "not compared: the package's code is not the repository's"
    reference = torch.load(given["logits"], weights_only=True)
    network = build_network(root)
    network.load_state_dict(read_state(root))
    with torch.no_grad():
        found = network.eval()(reference["input"])
    torch.testing.assert_close(found, reference["logits"])
    return f"equal to the repository's, {list(found.shape)}"


def check_inference(root: Path, given: dict) -> str:
    """``inference.json`` has MONAI's properties and writes the mask of the repository."""
    ids = {"dataset_dir": given["images"], "output_dir": given["output"]}
    start_workflow(root, "inference", ids).run()
    (path,) = Path(given["output"]).iterdir()
    return compare_mask(read_image(path), given)


def check_training(root: Path, given: dict) -> str:
    """``train.json`` has MONAI's properties when it is called as MONAI Label calls it."""
    cases = [{"image": given["image"], "label": given["label"]}]
    ids = {"train#trainer#max_epochs": 1}
    ids |= {"train#dataset#data": cases, "validate#dataset#data": cases}
    parser = start_workflow(root, "train", ids).parser
    for step in range(len(parser["run"]) - 1):  # all but the training itself
        parser.get_parsed_content(f"run#{step}")
    return "all that MONAI asks for"


def check_monai_label(root: Path, given: dict) -> str:
    """The transforms work one by one, with a path as ``image_path``, without ``SaveImaged``."""
    import torch
    from monai.transforms import LoadImaged, SaveImaged

    if isinstance(given["image"], list):
        return "cannot be served: an image is one file there, and a picture has 1 or 3 channels"
    parser = parse_inference(root, bundle_root=str(root), device="cpu")
    # In the inference's memory format, since rounding depends on it.
    network = parser.get_parsed_content("network")
    network.load_state_dict(read_state(root))
    item = {"image": given["image"], "image_path": given["image"]}
    for step in parser.get_parsed_content("preprocessing").transforms:
        if isinstance(step, LoadImaged):
            step._loader.image_only = False
        item = step(item)
    with torch.no_grad():
        out = parser.get_parsed_content("inferer")(item["image"][None], network.eval())
    item["pred"] = out[0]
    for step in parser.get_parsed_content("postprocessing").transforms:
        item = item if isinstance(step, SaveImaged) else step(item)
    mask = item["pred"].numpy()
    if mask.dtype != "uint8":
        raise ValueError(f"the mask is {mask.dtype}, not uint8")
    if item["image_path"] != given["image"]:
        raise ValueError("the preprocessing lost image_path")
    if "image_meta_dict" not in item:
        raise ValueError("the preprocessing gives no image_meta_dict")
    # A volume has a channel axis, a picture has none.
    found = compare_mask(mask.T if mask.ndim == 2 else mask[0], given)
    channels = len(item["image"])
    several = mask.ndim > 2 and channels > 1
    return f"{found}; an image is one 4D NIfTI of {channels} channels" if several else found


def parse_inference(root: Path, **ids):
    from monai.bundle import ConfigParser

    return ConfigParser({**json.loads((root / "configs/inference.json").read_text()), **ids})


def build_network(root: Path):
    return parse_inference(root).get_parsed_content("network_def")


def start_workflow(root: Path, name: str, ids: dict):
    """Initialize a config of the package, and check that it has MONAI's properties."""
    from monai.bundle import ConfigWorkflow

    workflow = ConfigWorkflow(
        config_file=str(root / f"configs/{name}.json"),
        workflow_type=name,
        logging_file=False,
        **{"bundle_root": str(root), "device": "cpu", **ids},
    )
    workflow.initialize()
    if missing := workflow.check_properties():
        raise ValueError(f"{name}.json has no {missing}")
    return workflow


def read_image(path: Path):
    import numpy as np

    if path.suffix == ".png":
        from PIL import Image

        return np.asarray(Image.open(path))
    import nibabel

    return np.asarray(nibabel.load(path).dataobj)


def compare_mask(mask, given: dict) -> str:
    """Compare a mask, ``(rows, columns)`` or ``(X, Y, Z)``, with the repository's."""
    import numpy as np

    size = read_image(Path(given["label"])).shape
    if mask.shape != size:
        raise ValueError(f"the mask is {mask.shape}, the image {size}")
    if "mask" not in given:
        return "on the image's grid; not compared: the package's code is not the repository's"
    expected = np.load(given["mask"])
    if not np.array_equal(mask, expected):
        raise ValueError(f"{int((mask != expected).sum())} of {mask.size} values differ")
    return f"the repository's mask, {np.count_nonzero(mask)} of {mask.size} values marked"


CHECKS = {
    "schema": check_schema,
    "weights": check_weights,
    "network": check_in_out,
    "logits": check_logits,
    "inference": check_inference,
    "training": check_training,
    "MONAI Label": check_monai_label,
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
