"""Run a bundle on new images, and write its masks where other programs read them."""
