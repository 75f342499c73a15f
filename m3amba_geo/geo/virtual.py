"""What a virtual raster (GDAL's VRT) points at."""

import os.path
from xml.etree import ElementTree as Xml

_SOURCES = ("SourceFilename", "SourceDataset")


def sources_of(text: str, name: str) -> list[str]:
    """Returns the rasters that a VRT names, each once; raw files, which no driver opens, left out.

    Args:
        text: Its XML, as GDAL gives it back.
        name: Name of the VRT; relative sources lie beside it.
    """
    root = Xml.fromstring(text)  # GDAL has read it, and written it anew
    raw = {id(part) for band in root.iter("VRTRasterBand") for part in band.findall(_SOURCES[0])}
    folder = os.path.dirname(name)  # noqa: PTH120 - a name of GDAL's, perhaps in an archive
    found: dict[str, None] = {}
    for part in root.iter():
        if part.tag in _SOURCES and part.text and id(part) not in raw:
            beside = part.get("relativeToVRT") == "1"
            found[f"{folder}/{part.text}" if beside and folder else part.text] = None
    return list(found)
