"""Figures of masks and attention maps."""
