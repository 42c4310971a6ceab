"""Train, resume and evaluate a bundle on a GPU, real or pretended, and say what its steps wait for.

Run as ``python gpu_steps.py BUNDLE DATASET WORK 'IDS AS JSON'``, with ``PRETENDED_GPU=1`` for the
latter. Prints one line of JSON.
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

configs, dataset, work = Path(sys.argv[1]) / "configs", sys.argv[2], Path(sys.argv[3])
given: dict[str, Any] = json.loads(sys.argv[4])
given |= {"dataset_dir": dataset, "log_to_mlflow": False, "device": "cuda"}


@contextlib.contextmanager
def watched(events: list) -> Iterator[None]:
    """Collect the waits of a pretended GPU; a wait for a real one is an error."""
    if os.environ.get("PRETENDED_GPU"):
        with pretended_gpu.counted() as found:
            yield
        events += found
    else:
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


def train(**ids: Any) -> dict[str, Any]:
    """Train, and watch every step after the first epoch, with its reading of the batch."""
    files = [str(configs / "train.json")]
    workflow = ConfigWorkflow(files, workflow_type="train", logging_file=False, **given, **ids)
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train#trainer")
    first, events, stack, steps = ids.get("resume", False), [], contextlib.ExitStack(), [0]

    def begin(engine: Engine) -> None:
        if engine.state.epoch > 1 and (not first or engine.state.epoch > 2):
            stack.enter_context(watched(events))

    def end(engine: Engine) -> None:
        steps[0] += engine.state.epoch > 1
        if engine.state.iteration % engine.state.epoch_length == 0:
            stack.close()

    trainer.add_event_handler(Events.EPOCH_STARTED, begin)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, end)
    workflow.run()
    workflow.finalize()
    return {
        "epoch": trainer.state.epoch,
        "steps": steps[0],
        "waits": [each for each in events if each[0] == "wait"],
        "copies": [each for each in events if each[0] == "copy"],
        "device": str(next(trainer.network.parameters()).device),
        "dice": workflow.parser.get_parsed_content("validate#evaluator").state.best_metric,
    }


if __name__ == "__main__":
    out = str(work / "run")
    found = {"trained": train(output_dir=out, epochs=2)}
    print(json.dumps(found))
