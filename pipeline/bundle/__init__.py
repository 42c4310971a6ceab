"""What a bundle's JSON means, and what a training leaves."""

from ..lazy import lazy

__getattr__, __all__ = lazy(
    __name__,
    {
        "as_trained": ["running_settings"],
        "cases": ["find_images", "select_cases"],
        "device": ["seed_generators", "use_device"],
        "labels": ["check_labels"],
        "members": ["Checkpoint", "with_members"],
        "running": ["running_bundle"],
        "start": ["check_run", "load_pretrained", "load_trained", "check_output_dir"],
    },
)
