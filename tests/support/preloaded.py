"""What every process that the tests fork would import or look up for itself, at seconds each."""

from importlib import import_module

from mlflow.utils import requirements_utils

for _name in (
    *("tiny_training", "mlflow.pyfunc", "pandas", "torch._dynamo", "monai.bundle.__main__"),
    *("pipeline.bundle.start", "pipeline.tracking.mlflow_run", "pipeline.transforms.augment"),
    *("pipeline.evaluation.report", "pipeline.evaluation.figures.cases"),
):
    import_module(_name)
# MLflow looks into every installed package when it saves a model.
requirements_utils._init_modules_to_packages_map()
