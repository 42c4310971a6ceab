"""Comparisons through the command line, of evaluations in a real MLflow store."""

import base64
import io
import itertools
import re
from html.parser import HTMLParser
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from commands import command, refusal
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList
from PIL import Image
from tables import read_csv

from pipeline.comparison.find import find_evaluations
from pipeline.errors import InputError


def run(store, *arguments):
    """Exit status of ``compare`` on a store."""
    return command("compare", "--tracking-uri", store.client.tracking_uri, *arguments)


@pytest.fixture
def quick(monkeypatch):
    """Figures are not rendered, which takes longer than all else."""

    def save(figure, path, **options):
        path.parent.mkdir(exist_ok=True)
        path.touch()

    monkeypatch.setattr("pipeline.comparison.report.save_figure", save)


@pytest.fixture(scope="module")
def plan(new_store, tmp_path_factory):
    """Three networks, two folds, two seeds, one parent; the gated one is better."""
    store = new_store(20)
    rng = np.random.default_rng(0)
    store.parent = store.run("experiment", "plan")
    store.evaluations = {}
    for network, shift in (("unet", 3.0), ("attention_unet", 1.5), ("unet++|x", 3.0)):
        for fold in (0, 1):
            for seed in (0, 1):
                options = {"fold": fold, "seed": seed, "parent": store.parent}
                training = store.training(network, epochs=5 + fold, **options)
                run_id = store.evaluation(
                    network,
                    shift=lambda _, shift=shift: shift + rng.normal(),
                    cases=sorted(store.cases)[fold::2],
                    section="validation",
                    training=training,
                    **options,
                )
                store.evaluations[network, fold, seed] = run_id
    store.evaluation("unet", shift=lambda _: 0, section="validation", status="FAILED")
    return store


@pytest.fixture(scope="module")
def report(plan, tmp_path_factory):
    output = tmp_path_factory.mktemp("report") / "comparison"
    assert run(plan, "--experiment", plan.experiment, "--output", output) == 0
    return output


class Page(HTMLParser):
    """The page's tables as lists of fields, its images, and every attribute."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.images, self.alts, self.tags, self.attributes = {}, [], [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes
        known = dict(attributes)
        if tag == "table":
            self.rows = self.tables[known["id"]] = []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append([])
        elif tag == "img":
            self.images.append(known["src"])
            self.alts.append(known["alt"])

    def handle_data(self, data):
        if data.strip() and getattr(self, "rows", None) and self.rows[-1]:
            self.rows[-1][-1].append(data.strip())


def test_the_numbers_are_those_of_the_cases(plan, report):
    """Means, differences and pairs from the evaluations' own tables, averaged over seeds here."""
    dice = {}
    for (network, _, _), run_id in plan.evaluations.items():
        for row in read_csv(plan.folder / "artifacts" / run_id / "artifacts" / "cases.csv"):
            dice.setdefault(network, {}).setdefault(row["case"], []).append(
                float(row["dice/optic_cup"])
            )
    means = {n: {case: np.mean(v) for case, v in own.items()} for n, own in dice.items()}
    assert {len(v) for own in dice.values() for v in own.values()} == {2}

    metrics = {(r["metric"], r["network"]): r for r in read_csv(report / "tables/metrics.csv")}
    for network, own in means.items():
        record = metrics["dice/optic_cup", network]
        assert int(record["n"]) == len(own) == 20
        assert float(record["value"]) == pytest.approx(np.mean(list(own.values())))
        assert float(record["low"]) < float(record["value"]) < float(record["high"])
    differences = read_csv(report / "tables/differences.csv")
    gain = next(r for r in differences if r["metric"] == "dice/optic_cup")
    pairs = [means["attention_unet"][case] - means["unet"][case] for case in means["unet"]]
    assert (gain["network"], gain["baseline"]) == ("attention_unet", "unet")
    assert float(gain["value"]) == pytest.approx(np.mean(pairs))
    assert float(gain["p"]) < float(gain["p_holm"]) < 0.05
    cases = read_csv(report / "tables/cases.csv")
    assert len(cases) == 60
    small = read_csv(report / "tables/small_structures.csv")
    assert {int(r["smallest"]) for r in small} == {6}
    cost = {r["network"]: r for r in read_csv(report / "tables/footprint.csv")}
    assert cost["unet"] == {
        "network": "unet",
        "parameters": "2.095061",
        "gflops": "11.5",
        "train_minutes": "13.0",  # 12.5 and 13.5 of the two seeds
        "ms_per_image": "25.0",
        "peak_memory_mb": "2048.0",
    }


