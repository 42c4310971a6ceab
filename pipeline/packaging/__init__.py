"""A bundle and its trained weights as one archive that runs without this project."""
