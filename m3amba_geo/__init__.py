"""Land-cover maps from several co-registered rasters and ground truth, with M3amba."""

__version__ = "0.1.0"
