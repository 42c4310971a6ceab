"""How often a 95 % interval holds the true mean, by the number of cases: BCa and Student's t.

    python benchmarks/intervals.py

Values are drawn from a beta distribution, as skewed as Dice is (mean 0.9). Prints a line of JSON
for each number of cases.
"""

import argparse
import json
import warnings

import numpy as np
from scipy.stats import DegenerateDataWarning, bootstrap, ttest_1samp

MEAN = 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--counts", type=int, nargs="+", default=[4, 6, 8, 10, 15, 30])
    given = parser.parse_args()
    warnings.simplefilter("ignore", DegenerateDataWarning)
    rng = np.random.default_rng(0)
    for count in given.counts:
        samples = rng.beta(9, 1, (given.draws, count))
        bca = bootstrap((samples,), np.mean, axis=1, n_resamples=1000, rng=rng, batch=50)
        found = {"bca": bca.confidence_interval, "t": ttest_1samp(samples, 0, axis=1)}
        found["t"] = found["t"].confidence_interval()
        held = {
            name: round(float(np.mean((each.low <= MEAN) & (each.high >= MEAN))), 3)
            for name, each in found.items()
        }
        print(json.dumps({"cases": count, **held}))


if __name__ == "__main__":
    main()
