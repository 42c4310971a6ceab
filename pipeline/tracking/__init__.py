"""MLflow: a run, its delivery to a store, and runs after the fact."""

from ..lazy import lazy

__getattr__, __all__ = lazy(
    __name__,
    {
        "mlflow_run": ["MlflowRun"],
    },
)
