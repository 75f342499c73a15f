"""Benchmarks; each writes its figures, with the machine they were taken on, to training/results."""
