"""Optuna's side of a search: the study on disk, and the values that it draws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .plan import Categorical, Float, Ids, Search

if TYPE_CHECKING:
    from optuna import Study, Trial


def open_study(search: Search, folder: Path, *, seed: int, epochs: int) -> Study:
    """The study in ``folder``, begun or gone on with."""
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # With a learning rate that falls to the end, the first half tells little.
    median = optuna.pruners.MedianPruner(n_warmup_steps=epochs // 2)
    study = optuna.create_study(
        study_name="search",
        storage=JournalStorage(JournalFileBackend(str(folder / "optuna.journal"))),
        direction=search.direction,
        pruner=median if search.prune else optuna.pruners.NopPruner(),
        load_if_exists=True,
    )
    # Another seed at each start, which would else draw the first values once more.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    return study


def draw(trial: Trial, search: Search) -> None:
    """Let Optuna choose a value of each id."""
    for key, space in search.space.items():
        if isinstance(space, Categorical):
            # Optuna's choices are words or numbers; as JSON every value is a word.
            trial.suggest_categorical(key, [json.dumps(choice) for choice in space.choices])
        elif isinstance(space, Float):
            trial.suggest_float(key, space.low, space.high, log=space.log)
        else:
            trial.suggest_int(key, space.low, space.high, step=space.step)


def drawn(params: Ids, search: Search) -> Ids:
    """The values of the ids that Optuna chose."""
    return {
        key: json.loads(value) if isinstance(search.space[key], Categorical) else value
        for key, value in params.items()
    }


def best_trial(study: Study) -> Any:
    """The best trial that has come to its end, or None."""
    from optuna.trial import TrialState

    return study.best_trial if study.get_trials(states=(TrialState.COMPLETE,)) else None
