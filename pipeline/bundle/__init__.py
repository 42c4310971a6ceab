"""What a bundle's JSON means, and what a training leaves."""

from ..lazy import lazy

__getattr__, __all__ = lazy(
    __name__,
    {
        "as_trained": ["check_as_trained", "running_settings"],
        "cases": ["cases_digest", "find_images", "select_cases"],
        "running": ["running_bundle"],
        "start": [
            "check_run",
            "existing_file",
            "load_pretrained",
            "unused_folder",
        ],
    },
)
