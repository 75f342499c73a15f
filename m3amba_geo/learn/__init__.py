"""Training: patches, objective, loop, checkpoints, and the processes that share it."""
