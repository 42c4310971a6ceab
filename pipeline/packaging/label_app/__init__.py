"""The app that MONAI Label serves: copied into the server's folder, run in its own environment."""