def test_html_markdown_and_csv_say_the_same(report):
    html = Page((report / "report.html").read_text()).tables
    lines = (report / "report.md").read_text().replace(r"\|", "&vert;").splitlines()
    markdown = [[field.strip() for field in line.strip("| ").split(" | ")] for line in lines]
    compared = 0
    for name in ("metrics", "differences"):
        records = read_csv(report / f"tables/{name}.csv")
        networks = list(dict.fromkeys(r["network"] for r in records))
        head, *body = html[name]
        assert ["".join(field) for field in head[1:]] == networks
        for place, row in enumerate(body):
            own = records[place * len(networks) : (place + 1) * len(networks)]
            label = row[0][0]
            line = next(fields for fields in markdown if fields[0] == label)
            assert len({r["metric"] for r in own}) == 1
            if name == "metrics":
                markdown.remove(line)  # the differences have the same labels
            latex = (report / f"tables/{name}.tex").read_text().replace("$", "")
            decimals = set()
            for record, field, text in zip(own, row[1:], line[1:], strict=True):
                value, (low, high) = field[0], field[1].split(" to ")
                assert text.replace("*", "").startswith(f"{value} ({low} to {high}")
                assert rf"\footnotesize {low} to {high}".replace("\u2212", "-") in latex
                for key, number in (("value", value), ("low", low), ("high", high)):
                    decimals.add(len(number.partition(".")[2]))
                    shown, off = float(number.replace("\u2212", "-")), 0.501 / 10 ** max(decimals)
                    assert shown == pytest.approx(float(record[key]), abs=off)
                    assert "-" not in number
                compared += 1
            assert len(decimals) == 1
    assert compared == 14 * 3 + 14 * 2
    assert "unet++|x" in str(html["footprint"])
    assert any(fields[0] == "unet++&vert;x" for fields in markdown)


def test_the_page_is_one_file_for_any_screen(report):
    text = (report / "report.html").read_text()
    page = Page(text)
    assert not page.tags & {"script", "link", "iframe", "object"}
    links = [v for k, v in page.attributes if k in ("src", "href")]
    outside = [link for link in links if not link.startswith(("data:", "#"))]
    assert outside == []
    assert "url(" not in text
    assert "@import" not in text
    assert ("name", "viewport") in page.attributes
    inside = [base64.b64decode(source.split(",")[1]) for source in page.images]
    pictures = set((report / "figures").glob("*.png"))
    assert set(inside) == {path.read_bytes() for path in pictures}
    drawn = {"images", "cases", "differences", "agreement", "small_structures", "learning_curves"}
    assert {path.stem for path in pictures} == drawn | {"attention_attention_unet"}
    assert {path.stem for path in (report / "figures").glob("*.svg")} == drawn
    assert len(set(page.alts)) == len(inside)
    assert all(re.search(r"unet.*\d\.\d{3}", alt) for alt in page.alts[:-1])
    assert all(scheme in text for scheme in ("prefers-color-scheme: dark", "@media print"))
    for data in inside:
        assert np.asarray(Image.open(io.BytesIO(data)).convert("L")).std() > 5
    for where in re.findall(r"!\[.*\]\((.*)\)", (report / "report.md").read_text()):
        assert (report / where).is_file()


