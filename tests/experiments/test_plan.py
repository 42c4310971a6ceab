"""A plan decides what will run, and its faults are found before anything does."""

import itertools
import json
import shlex
from pathlib import Path

import pytest
from fire.parser import DefaultParseValue
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.experiments.cells import SETTINGS, check_unchanged, make_cells, make_ensembles
from pipeline.experiments.jobs import Resources
from pipeline.experiments.plan import Plan, read_plan
from pipeline.experiments.progress import read_failure
from pipeline.experiments.run import make_works
from pipeline.experiments.work import evaluation_step, format_argument, training_step
from pipeline.files import write_json

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "fundus_disc_cup_segmentation"
PLAN = {"name": "tiny", "bundle": str(BUNDLE), "networks": {"attention_unet": {}}}


@pytest.fixture
def read(tmp_path):
    """The plan that some content makes."""

    def write_and_read(**content):
        path = tmp_path / "plan.json"
        path.write_text(json.dumps(PLAN | content))
        return read_plan(path)

    return write_and_read


def test_a_cell_for_each_network_variant_fold_and_seed(read):
    unet = {"title": "U-Net", "overlays": ["networks/unet.json"]}
    networks = {"attention_unet": {}, "unet": unet}
    variants = {"slow": {"lr": 0.001}, "fast": {"lr": 0.01}}
    overrides = {"lr": 0.5, "epochs": 7}
    plan = read(
        networks=networks, variants=variants, folds=[0, 2], seeds=[1, 3], overrides=overrides
    )
    found = make_cells(plan)
    assert len({cell.name for cell in found}) == len(found) == 16
    assert {(c.network, c.ids["fold"], c.ids["seed"]) for c in found} == set(
        itertools.product(
            ("attention_unet-slow", "attention_unet-fast", "unet-slow", "unet-fast"),
            (0, 2),
            (1, 3),
        )
    )
    assert found[0].tags == {"pipeline.network": "attention_unet-slow"}
    assert found[-1].tags == {"pipeline.network": "unet-fast", "pipeline.title": "U-Net, fast"}
    with pytest.raises(InputError, match="'unet'"):
        read(networks={"unet": {}, "other": {"title": "unet"}})
    for cell in found:
        assert cell.ids["lr"] == variants[cell.network.rsplit("-")[-1]]["lr"]
        assert cell.config.get("epochs") == 7
        assert cell.config.get("gates") == (0 if cell.network.startswith("unet") else 1)


def test_networks_that_are_trained_several_times_have_an_ensemble(read, tmp_path):
    plan = {"networks": {"a": {}, "b": {}}, "folds": [0, 1], "seeds": [3, 4]}
    assert make_ensembles(make_cells(read(**plan))) == []  # each has seen what another has not
    testing = {"evaluate": {"section": "testing", "checkpoint": "best"}}
    assert make_ensembles(make_cells(read(networks={"a": {}, "b": {}}, **testing))) == []
    cells = make_cells(read(**plan, **testing))
    works = make_works(cells, tmp_path, Resources(gpus=0), tags={})
    assert [cell.name for cell, _ in works[8:]] == ["a-ensemble4", "b-ensemble4"]
    _, work = works[9]
    members = [f"b-fold{fold}-seed{seed}" for fold, seed in itertools.product((0, 1), (3, 4))]
    assert work.needs == tuple(tmp_path / name / "training/model_final.pt" for name in members)
    assert not work.ready
    assert all(each.ready for _, each in works[:8])
    (step,) = work.steps
    ids = dict(
        word[2:].split("=", 1) for word in step.command if word.startswith("--") and "=" in word
    )
    files = [str(tmp_path / name / "training/model.pt") for name in members]
    assert DefaultParseValue(ids["ckpt_path"]) == files
    assert ids["output_dir"] == str(tmp_path / "b-ensemble4/evaluation")
    assert not ids.keys() & {"fold", "seed"}


def test_a_cell_on_all_cases_is_evaluated_on_others(read):
    first, last = make_cells(read(folds=[0, "all"], evaluate={"section": "testing"}))
    assert (first.ids["fold"], last.ids["fold"]) == (0, "all")
    assert last.name == "attention_unet-foldall-seed0"
    assert "--fold=all" in training_step(last, Path("x"), tags={}).command


