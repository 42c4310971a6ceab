"""Networks that a bundle can name, their weights and their cost."""

from ..lazy import lazy

__getattr__, __all__ = lazy(
    __name__,
    {
        "attention_unet": ["AttentionUnet", "GridAttentionGate"],
        "cost": ["network_cost"],
        "ensemble": ["Ensemble"],
        "recompute": ["recompute_activations"],
        "unet_plus_plus": ["UnetPlusPlus"],
        "weights": ["load_weights"],
    },
)
