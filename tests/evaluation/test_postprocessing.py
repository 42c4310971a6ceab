"""Threshold and parts chosen on validation cases, and used by the evaluations that follow."""

import json
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import run
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, LoadImaged
from tables import read_csv

from pipeline.bundle.quality import read_calibration
from pipeline.bundle.trained import CHOSEN, chosen_postprocessing
from pipeline.errors import InputError
from pipeline.evaluation.postprocessing import ChosenPostprocessing, is_better
from pipeline.evaluation.quality import QualityEstimates
from pipeline.evaluation.report import CaseReport
from pipeline.transforms.largest import KeepPartsd
from pipeline.transforms.mark import LabelToRegionsd, MarkRegionsd
from pipeline.transforms.quality import QualityFeaturesd

REGIONS = {"kidney": [7], "liver": [3]}


class Reads(torch.nn.Module):
    """Knows the probabilities: of the kidney they are the image, of the liver minus the image."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return torch.cat([x, -x], dim=1)


@pytest.fixture
def cases(tmp_path):
    """Seven volumes: both organs have a rim of 0.55; the kidney has a stray part, the liver two."""
    items = []
    for number in range(7):
        label, image = np.zeros((2, 24, 20, 6), dtype=np.float32)
        where = np.s_[2:8, 2 : 8 + number, 1:4]
        rim = np.s_[1:9, 1 : 9 + number, 1:4]
        image[rim], image[where], label[where] = 0.55, 0.9, 7
        image[20:22, 15:18, 1:3] = 0.95
        image[12:17, 1:6, 1:4], image[12:17, 12:18, 1:4] = -0.55, -0.55
        for part in (np.s_[13:16, 2:5, 1:4], np.s_[13:16, 13:17, 1:4]):
            image[part], label[part] = -0.8, 3
        item = {
            "image": tmp_path / f"image_{number}.nii.gz",
            "label": tmp_path / f"{number}.nii.gz",
        }
        for key, array in (("image", image), ("label", label)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), item[key])
        items.append({key: str(path) for key, path in item.items()})
    return items


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "run" / "model.pt"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    return path


def evaluate(cases, weights, *, section, choose=False, threshold=0.5):
    """Evaluate as a bundle does; the metrics and the settings in use."""
    load = Compose(
        [
            LoadImaged(["image", "label"], ensure_channel_first=True),
            LabelToRegionsd("label", REGIONS),
        ]
    )
    measure = QualityFeaturesd("pred", REGIONS, ["density"])
    mark, keep = MarkRegionsd("pred", REGIONS, threshold), KeepPartsd("pred", REGIONS, {})
    steps = Compose([measure, mark, keep])
    output = weights.parent / f"evaluation-{section}-{choose}"
    chosen = ChosenPostprocessing(
        steps, ckpt_path=str(weights), section=section, output_dir=str(output), choose=choose
    )
    # As prediction measures what the estimates of quality follow from.
    assert measure.components == chosen.settings["components"]
    given = {"weights": str(weights), "section": section, "output_dir": str(output)}
    quality = QualityEstimates(SimpleNamespace(members=[weights]), **given)
    settings = {"settings": chosen.settings, "quality": quality}
    report = CaseReport(output, REGIONS, figures=False, **settings)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(cases, load), batch_size=2),
        network=Reads(),
        postprocessing=chosen,
        val_handlers=[chosen, report],
    )
    evaluator.run()
    assert {**chosen.settings}.items() <= json.loads((output / "summary.json").read_text()).items()
    return evaluator.state.metrics, chosen.settings


def mean_dice(metrics):
    return np.mean([metrics[f"dice/{name}"] for name in REGIONS])


def test_what_is_clearly_better_is_chosen_and_then_used(cases, weights):
    before, settings = evaluate(cases, weights, section="validation", choose=True)
    assert settings == {"threshold": 0.5, "components": {}}  # of the report itself
    expected = {"threshold": 0.6, "components": {"kidney": 1}}
    assert chosen_postprocessing(weights) == expected
    record = json.loads(weights.with_name(CHOSEN).read_text())
    assert record["chosen_on"] == {"section": "validation", "cases": 7}
    assert record["dice_before"] == pytest.approx(mean_dice(before)) == before["choose/dice_before"]
    trials = json.loads((weights.parent / "evaluation-validation-True" / CHOSEN).read_text())
    assert [each["threshold"] for each in trials["tried"]] == [0.5, 0.3, 0.4, 0.6, 0.7, 0.6, 0.6]

    after, settings = evaluate(cases, weights, section="testing")
    assert settings == expected
    assert record["dice_after"] == pytest.approx(mean_dice(after)) == 1
    with pytest.raises(InputError, match=CHOSEN):
        evaluate(cases, weights, section="validation", choose=True)
    weights.write_bytes(b"trained further")
    assert chosen_postprocessing(weights) == {}


def test_a_region_without_a_label_is_estimated_and_masks_of_other_settings_are_told(cases, weights):
    evaluate(cases, weights, section="validation")
    calibration = read_calibration([weights], list(REGIONS))
    assert calibration.describe({"threshold": 0.5, "components": {}, "amp": True}) == {"cases": 7}
    note = calibration.describe({"threshold": 0.9, "components": {"kidney": 1}})["note"]
    assert "threshold 0.5 and components {}" in note
    assert read_calibration([weights], ["kidney"]) is None
    assert read_calibration([weights, weights.with_name("other.pt")]) is None
    for case in cases:
        label = np.asarray(nibabel.load(case["label"]).dataobj)
        label = label * np.isin(label, REGIONS["kidney"])
        nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), case["label"])
    evaluate(cases, weights, section="testing")
    rows = read_csv(weights.parent / "evaluation-testing-False/cases.csv")
    assert [row["check"] for row in rows if "nan" in row["check"]] == []
    assert all(row["expected_dice/kidney"] for row in rows)
    other = next(name for name in REGIONS if name != "kidney")
    assert not any(row[f"expected_dice/{other}"] for row in rows)


@pytest.mark.parametrize("held", [["kidney"], []])
def test_a_region_that_no_label_holds_has_no_part_in_the_choice(cases, weights, held):
    for case in cases:
        label = np.asarray(nibabel.load(case["label"]).dataobj)
        label = label * np.isin(label, [value for name in held for value in REGIONS[name]])
        nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), case["label"])
    metrics, _ = evaluate(cases, weights, section="validation", choose=True)
    assert [name for name in REGIONS if f"dice/{name}" in metrics] == held
    if held:
        assert metrics["choose/dice_before"] == pytest.approx(metrics["dice/kidney"])
    else:
        assert not [name for name in metrics if "dice" in name or name == "pooled_iou"]


@pytest.mark.filterwarnings("ignore:parsing config_file")
def test_an_overlay_counts_more_than_what_was_chosen(weights, monkeypatch):
    choice = {"threshold": 0.6, "components": {"kidney": 1}}
    weights.with_name(CHOSEN).write_text(json.dumps(choice))
    mark = {"_target_": "pipeline.transforms.MarkRegionsd", "threshold": "@threshold"}
    keep = {"_target_": "pipeline.transforms.KeepPartsd", "components": "@components"}
    made = {"_target_": "pipeline.evaluation.ChosenPostprocessing", "ckpt_path": str(weights)}
    steps = [step | {"keys": "pred", "regions": REGIONS} for step in (mark, keep)]
    own = {
        "threshold": 0.5,
        "components": {},
        "made": made | {"section": "testing", "output_dir": "", "steps": "@steps"},
        "steps": {"_target_": "Compose", "transforms": steps},
        "initialize": ["$found.append(@made.settings)"],
        "run": [],
    }
    files = [weights.with_name(name) for name in ("evaluate.json", "overlay.json")]
    for path, content in zip(files, (own, {"threshold": 0.4}), strict=True):
        path.write_text(json.dumps(content))
    monkeypatch.setattr("builtins.found", found := [], raising=False)  # which expressions see
    for given in (files[:1], files):
        run(config_file=[*map(str, given)], logging_file=False, meta_file=[])
    assert found == [choice, choice | {"threshold": 0.4}]


def test_what_is_no_better_is_not_chosen(cases, weights):
    evaluate(cases[:1], weights, section="validation", choose=True)  # one case proves nothing
    assert not weights.with_name(CHOSEN).exists()
    with pytest.raises(InputError, match="section validation"):
        evaluate(cases, weights, section="testing", choose=True)


@pytest.mark.parametrize(
    ("gain", "better"),
    [
        ([0.1, 0.1, 0.0], True),
        ([0.3, -0.01, -0.01], False),  # in more cases worse
        ([0.3, 0.0, 0.0, 0.0], False),  # a single case
        ([0.01, 0.01, 0.01, -0.2], False),
        ([0.0, 0.0], False),
    ],
)
def test_better_is_more_than_noise(gain, better):
    assert is_better(0.5 + np.array(gain), np.full(len(gain), 0.5)) is better
