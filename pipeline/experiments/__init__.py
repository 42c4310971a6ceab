"""Many trainings: plans, searches, and the jobs that run them."""
