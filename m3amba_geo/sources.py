"""What inputs are called where they are no plain files: archives, servers, and what is in them.

GDAL names them by prefixes, such as `/vsizip/archive.zip/a.tif` and `/vsicurl/https://...`. Inputs
travel as `Path`, which drops every second slash in a row; `gdal_name` gives them back.
"""

import re
from pathlib import Path

_SCHEMES = {"s3": "vsis3", "gs": "vsigs", "az": "vsiaz"}
_WEB = re.compile(r"(https?|ftp):/+", re.IGNORECASE)
_CLOUD = re.compile(rf"({'|'.join(_SCHEMES)}):/+", re.IGNORECASE)
_CHAIN = re.compile(r"(/vsi\w+)/+(?=vsi\w+/)")
_PREFIX = re.compile(r"(/vsi\w+/+)+")
_NETWORK = re.compile(
    r"/vsi(curl|s3|gs|az|adls|oss|swift|hdfs|webhdfs)"
    r"|\b(https?|ftp|s3|gs|az):/"
    # Drivers that take a connection, not a file.
    r"|^\s*(WMS|WMTS|WCS|WFS|OAPIF\w*|CSW|EEDAI?|DAAS|PLMOSAIC|PLSCENES|STACIT|STACTA|OGCAPI|PG|MYSQL):",
    re.IGNORECASE,
)


def on_network(name: str | Path) -> bool:
    """Whether GDAL would ask a server for that name."""
    return _NETWORK.search(_posix(name)) is not None


def is_virtual(name: str | Path) -> bool:
    """Whether a name is GDAL's or a server's, not one of the file system."""
    return _PREFIX.match(_posix(name)) is not None or on_network(name)


def gdal_name(name: str | Path) -> str:
    """Returns a name as GDAL wants it; `https:`, `s3:` and the like get their prefixes."""
    text = _posix(name)
    if on_network(name):
        text = _WEB.sub(r"\1://", text)
        text = _CLOUD.sub(lambda found: f"/{_SCHEMES[found[1].lower()]}/", text)
        text = f"/vsicurl/{text}" if _WEB.match(text) else text
        return _CHAIN.sub(r"\1//", text)
    if not is_virtual(name):
        return str(name)
    prefix, file, inside = _opened_up(text)
    return text if file is None else f"{prefix}/{file.as_posix()}{inside}"


def local_file(name: str | Path) -> Path | None:
    """Returns the file or folder of this machine that a name leads into; None where none does."""
    if not is_virtual(name):
        return Path(name)
    return None if on_network(name) else _opened_up(_posix(name))[1]


def _opened_up(text: str) -> tuple[str, Path | None, str]:
    """Takes `/vsizip/folder/a.zip/b.tif` apart: prefix, archive, and what follows.

    Path has dropped the slash that tells an absolute archive from a relative one: the one there is.
    """
    found = _PREFIX.match(text)
    assert found is not None
    prefix, rest = found[0].rstrip("/"), text[found.end() :]
    for start in ("", "/"):
        place = Path(start + rest)
        for part in (place, *place.parents):
            if part.is_file():
                return prefix, part, (start + rest)[len(part.as_posix()) :]
    return prefix, None, ""


def _posix(name: str | Path) -> str:
    return name.as_posix() if isinstance(name, Path) else name
