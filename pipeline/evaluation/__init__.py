"""Metrics per case, their summary, and the handlers that report them."""

from ..lazy import lazy

__getattr__, __all__ = lazy(
    __name__,
    {
        "postprocessing": ["ChosenPostprocessing"],
        "footprint": ["Footprint"],
        "quality": ["QualityEstimates"],
        "report": ["CaseReport"],
    },
)
