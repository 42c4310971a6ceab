"""Where data come from: one file or folder per source, and their checks."""