def test_the_report_says_how_it_was_made(report):
    text = " ".join((report / "report.md").read_text().split())
    for said in (
        "20 cases", "validation", "12 evaluations", "| Dataset | Drawn eyes |",
        "| Learning rate, peak | 0.002 |", "| Gates | unet: 0; attention_unet: 1; unet++",
        "evaluation of unet-0-0", "FAILED", "22 tests", "2 evaluations", "6 cases",
    ):  # fmt: skip
        assert said in text


def test_the_parent_keeps_the_report(plan, report):
    kept = {each.path for each in plan.client.list_artifacts(plan.parent, "comparison")}
    assert {"comparison/report.html", "comparison/tables", "comparison/figures"} <= kept


@pytest.mark.usefixtures("quick")
def test_a_report_is_replaced_only_when_asked(plan, tmp_path, capsys):
    query = ["--experiment", plan.experiment, "--output", tmp_path / "out"]
    assert run(plan, *query) == 0
    report = tmp_path / "out/report.html"
    report.write_text("old")
    (tmp_path / "out/notes.txt").write_text("mine")
    assert run(plan, *query) == 1
    assert "is not empty" in capsys.readouterr().err
    assert report.read_text() == "old"
    assert run(plan, *query, "--overwrite") == 0
    assert "<html" in report.read_text()
    assert (tmp_path / "out/notes.txt").read_text() == "mine"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("given", ["parent", "trainings", "filter"])
def test_ways_to_ask_for_the_same(given, plan, tmp_path):
    cells = [("unet", 0, 0), ("attention_unet", 0, 0)]
    trainings = [
        plan.client.get_run(plan.evaluations[cell]).data.tags["pipeline.training_run_id"]
        for cell in cells
    ]
    query = {
        "parent": ["--parent", plan.parent],
        "trainings": [word for run_id in trainings for word in ("--run", run_id)],
        "filter": ["--filter", "tags.pipeline.network != 'unet' and params.seed = '1'",
                   "--experiment", plan.experiment],
    }[given]  # fmt: skip
    assert run(plan, *query, "--output", tmp_path) == 0
    found = {r["evaluation"] for r in read_csv(tmp_path / "tables/runs.csv")}
    wanted = {
        "parent": set(plan.evaluations.values()),
        "trainings": {plan.evaluations[cell] for cell in cells},
        "filter": {v for (n, _, s), v in plan.evaluations.items() if n != "unet" and s == 1},
    }[given]
    assert found == wanted


@pytest.mark.usefixtures("quick")
def test_any_tag_or_parameter_can_be_compared(plan, tmp_path):
    query = ["--experiment", plan.experiment, "--filter", "tags.pipeline.network = 'unet'"]
    seeds = [*query, "--by", "seed", "--baseline", "1", "--output", tmp_path / "seeds"]
    assert run(plan, *seeds) == 0
    runs = read_csv(tmp_path / "seeds/tables/runs.csv")
    assert [(r["network"], r["fold"]) for r in runs] == [(s, f) for s in "01" for f in "01"]
    query = ["--experiment", plan.experiment, "--by", "mlflow.runName", "--filter"]
    query += ["tags.pipeline.network LIKE 'unet%' and params.seed = '0' and params.fold = '0'"]
    assert run(plan, *query, "--output", tmp_path / "names") == 0
    names = {r["network"] for r in read_csv(tmp_path / "names/tables/metrics.csv")}
    assert names == {"unet-0-0", "unet++|x-0-0"}


