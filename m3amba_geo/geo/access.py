"""What may be opened: a list of formats, on this machine, and on a network only if asked for.

Files come from strangers, and GDAL has some two hundred drivers. What a file may set in motion is
decided here, and nowhere else; see docs/security.md.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from m3amba_geo.errors import FileMissingError, NetworkOffError
from m3amba_geo.sources import local_file, on_network

# Of VRT, the sources are opened with the same list. A COG is a GTiff.
RASTER_DRIVERS = (
    "GTiff", "VRT", "ENVI", "EHdr", "HFA", "ERS", "PCIDSK", "RST", "SAGA", "AAIGrid", "SRTMHGT",
    "DTED", "GPKG", "netCDF", "HDF5", "HDF5Image", "JP2OpenJPEG", "JPEG", "PNG", "BMP",
)  # fmt: skip
VECTOR_DRIVERS = (
    "GPKG", "ESRI Shapefile", "GeoJSON", "GeoJSONSeq", "TopoJSON", "FlatGeobuf", "OpenFileGDB",
    "SQLite", "KML", "LIBKML", "GML", "GPX", "MapInfo File", "DXF", "CSV",
)  # fmt: skip

_OPTIONS = {"GDAL_VRT_ENABLE_PYTHON": "NO"}
# There is no switch that takes the network from GDAL: so it finds no file on any server, and what
# does not look for files goes to a proxy at a port that nobody listens at.
_CLOSED = {
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
    "GDAL_HTTP_PROXY": "127.0.0.1:9",
    "GDAL_HTTP_MAX_RETRY": "0",
}
# Seconds; the delay grows with each try. A server that sends nothing for a minute is given up.
_PATIENT = {
    "GDAL_HTTP_MAX_RETRY": "5",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    "GDAL_HTTP_LOW_SPEED_TIME": "60",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
}

_network: ContextVar[bool] = ContextVar("network", default=False)


@contextmanager
def reach(*, network: bool) -> Iterator[None]:
    """Sets, for the time of a `with` block, whether inputs may lie on a network."""
    before = _network.set(network)
    try:
        yield
    finally:
        _network.reset(before)


def network_is_on() -> bool:
    """Whether inputs may lie on a network, here and now."""
    return _network.get()


def gdal_options() -> dict[str, str]:
    """Returns the settings that GDAL needs while an input is open."""
    return _OPTIONS | (_PATIENT if _network.get() else _CLOSED)


def check_reach(path: str | Path) -> None:
    """Makes sure that an input may be looked for, and is there as far as that is known at once.

    Raises:
        NetworkOffError: It lies on a network, and nobody has allowed that.
        FileMissingError: It is not there.
    """
    if on_network(path):
        if _network.get():
            return
        raise NetworkOffError(
            f"{path} lies on a network, and inputs are taken from this machine only.",
            "Add --allow-network if you trust the server, or copy the file.",
        )
    file = local_file(path)
    if file is None or not file.exists():
        raise FileMissingError(f"{path} is missing.", "Check the path and its spelling.")
