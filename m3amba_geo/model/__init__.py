"""The network: torch only, no rasters."""

from m3amba_geo.config import NetworkConfig
from m3amba_geo.model.m3amba import M3amba, build

__all__ = ["M3amba", "NetworkConfig", "build"]
