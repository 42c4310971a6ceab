"""Optuna's side of a search: the study on disk, and the values that it samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .plan import Categorical, Float, Ids, Search

if TYPE_CHECKING:
    from optuna import Study, Trial


def open_study(search: Search, folder: Path, *, seed: int, epochs: int) -> Study:
    """Open the study in ``folder``, or make it."""
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # The learning rate falls to the end, so the first half of a training says little.
    median = optuna.pruners.MedianPruner(n_warmup_steps=epochs // 2)
    study = optuna.create_study(
        study_name="search",
        storage=JournalStorage(JournalFileBackend(str(folder / "optuna.journal"))),
        direction=search.direction,
        pruner=median if search.prune else optuna.pruners.NopPruner(),
        load_if_exists=True,
    )
    # Each start has its own seed, or it would sample the first values again.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    return study


def sample_values(trial: Trial, search: Search) -> None:
    """Let Optuna choose a value of each id."""
    for key, space in search.space.items():
        if isinstance(space, Categorical):
            # Optuna's choices are texts or numbers; as JSON every value is a text.
            trial.suggest_categorical(key, [json.dumps(choice) for choice in space.choices])
        elif isinstance(space, Float):
            trial.suggest_float(key, space.low, space.high, log=space.log)
        else:
            trial.suggest_int(key, space.low, space.high, step=space.step)


def read_values(trial: Any, search: Search) -> Ids:
    """The values of the ids that Optuna chose for a trial."""
    return {
        key: json.loads(value) if isinstance(search.space[key], Categorical) else value
        for key, value in trial.params.items()
    }


def find_best(study: Study) -> Any:
    """The best of the completed trials, or None."""
    from optuna.trial import TrialState

    return study.best_trial if study.get_trials(states=(TrialState.COMPLETE,)) else None
