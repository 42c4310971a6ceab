"""The networks that a bundle can name."""

from .attention_unet import AttentionUnet, GridAttentionGate
from .unet_plus_plus import UnetPlusPlus

__all__ = ["AttentionUnet", "GridAttentionGate", "UnetPlusPlus"]
