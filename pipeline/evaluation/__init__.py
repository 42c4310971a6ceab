"""Metrics per case, their summary, figures, and the handler that writes them as a report.

Names are imported on first use, so that metrics alone load neither ignite nor matplotlib.
"""

from importlib import import_module

_HOME = {
    "CaseReport": "report",
    "Footprint": "footprint",
    "attention_figure": "figures",
    "bootstrap_interval": "summary",
    "case_metrics": "metrics",
    "comparison_figure": "figures",
    "hd95": "surface",
    "overlap": "metrics",
    "overlay_page": "figures",
    "read_mask": "masks",
    "save_figure": "figures",
    "summarise": "summary",
    "surface_metrics": "surface",
    "vertical_cdr": "metrics",
    "vertical_cdr_error": "metrics",
    "write_cases": "summary",
    "write_mask": "masks",
    "write_summary": "summary",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
