"""From evaluations in MLflow to a report."""