def pair(new_store, count=5, **second):
    """A store with one evaluation of each of two networks; ``second`` are options of the other."""
    store = new_store(count)
    store.evaluation("a", shift=lambda _: 2, predictions=False)
    options = {"shift": lambda _: 1, "predictions": False} | second
    store.evaluation("b", **options)
    return store


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"cases": ["eye_00", "eye_03"]}, ["b lacks eye_01, eye_02, eye_04", "--common"]),
        ({"digest": "d2"}, ["datalist", "d1 in evaluation of a-0-0", "--common"]),
        ({"section": "validation"}, ["section", "testing in evaluation of a-0-0", "--filter"]),
        ({"seed": 1}, ["a lacks fold 0 seed 1; b lacks fold 0 seed 0", "--common"]),
        ({"fold": 2}, ["a lacks fold 2 seed 0; b lacks fold 0 seed 0", "--common"]),
        ({"unit": "mm"}, ["hd95", "mm in evaluation of b-0-0", "px in evaluation of a-0-0"]),
        ({"grown": 3}, ["area/optic_disc of eye_00"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_compared_is_refused(second, said, new_store, tmp_path, capsys):
    store = pair(new_store, **second)
    uri = store.client.tracking_uri
    options = ("--experiment", store.experiment, "--output", tmp_path / "out")
    error = refusal(capsys, "compare", "--tracking-uri", uri, *options)
    assert all(text in error for text in said)
    assert list(tmp_path.iterdir()) == []


def test_a_fold_that_the_network_was_trained_on_is_refused(new_store, tmp_path, capsys):
    store = new_store(5)
    training = store.training("a", fold=1)
    store.evaluation("a", shift=lambda _: 1, section="validation", training=training, fold=0)
    assert run(store, "--experiment", store.experiment, "--output", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "measured fold 0" in error
    assert "fold 1" in error


@pytest.mark.usefixtures("quick")
def test_two_evaluations_of_one_cell(new_store, tmp_path, capsys):
    store = pair(new_store, checkpoint="c1")
    query = ["--experiment", store.experiment, "--output", tmp_path / "out"]
    newest = store.evaluation("b", shift=lambda _: 3, checkpoint="c1", predictions=False)
    assert run(store, *query) == 0  # the same checkpoint again: the newest counts
    runs = {r["evaluation"] for r in read_csv(tmp_path / "out/tables/runs.csv")}
    assert newest in runs
    assert len(runs) == 2
    store.evaluation("b", shift=lambda _: 3, checkpoint="c2", predictions=False)
    assert run(store, *query, "--overwrite") == 1
    error = capsys.readouterr().err
    assert "fold 0, seed 0" in error
    assert "--run" in error


@pytest.mark.usefixtures("quick")
def test_an_ensemble_stands_beside_its_members(new_store, tmp_path):
    store = new_store(4)
    for network, shift, title in (("a", 3, "Net A"), ("b", 4, "")):
        for fold in (0, 1):
            store.evaluation(network, shift=lambda _, s=shift + fold: s, fold=fold, title=title)
    store.evaluation("a", shift=lambda _: 1, members=2, title="Net A")
    query = ["--experiment", store.experiment, "--baseline", "a", "--output", tmp_path / "out"]
    assert run(store, *query) == 0
    means = {
        row["network"]: float(row["value"])
        for row in read_csv(tmp_path / "out/tables/metrics.csv")
        if row["metric"] == "dice/optic_disc"
    }
    assert list(means) == ["Net A", "Net A (ensemble of 2)", "b"]
    assert means["Net A (ensemble of 2)"] > means["Net A"] > means["b"]
    folds = read_csv(tmp_path / "out/tables/folds.csv")
    assert {(row["fold"], row["network"]) for row in folds} == set(
        itertools.product("01", ("Net A", "b"))
    )


@pytest.mark.usefixtures("quick")
def test_over_what_all_share(new_store, tmp_path):
    store = pair(
        new_store, count=6, cases=["eye_01", "eye_02", "eye_04"], digest="d2", threshold=0.4
    )
    store.evaluation("b", shift=lambda _: 1, seed=1, predictions=False)
    query = ["--experiment", store.experiment, "--output", tmp_path, "--common"]
    assert run(store, *query) == 0
    cases = read_csv(tmp_path / "tables/cases.csv")
    assert [r["case"] for r in cases] == ["eye_01", "eye_02", "eye_04"] * 2
    text = (tmp_path / "report.md").read_text()
    for said in (
        "2 different datalists",
        "differ in threshold: 0.5 in a, b; 0.4 in b",
        "fold 0 seed 0 (a lacks fold 0 seed 1)",
        "eye_00, eye_03, eye_05",
    ):
        assert said in text
    assert not (tmp_path / "tables/small_structures.csv").exists()


def test_images_that_are_gone_are_outlines_on_black(new_store, tmp_path):
    store = new_store(3)
    for network, shift in (("a", 2), ("b", 1)):
        store.evaluation(network, shift=lambda shape, shift=shift: shift + shape[1] / 50)
    (store.folder / "eye_00.png").unlink()
    (store.folder / "eye_01.png").unlink()
    (store.folder / "eye_01_label.png").write_text("torn")
    query = ["--experiment", store.experiment, "--output", tmp_path]
    assert run(store, *query) == 0
    text = re.sub(r"!\[.*", "", (tmp_path / "report.md").read_text())
    for name in ("eye_00.png", "eye_01.png", "eye_01_label.png"):
        assert str(store.folder / name) in text
    assert "eye_02" not in text
    picture = np.asarray(Image.open(tmp_path / "figures/images.png").convert("RGB"))
    assert (picture.max(axis=-1) < 5).mean() > 0.2


@pytest.mark.usefixtures("quick")
def test_names_that_look_like_numbers_or_nothing_stay_names(new_store, tmp_path):
    store = new_store(3)
    for old, new in zip(sorted(store.cases), ("NA", "007", "1e3"), strict=True):
        store.cases[new] = store.cases.pop(old)
    for network in ("a", "b"):
        store.evaluation(network, shift=lambda _: 1)
    query = ["--experiment", store.experiment, "--output", tmp_path]
    assert run(store, *query) == 0
    assert {r["case"] for r in read_csv(tmp_path / "tables/cases.csv")} == {"NA", "007", "1e3"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--experiment"),
        (["--experiment", "eye 0"], "--experiment eye 0: "),
        (["--run", "abc"], "run abc: "),
        (["--parent", "abc"], "run abc: "),
        (["--filter", "network is unet"], "--filter network is unet: "),
        (["--filter", "params.fold = '77'"], "--filter params.fold = '77': "),
        (["--experiment", "EXPERIMENT", "--baseline", "vnet"], "--baseline vnet: "),
        (["--experiment", "EXPERIMENT", "--by", "depth"], "--by depth: "),
    ],
)
def test_what_is_not_there_is_one_line(arguments, message, plan, tmp_path, capsys):
    given = [plan.experiment if word == "EXPERIMENT" else word for word in arguments]
    options = ("--tracking-uri", plan.client.tracking_uri, "--output", tmp_path / "out")
    assert message in refusal(capsys, "compare", *given, *options)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_not_there_is_not_made(tmp_path, capsys):
    uri = f"sqlite:///{tmp_path}/no.db"
    options = ("--experiment", "x", "--tracking-uri", uri, "--output", tmp_path / "out")
    assert f"{tmp_path}/no.db" in refusal(capsys, "compare", *options)
    assert list(tmp_path.iterdir()) == []


def test_errors_show_no_password():
    error = MlflowException("http://user:secret@store answers 500")
    client = SimpleNamespace(
        tracking_uri="http://user:secret@store",
        search_experiments=lambda: PagedList([], None),
        get_run=Mock(side_effect=error),
    )
    for asked in ({"experiment": "eyes"}, {"runs": ["abc"]}):
        with pytest.raises(InputError, match="store") as caught:
            find_evaluations(client, **asked)
        assert "secret" not in str(caught.value)
