"""Blocks of a map: bands of rows that are made in any order, and the files that hold them.

A block is made from all windows that reach it, whichever blocks were made before: its pixels are
the same to the last bit. Windows across the border of two blocks are computed for both.

A file holds the rows one after the other, each with its pixels in every output, and ends in a
SHA-256 of the run, of the block's rows and of all that stands before. So a file that is cut, of
another run or of another place is no block. It is written and read a few rows at a time.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3amba_geo.files import whole
from m3amba_geo.geo.maps import Layer
from m3amba_geo.geo.region import Region

RowRecords = NDArray[np.void]
"""`(h,)` rows of a map: a field for each output, `(bands, W)`."""

_EXTRA = 32  # a block costs at most one part in so many of work done twice
_BYTES = 1 << 22  # read at a time


def blocks_of(region: Region, patch: int, stride: int) -> tuple[Region, ...]:
    """Returns the blocks of a region from its top to its bottom.

    Borders lie on rows where windows begin, counted from the top of the grid: there the fewest
    windows lie across them.
    """
    across = max(1, -(-patch // stride) - 1)  # rows of windows that two blocks share
    height = _EXTRA * across * stride
    inner = range((region.top // height + 1) * height, region.bottom, height)
    borders = [region.top, *inner, region.bottom]
    return tuple(
        Region(top, region.left, bottom, region.right) for top, bottom in pairwise(borders)
    )


def row_type(layers: Mapping[str, Layer], width: int) -> np.dtype[np.void]:
    """Returns the type of one row of `width` pixels in all outputs, the same on every machine."""
    return np.dtype(
        [
            (role, np.dtype(layer.dtype).newbyteorder("<"), (len(layer.names), width))
            for role, layer in layers.items()
        ]
    )


def file_bytes(block: Region, kind: np.dtype[np.void]) -> int:
    """Returns the size of a block's file."""
    return block.shape[0] * kind.itemsize + hashlib.sha256().digest_size


def write_block(path: Path, run: str, block: Region, rows: Iterable[RowRecords]) -> bytes:
    """Writes a block that is whole or absent, and outlasts a power loss once this returns.

    Args:
        path: The file.
        run: Name of the run that it belongs to.
        block: The place of its rows.
        rows: Its rows, from the top.

    Returns:
        The checksum that the file ends in.

    Raises:
        OutputError: It can't be written.
    """
    digest = _seeded(run, block)
    with whole(path) as scratch, scratch.open("wb") as handle:
        for records in rows:
            content = records.tobytes()
            digest.update(content)
            handle.write(content)
        last: bytes = digest.digest()
        handle.write(last)
    return last


def last_checksum(path: Path) -> bytes:
    """Returns the checksum that a block's file ends in, which need not fit; empty without a file.

    Opening the file makes a file system of another machine look again.
    """
    try:
        with path.open("rb") as handle:
            handle.seek(-hashlib.sha256().digest_size, os.SEEK_END)
            return handle.read()
    except OSError:
        return b""


def check_block(path: Path, run: str, block: Region, kind: np.dtype[np.void]) -> None:
    """Reads a block, a part at a time, and compares its checksum.

    Raises:
        ValueError: It is damaged.
        OSError: It can't be read.
    """
    if path.stat().st_size != file_bytes(block, kind):
        raise ValueError(f"{path} has the wrong size.")
    digest = _seeded(run, block)
    height = block.shape[0]
    with path.open("rb") as handle:
        left = height * kind.itemsize
        while left and (content := handle.read(min(_BYTES, left))):
            digest.update(content)
            left -= len(content)
        if handle.read() != digest.digest():
            raise ValueError(f"The checksum of {path} does not fit.")


def read_part(
    path: Path, kind: np.dtype[np.void], rows: slice, columns: slice
) -> dict[str, NDArray[Any]]:
    """Returns some pixels of a block, for each output `(bands, h, w)`.

    Raises:
        OSError: They can't be read.
    """
    height, width = rows.stop - rows.start, columns.stop - columns.start
    found = {}
    with path.open("rb") as handle:
        for role, (field, offset, *_) in (kind.fields or {}).items():
            bands, across = field.shape
            pixels = np.empty((bands, height, width), field.base)
            for row, band in np.ndindex(height, bands):
                start = (band * across + columns.start) * field.base.itemsize
                handle.seek((rows.start + row) * kind.itemsize + offset + start)
                handle.readinto(pixels[band, row].data)
            found[role] = pixels
    return found


def _seeded(run: str, block: Region) -> Any:  # noqa: ANN401 - hashlib names no type
    return hashlib.sha256(f"{run} {block}".encode())
