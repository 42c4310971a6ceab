"""Images and exact masks, drawn by code."""
