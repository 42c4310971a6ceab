"""Write a bundle for a dataset: measure it, choose settings by rules, copy the nearest bundle."""