def test_overlays_are_found_in_the_bundle_or_from_the_working_folder(read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("best.json").write_text('{"lr": 0.25}')
    (cell,) = make_cells(read(configs=["article.json", "best.json"]))
    assert [path.name for path in cell.configs] == ["train.json", "article.json", "best.json"]
    assert (cell.config.get("lr"), cell.config.get("weight_decay")) == (0.25, 0.05)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"fold": [1]}, r"fold: .*\bfolds\?"),
        ({"networks": {"unet": {"overlay": []}}}, r"networks\.unet\.overlay: .*overlays\?"),
        ({"evaluate": {"sectoin": "testing"}}, r"evaluate\.sectoin: .*section\?"),
        ({"evaluate": {"section": "test"}}, r'evaluate\.section: .*"test"'),
        ({"networks": {}}, "networks: .*{}"),
        ({"networks": {"a/b": {}}}, "networks.*'a/b'"),
        ({"networks": {"a": {}, "a-b": {}}, "variants": {"b-c": {}, "c": {}}}, "the name a-b-c"),
        ({"folds": [1, 1]}, r"folds \[1, 1\]"),
        *[({"folds": [0, fold]}, rf"folds\.1: .*all.*{fold}") for fold in ("every", -1, 1.5)],
        ({"folds": [0, "all"]}, r"folds \[0, 'all'\]: .*evaluate\.section .*testing"),
        ({"bundle": "nowhere"}, "bundle nowhere: .*configs/train.json"),
        ({"configs": ["nothing.json"]}, "config nothing.json: .*configs"),
        ({"overrides": {"epohcs": 3}}, "epohcs 3: .* epochs"),
        ({"overrides": {"fold": 3}}, "fold 3 .*folds"),
        (
            {
                "networks": {"unet++": {"overlays": ["networks/unet_plus_plus.json"]}},
                "overrides": {"gates": 2},
            },
            r"network unet\+\+: gates 2: ",
        ),
        (
            {"search": {"space": {"lr": {"type": "float", "low": 0.0, "high": 1.0, "log": True}}}},
            "search.space.lr: low 0.0 .*log",
        ),
        (
            {"search": {"space": {"lr": {"type": "flaot", "low": 0.0, "high": 1.0}}}},
            "search.space.lr: .*float",
        ),
    ],
)
def test_a_fault_is_named_with_what_was_meant(read, content, message):
    with pytest.raises(InputError, match=message) as caught:
        make_cells(read(**content))
    assert "\n" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab_"), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@given(json_values)
def test_a_value_survives_the_command_line(value):
    """A bundle's command line guesses the type of what it gets: a text "1" must stay a text."""
    expected = "$None" if value is None else value
    parsed = DefaultParseValue(format_argument(value))
    assert (parsed, type(parsed)) == (expected, type(expected))


@given(json_values)
def test_a_shown_command_is_what_runs(value):
    (cell,) = make_cells(Plan.model_validate({**PLAN, "overrides": {"lr": value}}))
    for step in (
        training_step(cell, Path("x y"), tags={"a": "b's"}),
        evaluation_step(cell, Path("x y"), tags={}),
    ):
        assert tuple(shlex.split(str(step))) == step.command


def test_settings_notice_a_file_that_has_changed(read, tmp_path):
    overlay = tmp_path / "mine.json"
    overlay.write_text('{"lr": 0.1}')
    (cell,) = make_cells(read(configs=[str(overlay)], overrides={"device": "cpu"}))
    before = cell.settings()
    # Where a cell runs and how it is recorded may change.
    elsewhere = {"device": "cuda:1", "register": "eyes", "tracking_uri": "x"}
    (moved,) = make_cells(read(configs=[str(overlay)], overrides=elsewhere))
    check_unchanged(tmp_path, before)  # nothing was begun yet
    write_json(tmp_path / SETTINGS, before)
    check_unchanged(tmp_path, before)
    check_unchanged(tmp_path, moved.settings())
    overlay.write_text('{"lr": 0.2}')
    with pytest.raises(InputError, match=rf"{tmp_path}: .*mine\.json"):
        check_unchanged(tmp_path, cell.settings())


def test_settings_notice_overlays_in_another_order(read, tmp_path):
    """The last one wins."""
    names = [tmp_path / "a.json", tmp_path / "b.json"]
    for number, path in enumerate(names):
        path.write_text(f'{{"lr": {number}}}')
    (first,), (other,) = (
        make_cells(read(configs=[*map(str, each)])) for each in (names, names[::-1])
    )
    write_json(tmp_path / SETTINGS, first.settings())
    check_unchanged(tmp_path, first.settings())
    with pytest.raises(InputError, match=r"overlays .*a\.json', 'b\.json"):
        check_unchanged(tmp_path, other.settings())


def test_two_of_one_name_are_not_one(tmp_path):
    (tmp_path / "plan.json").write_text('{"networks": {"unet": {}, "unet": {}}}')
    with pytest.raises(InputError, match=r"plan.json: .*'unet'"):
        read_plan(tmp_path / "plan.json")


def test_the_reason_of_a_failure_is_the_first_error(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "$ python first\nValueError: of an earlier try\n$ python second\nstarting\n"
        "Traceback (most recent call last):\n  File x\ntorch.OutOfMemoryError: too much\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        'RuntimeError: Failed to evaluate\n"$@train#trainer.run()"\n'
    )
    assert read_failure(log) == "torch.OutOfMemoryError: too much"
    log.write_text("$ python second\nTraceback\nValueError: x\nerror: fold 7: there is none\n")
    assert read_failure(log) == "error: fold 7: there is none"


@pytest.mark.parametrize("path", sorted(ROOT.glob("bundles/*/plans/*.json")), ids=lambda p: p.name)
def test_the_plans_of_the_bundles_can_run(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert make_cells(read_plan(path))
