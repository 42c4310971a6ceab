"""Many runs: carry them out by a plan, and compare them."""
