"""Attention U-Net segmentation on MONAI bundles."""

__version__ = "0.1.0"
