"""Train, resume and evaluate bundles on a GPU, real or pretended; what do their steps wait for?

Run as ``python gpu_steps.py WORK JOBS``: a folder, and JSON with an object for each bundle: its
``configs``, and ``ids`` for every run. ``PRETENDED_GPU=1`` is for a machine without a GPU. The last
line of the output is JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if os.environ.get("PRETENDED_GPU"):
    import pretended_gpu
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow


@contextlib.contextmanager
def watched(events: list) -> Iterator[None]:
    """Collect the waits and copies of a pretended GPU; a wait for a real one is an error."""
    if os.environ.get("PRETENDED_GPU"):
        with pretended_gpu.counted() as found:
            yield
        events += found
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def run(configs: str, names: list[str], **ids: Any) -> dict[str, Any]:
    """Run a bundle, and watch every training step, and its reading, after the first epoch."""
    files = [str(Path(configs) / name) for name in names]
    ids |= {"device": "cuda", "log_to_mlflow": False}
    workflow = ConfigWorkflow(files, workflow_type="train", logging_file=False, **ids)
    workflow.initialize()
    parser, events, stack = workflow.parser, [], contextlib.ExitStack()
    trainer = parser.get_parsed_content("train#trainer")
    first, watch = trainer.state.epoch + 1, {"steps": 0}

    def begin(engine: Engine) -> None:
        if engine.state.epoch > first:
            stack.enter_context(watched(events))

    def end(engine: Engine) -> None:
        watch["steps"] += engine.state.epoch > first
        if engine.state.iteration % engine.state.epoch_length == 0:
            stack.close()

    trainer.add_event_handler(Events.EPOCH_STARTED, begin)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, end)
    workflow.run()
    workflow.finalize()
    return {
        "epoch": trainer.state.epoch,
        "steps": watch["steps"],
        "waits": [each for each in events if each[0] == "wait"],
        "copied": sum(each[2] for each in events if each[0] == "copy"),
        "device": str(next(trainer.network.parameters()).device),
        "metrics": parser.get_parsed_content("validate#evaluator").state.metrics,
    }


def main() -> None:
    found = {}
    for job in json.loads(sys.argv[2]):
        configs, ids = job["configs"], job["ids"]
        out = Path(sys.argv[1]) / Path(configs).parent.name
        ids["output_dir"] = str(out)
        evaluation = ids | {"output_dir": str(out / "evaluation"), "ckpt_path": str(out)}
        found[out.name] = {
            "trained": run(configs, ["train.json"], epochs=2, **ids),
            # The cache on the host: each batch crosses over.
            "resumed": run(
                configs, ["train.json"], epochs=4, resume=True, cache_device="cpu", **ids
            ),
            "evaluated": run(configs, ["train.json", "evaluate.json"], **evaluation, figures=False),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
