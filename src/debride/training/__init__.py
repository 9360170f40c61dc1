"""Training: the loop, its configuration, checkpoints, inference."""
