"""The numbers on a model card."""

from pathlib import Path

from pipeline.evaluation.metrics import find_units
from pipeline.evaluation.summary import summarise
from pipeline.packaging.card import describe_weights, performance
from pipeline.packaging.source import Trained


def test_every_number_has_its_unit():
    kinds = {"dice": "", "hd95": "mm", "nsd": "within 2 mm", "volume_error": "ml"}
    rows = [{f"{kind}/pancreas": value for kind in kinds} for value in (0.5, 1.0)]
    units = find_units([(1.0, 1.0, 2.5)])
    eyes = {"units": {"hd95": "px"}, **summarise([{"hd95/cup": 8.0}])}
    card = performance(
        Trained(
            Path("model.pt"),
            evaluations={"testing": {"units": units, **summarise(rows)}, "validation": eyes},
        )
    )
    fields = [[field.strip() for field in line.split("|")] for line in card.splitlines()]
    shown = {line[1]: line[2:6] for line in fields if len(line) == 7}
    # Student's t of two cases is 12.706 times the standard error of 0.25.
    for kind, unit in kinds.items():
        assert shown[f"{kind}/pancreas"] == ["0.75", "-2.427 to 3.927", unit, "2"]
    assert shown["hd95/cup"] == ["8", "", "px", "1"]


def test_what_was_not_recorded_is_not_made_up():
    older = performance(
        Trained(Path("model.pt"), evaluations={"testing": summarise([{"hd95/a": 1}])})
    )
    assert "| hd95/a | 1 |  | not recorded | 1 |" in older
    text = describe_weights(Trained(Path("model.pt")))
    assert text.count("not recorded") == 6
    started = describe_weights(Trained(Path("model.pt"), {"pretrained": "runs/a", "fold": "all"}))
    assert "| pretrained | yes |" in started
    assert "| fold held out | none |" in started
    data = {"name": "A | B\n## C", "subjects": "patients", "licence": "CC0", "training": 3}
    known = Trained(Path("model.pt"), {"trained_on": [data, {"name": "D"}], "fold": 1})
    text = describe_weights(known)
    assert "| trained on | A \\| B ## C; patients; 3 cases for training; licence: CC0 |" in text
    assert "| before that trained on | D; phantoms or patients: not recorded; " in text
    assert "pretrained" not in text
