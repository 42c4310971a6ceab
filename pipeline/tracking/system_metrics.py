"""Write MLflow's system metrics into the run's journal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from .record import now


def watch_system(
    tracking_uri: str, write: Callable[[list[list[Any]]], None], logged: Mapping[str, int]
) -> Any:
    """Record CPU, memory, disk, network and GPU use every ten seconds, as MLflow names them.

    MLflow's own monitor stops for good when the server does not answer once.

    Args:
        tracking_uri: the run's store, which is only named: without it MLflow would create another.
        write: takes metrics as lists of name, value, time in ms and step.
        logged: the last step of each metric in the journal.

    Returns:
        A monitor with the method ``finish``.
    """
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    # Otherwise every start says whether there is a GPU.
    logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)

    class JournalledMonitor(SystemMetricsMonitor):
        def monitor(self) -> None:
            while not self._shutdown_event.wait(self.sampling_interval):
                self.collect_metrics()
                self.publish_metrics(self.aggregate_metrics())

        def publish_metrics(self, metrics: Mapping[str, float]) -> None:
            when, step = now(), self._logging_step
            write(
                [
                    [self._metrics_prefix + name, float(value), when, step]
                    for name, value in metrics.items()
                ]
            )
            self._logging_step += 1
            for monitor in self.monitors:
                monitor.clear_metrics()

        def finish(self) -> None:
            self._shutdown_event.set()
            if self._process is not None:
                self._process.join()

    monitor = JournalledMonitor(run_id=None, tracking_uri=tracking_uri)
    steps = [step for name, step in logged.items() if name.startswith(monitor._metrics_prefix)]
    monitor._logging_step = max(steps, default=-1) + 1
    monitor.start()
    return monitor
