"""Time the page of a report of many cases: to write it, and until a browser shows it.

    python benchmarks/report_page.py --count 10000

Needs Chromium for the second. Prints one line of JSON.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pipeline.prediction.page import write_pages
from pipeline.prediction.tiles import TILE
from pipeline.prediction.view import view_files

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

READY = "document.documentElement?.dataset.ready"


def make_case(number: int) -> dict:
    """A photograph with all that a report may say of it."""
    name, found = f"hospital_{number % 7}_photograph_{number:05}", {"low": 0.61, "high": 0.97}
    return {
        "name": name,
        "input": f"/data/study/photographs/{name}.png",
        "status": "failed" if number % 50 == 0 else "done",
        "run": "report-20260101-000000.json",
        "worker": "host:1",
        "seconds": 0.412,
        "area_px": {"optic_disc": 41234 + number, "optic_cup": 12345},
        "vertical_cdr": 0.5432,
        "outputs": [f"{name}_seg.png"],
        "view": {
            "picture": view_files("one")[0],
            "tiles": [f"{each}, outlined: optic disc, optic cup" for each in ("whole", "enlarged")],
        },
        "quality": {
            "check": number % 10 == 0,
            "reasons": ["the optic cup's expected Dice is 0.41, below 0.8"] * (number % 10 == 0),
            "dice": {"optic_disc": {"expected": 0.95, **found}, "optic_cup": {"expected": 0.88}},
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    count = parser.parse_args().count
    folder = Path(tempfile.mkdtemp())
    report = {"cases": [make_case(number) for number in range(count)], "total": count}
    from PIL import Image

    picture = folder / view_files("one")[0]
    picture.parent.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (TILE, 2 * TILE, 3), np.uint8)
    Image.fromarray(noise).save(picture)
    started, used = time.perf_counter(), time.process_time()
    write_pages(folder / "report.json", report)
    times = {"write_s": time.perf_counter() - started, "write_cpu_s": time.process_time() - used}
    page = folder / "report.html"
    sizes = {"html_mb": page.stat().st_size / 1e6}
    sizes["csv_mb"] = page.with_suffix(".csv").stat().st_size / 1e6

    from browser import Browser

    with Browser(folder / "profile") as browser:
        browser("Performance.enable", timeDomain="threadTicks")
        started = time.perf_counter()
        browser("Page.navigate", url=page.as_uri())
        browser.wait(READY)
        times["interactive_s"] = time.perf_counter() - started
        metrics = browser("Performance.getMetrics")["metrics"]
        used = {each["name"]: each["value"] for each in metrics}
        times["interactive_cpu_s"] = used["TaskDuration"]  # of the page's thread
        acts = {"search": "document.getElementById('search').value = '_09'; search()"}
        acts["next"] = "turn(page + 1)"
        for name, act in acts.items():
            took = f"{{const begun = performance.now(); {act}; performance.now() - begun}}"
            times[f"{name}_s"] = browser.run(took) / 1000
    print(json.dumps({"cases": count, **{k: round(v, 3) for k, v in {**times, **sizes}.items()}}))


if __name__ == "__main__":
    main()
