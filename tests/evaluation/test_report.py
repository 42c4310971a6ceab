"""The report of a small evaluation with known masks, through files, engine and JSON names."""

import json
import shutil

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.transforms import (
    AsDiscreted,
    Compose,
    ConcatItemsd,
    LoadImaged,
    Orientationd,
    Resized,
    ScaleIntensityRanged,
)
from PIL import Image
from tables import read_csv

from pipeline.errors import InputError
from pipeline.evaluation.cases import name_case
from pipeline.evaluation.metrics import case_metrics, find_units, vertical_cdr
from pipeline.evaluation.report import CaseReport
from pipeline.transforms.mark import LabelToRegionsd, MarkRegionsd
from pipeline.transforms.read import ReadImaged

REGIONS = ["optic_disc", "optic_cup"]
NESTED = {"optic_disc": [1, 2], "optic_cup": [2]}
WIDTH, HEIGHT = 96, 64


class Perfect(torch.nn.Module):
    """Knows the answer: the photograph's red and green channels hold the disc and the cup."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x[:, :2] - 0.5

    def attention_maps(self, x):
        return [torch.nn.functional.avg_pool2d(x[:, :1], size) for size in (8, 16)]


def box(left, right, top, bottom):
    """Mask in display order (H, W)."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


# Prediction and truth of the disc and the cup, named by how good they are; in (H, W).
CASES = {
    "good": ((box(40, 80, 10, 40), box(50, 70, 20, 30)),) * 2,
    "shifted": (
        (box(44, 84, 10, 40), box(54, 74, 20, 36)),
        (box(40, 80, 10, 40), box(50, 70, 20, 30)),
    ),
    "missed": ((box(0, 0, 0, 0), box(0, 0, 0, 0)), (box(40, 80, 10, 40), box(50, 70, 20, 30))),
}


@pytest.fixture
def datalist(tmp_path):
    """Photographs that hold the prediction in their colours, and the masks of the truth."""
    items = []
    for name, (predicted, true) in CASES.items():
        blue = np.indices((HEIGHT, WIDTH)).sum(axis=0)  # no picture has one value all over
        photograph = np.stack([*(255 * mask for mask in predicted), blue], axis=-1)
        item = {"image": tmp_path / f"{name}.png"}
        Image.fromarray(photograph.astype(np.uint8)).save(item["image"])
        for region, mask in zip(REGIONS, true, strict=True):
            item[region] = tmp_path / f"{name}_{region}.png"
            Image.fromarray(mask.astype(np.uint8) * 255).save(item[region])
        items.append({key: str(path) for key, path in item.items()})
    return items


def evaluate(datalist, handler, *, network=None):
    """Run MONAI's evaluator on the files, the photograph doubled in size for the network."""
    load = Compose(
        [
            LoadImaged(["image", *REGIONS], ensure_channel_first=True),
            ConcatItemsd(REGIONS, "label"),
            ScaleIntensityRanged("label", 0, 255, 0, 1),
            ScaleIntensityRanged("image", 0, 255, 0, 1),
            Resized("image", (2 * WIDTH, 2 * HEIGHT), mode="nearest"),
        ]
    )
    back = [
        AsDiscreted("pred", threshold=0),
        Resized("pred", (WIDTH, HEIGHT), mode="nearest"),
    ]
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(datalist, load), batch_size=2),
        network=network or Perfect(),
        postprocessing=Compose(back),
        val_handlers=[handler],
    )
    evaluator.run()
    return evaluator


