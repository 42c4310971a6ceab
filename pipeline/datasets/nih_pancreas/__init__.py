"""NIH Pancreas-CT: its download, its labels, its preparation."""
