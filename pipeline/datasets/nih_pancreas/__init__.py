"""NIH Pancreas-CT."""