def test_the_report_of_an_evaluation(datalist, tmp_path, capsys):
    network, output_dir = Perfect(), tmp_path / "evaluation"
    parser = ConfigParser(
        {
            "network": network,
            "report": {
                "_target_": "pipeline.evaluation.CaseReport",
                "output_dir": str(output_dir),
                "regions": NESTED,
                "vertical_cdr": ["optic_disc", "optic_cup"],
                "network": "@network",
                "predictions": True,
            },
        }
    )
    evaluator = evaluate(datalist, parser.get_parsed_content("report"), network=network)

    rows = {row["case"]: row for row in read_csv(output_dir / "cases.csv")}
    assert list(rows) == sorted(CASES)
    for name, (predicted, true) in CASES.items():
        predicted, true = np.stack(predicted), np.stack(true)  # (2, H, W)
        for key, value in case_metrics(predicted, true, REGIONS, (1, 1)).items():
            assert float(rows[name][key]) == value, (name, key)
        # Height over height: rows are axis 0 here and axis 1 in MONAI's order.
        assert float(rows[name]["vertical_cdr/truth"]) == vertical_cdr(*true, axis=0) == 10 / 30
        assert float(rows[name]["area/optic_cup"]) == true[1].sum()
        assert float(rows[name]["area/image"]) == WIDTH * HEIGHT
        # The mask as any other program reads it: 1 rim, 2 cup, on the photograph's own grid.
        kept = np.asarray(Image.open(output_dir / "predictions" / f"{name}.png"))
        assert np.array_equal(kept, predicted[0] + predicted[1].astype(int))
        assert rows[name]["image"] == str(tmp_path / f"{name}.png")
    assert float(rows["shifted"]["vertical_cdr/prediction"]) == 16 / 30
    assert rows["missed"]["vertical_cdr/prediction"] == ""
    assert float(rows["missed"]["vertical_cdr/absolute_error"]) == 1
    assert float(rows["missed"]["hd95/optic_cup"]) == np.hypot(WIDTH, HEIGHT)

    assert not [name for name in evaluator.state.metrics if name.startswith("area")]

    summary = json.loads((output_dir / "summary.json").read_text())
    assert (summary["n_cases"], summary["units"]) == (3, {"hd95": "px"})
    assert summary["label_values"] == NESTED
    for name, column in summary["metrics"].items():
        if name.startswith("pooled_dice/"):
            region = name.partition("/")[2]
            both, union = (
                sum(float(row[f"{key}/{region}"]) for row in rows.values())
                for key in ("intersection", "union")
            )
            assert column["mean"] == pytest.approx(2 * both / (union + both))
            continue
        values = [float(row[name]) for row in rows.values() if row[name]]
        assert column["mean"] == evaluator.state.metrics[name] == pytest.approx(np.mean(values))
    assert evaluator.state.metrics["pooled_iou"] == summary["pooled_iou"]
    assert "dice/optic_cup" in capsys.readouterr().out
    names = {path.name for path in (output_dir / "figures").iterdir()}
    assert names == {"worst_median_best.png", "attention.png"}


def test_running_again_starts_anew(datalist, tmp_path):
    report = CaseReport(tmp_path / "evaluation", NESTED, figures=False)
    evaluator = evaluate(datalist, report)
    before = dict(evaluator.state.metrics)
    evaluator.run()
    assert evaluator.state.metrics == before
    assert len(report.cases) == len(CASES)


def test_a_photograph_that_is_gone_costs_no_number(datalist, tmp_path, caplog):
    class Vanish(CaseReport):
        def finish(self, engine):
            for item in datalist:
                (tmp_path / item["image"]).unlink()
            super().finish(engine)

    evaluate(datalist, Vanish(tmp_path / "evaluation", NESTED))
    assert (tmp_path / "evaluation" / "summary.json").exists()
    assert "worst_median_best.png" in caplog.text


def test_a_prediction_that_no_mask_can_hold_costs_no_number(datalist, tmp_path, caplog):
    exclusive = {"optic_disc": [1], "optic_cup": [2]}  # which cup and disc are not
    report = CaseReport(tmp_path, exclusive, figures=False, predictions=True)
    evaluate(datalist, report)
    assert (tmp_path / "summary.json").exists()
    assert "good" in caplog.text
    assert "[[1], [2]]" in caplog.text
    assert [path.name for path in (tmp_path / "predictions").iterdir()] == ["missed.png"]


def test_files_of_the_same_name_are_told_apart_by_their_folders(datalist, tmp_path):
    for number, item in enumerate(datalist):
        folder = tmp_path / f"patient_{number}" / "scan"
        folder.mkdir(parents=True)
        item["image"] = str(shutil.copy(item["image"], folder / "image.png"))
    report = CaseReport(tmp_path, NESTED, figures=False)
    evaluate(datalist, report)
    names = [case.row["case"] for case in report.cases]
    assert names == [f"patient_{number}_scan_image" for number in range(3)]


