"""MLflow: record a run, deliver it to a store, and tidy or repeat it later."""

from ..lazy import lazy

__getattr__, __all__ = lazy(
    __name__,
    {
        "mlflow_run": ["MlflowRun"],
        "store": ["check_store"],
    },
)
