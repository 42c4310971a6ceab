"""The page of one training."""

import html
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.comparison.run_page import make_page


def test_a_page_shows_a_training_and_what_comes_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run, figures = Path("runs/my one"), Path("runs/my one/evaluation-testing/figures")
    for folder in (figures, Path("data/images")):
        folder.mkdir(parents=True)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(figures / "worst_best.png")
    column = {"mean": 0.9, "std": 0.1, "median": 0.95, "ci_low": 0.8, "ci_high": 1.0, "n": 7}
    summary = {"n_cases": 7, "units": {}, "metrics": {"dice/left_lung": column}}
    (figures.parent / "summary.json").write_text(json.dumps(summary))
    (run / "history.csv").write_text("epoch,seconds,loss,dice\n1,3,0.9,\n2,3,0.5,0.7\n")
    config = {"network_def": {"_target_": "a.Net"}, "dataset_dir": "data", "bundle_folder": "b"}
    (run / "config.json").write_text(json.dumps(config))
    page = make_page(run)
    assert page == run / "report/report.html"
    text = page.read_text()
    for words in ("Net, 2 epochs", "Dice, left lung", "0.800 to 1.000", "7 cases"):
        assert words in text
    assert text.count("data:image/png;base64,") == 2
    commands = [shlex.split(html.unescape(each)) for each in re.findall("<pre>(.*?)</pre>", text)]
    predict = next(words for words in commands if "predict" in words)
    assert predict[predict.index("predict") + 1 :][:3] == ["data/images", "--checkpoint", str(run)]
    assert (run / "report/report.md").is_file()
    with pytest.raises(FileExistsError):
        make_page(run)
    make_page(run, overwrite=True)