class Bright(torch.nn.Module):
    """Finds what is bright in a CT, and attends to it."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return (x > 100).float()

    def attention_maps(self, x):
        return [torch.nn.functional.avg_pool3d((x > 100).float(), 4)]


def test_the_report_of_volumes(tmp_path, caplog):
    """Two cases, in another orientation than the network's; each has its page and numbers."""
    items = []
    affine = np.diag([-1.0, -1.0, 2.5, 1.0])
    for number in range(2):
        label = np.zeros((32, 28, 16), dtype=np.uint8)
        label[8:20, 10:16, 4:10] = 1
        ct = np.where(np.roll(label, number, axis=0) > 0, 150, -900).astype(np.int16)
        item = {"image": tmp_path / f"ct_{number}.nii.gz", "label": tmp_path / f"l_{number}.nii.gz"}
        for key, array in (("image", ct), ("label", label)):
            nibabel.save(nibabel.Nifti1Image(array, affine), item[key])
        items.append({key: str(path) for key, path in item.items()})
    network = Bright()
    report = CaseReport(tmp_path / "out", {"pancreas": [1]}, network=network, roi_size=(16, 16, 16))
    load = Compose(
        [
            LoadImaged(["image", "label"], ensure_channel_first=True),
            Orientationd("image", "RAS", labels=None),
        ]
    )
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items, load), batch_size=1),
        network=network,
        postprocessing=Compose([Orientationd("pred", "LPS", labels=None)]),
        val_handlers=[report],
    )
    evaluator.run()
    assert ".png" not in caplog.text
    assert evaluator.state.metrics["volume_error/pancreas"] == 0
    assert evaluator.state.metrics["asd/pancreas"] > 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["units"]["nsd"] == "within 2 mm"
    assert summary["metrics"]["dice/pancreas"]["mean"] == pytest.approx((1 + 11 / 12) / 2)
    names = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert names == {"worst_median_best.png", "attention.png"}
    wide, high = Image.open(tmp_path / "out" / "figures" / "worst_median_best.png").size
    assert wide > 1.4 * high  # a row of four panels for each of two cases


class Reads(torch.nn.Module):
    """Knows the answer: the first channel holds label values, and the second is not looked at."""

    def __init__(self, regions):
        super().__init__()
        self.values, self.unused = regions.values(), torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        index = x[:, :1].round().int()
        return torch.cat([torch.isin(index, torch.tensor(each)) for each in self.values], 1).float()


def test_any_tree_and_values_with_two_channels_and_ignored_voxels(tmp_path):
    """Exclusive organs, a tumour in one of them; a mask keeps their values, numbers are exact."""
    regions = {"kidney": [7], "liver": [3, 4], "tumour": [4]}
    truth, predicted = np.zeros((2, 16, 14, 8), dtype=np.uint8)
    truth[2:6, 2:6, 2:6], truth[4:6, 2:6, 2:6], truth[10:14, 4:8, 2:6] = 3, 4, 7
    predicted[2:6, 2:6, 2:6], predicted[5:6, 2:6, 2:6], predicted[10:14, 4:8, 4:8] = 3, 4, 7
    truth[10:14, 4:8, 6:8] = 255  # where the kidney is found too low
    affine = np.diag([-1.5, 1.5, 2.0, 1.0])
    paths = [tmp_path / name for name in ("p1_0000.nii.gz", "p1_0001.nii.gz", "mask.nii.gz")]
    for path, array in zip(paths, (predicted, 100 - predicted, truth), strict=True):
        nibabel.save(nibabel.Nifti1Image(array, affine), path)
    *images, label = map(str, paths)
    read = {"ensure_channel_first": True, "spatial_dims": 3}
    load = Compose(
        [
            ReadImaged("image", channels=2, **read),
            ReadImaged("label", **read),
            LabelToRegionsd("label", regions, ignore_label=255),
        ]
    )
    settings = {"threshold": 0.5, "components": {}}
    report = CaseReport(tmp_path / "out", regions, predictions=True, settings=settings)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset([{"image": images, "label": label}], load)),
        network=Reads(regions),
        postprocessing=Compose([MarkRegionsd("pred", regions)]),
        val_handlers=[report],
    )
    evaluator.run()
    (row,) = read_csv(tmp_path / "out" / "cases.csv")
    assert (row["case"], row["image"], row["label"]) == ("p1", images[0], label)
    dice = {name: float(row[f"dice/{name}"]) for name in regions}
    assert dice == pytest.approx({"kidney": 2 * 32 / (64 + 32), "liver": 1, "tumour": 2 / 3})
    assert float(row["volume/kidney"]) == pytest.approx(64 * 4.5 / 1000)
    assert float(row["precision/kidney"]) == 1  # nothing was found where it counts and is not
    written = nibabel.load(tmp_path / "out" / "predictions" / "p1.nii.gz")
    assert np.array_equal(written.dataobj, predicted)  # whole, as prediction writes it
    assert np.allclose(written.affine, affine)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert {**settings, "label_values": regions, "window": None}.items() <= summary.items()
    assert (tmp_path / "out" / "figures" / "worst_median_best.png").exists()


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["scans/eye.png"], "eye"),
        (["scans/p.1_0000.nii.gz"], "p.1_0000"),
        (["a_0000.nii.gz", "a_0001.nii.gz"], "a"),
        (["p_1-T1.nii", "p_1-T2.nii"], "p_1"),
        (["p1/t1.nii", "p1/t2.nii"], "t1"),
        (["_T1.nii", "_T2.nii"], "_T1"),
    ],
)
def test_a_case_is_named_by_what_its_files_share(files, name):
    assert name_case(files) == name


