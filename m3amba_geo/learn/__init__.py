"""Training: patches, objective, loop, checkpoints."""
