"""MLflow tracking of a run."""

from .mlflow_run import MlflowRun

__all__ = ["MlflowRun"]