def test_volumes_take_their_spacing_from_the_label(tmp_path):
    report = CaseReport(tmp_path / "evaluation", {"pancreas": [1]}, figures=False)
    truth = torch.zeros(1, 10, 11, 12)
    truth[0, 5, 5, 5] = 1
    affine = torch.diag(torch.tensor([-0.8, 0.8, 2.5, 1]))
    meta = {"filename_or_obj": "scans/patient_1.nii.gz"}
    label = MetaTensor(truth, affine=affine, meta=meta)
    case = report._measure({"label": label, "pred": truth.roll(2, dims=3)})
    assert case.row["case"] == "patient_1"
    assert case.row["hd95/pancreas"] == case.row["asd/pancreas"] == pytest.approx(5.0)
    assert case.row["nsd/pancreas"] == 0
    assert find_units([case.spacing]) == {
        **dict.fromkeys(["hd95", "asd"], "mm"),
        **dict.fromkeys(["volume_error", "absolute_volume_error"], "ml"),
        "nsd": "within 2 mm",
    }
    assert case.row["volume/pancreas"] == pytest.approx(0.8 * 0.8 * 2.5 / 1000)  # ml
    assert np.array_equal(case.unpack_masks()[1], truth.bool().numpy())


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (torch.zeros(2, 192, 128), r"prediction of good.*\(2, 192, 128\)"),
        (torch.full((2, WIDTH, HEIGHT), 0.4), r"prediction of good.*\[0.4, 0.4\]"),
        (torch.zeros(3, WIDTH, HEIGHT), r"\(3, 96, 64\).*\(2, 96, 64\)"),
    ],
)
def test_wrong_predictions_are_named(prediction, message, tmp_path):
    report = CaseReport(tmp_path, NESTED, figures=False)
    image = MetaTensor(torch.zeros(3, 8, 8), meta={"filename_or_obj": "folder/good.png"})
    item = {"image": image, "label": torch.zeros(2, WIDTH, HEIGHT), "pred": prediction}
    with pytest.raises(ValueError, match=message):
        report._measure(item)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"regions": {}}, InputError, "regions is {}"),
        ({"regions": {"a": [1, 2], "b": [2, 3]}}, InputError, "a and b overlap"),
        ({"regions": NESTED, "vertical_cdr": True}, ValueError, "vertical_cdr is True"),
        ({"regions": {"a": [1]}, "vertical_cdr": REGIONS}, ValueError, "vertical_cdr is"),
        ({"regions": NESTED, "vertical_cdr": ["optic_disc"]}, ValueError, "vertical_cdr is"),
    ],
)
def test_wrong_options_fail_before_the_evaluation(options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        CaseReport(tmp_path, **options)
