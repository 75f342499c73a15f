"""Rasters and vectors on one grid; knows nothing of torch."""
