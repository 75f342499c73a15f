"""Arrays in MATLAB files (version 5 to 7), read without trust in what the file says of itself.

Shapes are known before anything is allocated, and a file that unpacks to more than its arrays need
is refused. Nothing in such a file is run: functions and objects are passed over.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat
from scipy.io.matlab import MatReadError

from m3amba_geo.errors import DataError, FileMissingError

_NUMBERS = {"double", "single", "logical"} | {
    f"{s}int{b}" for s in ("", "u") for b in (8, 16, 32, 64)
}
_HEADER = 128  # bytes before the first element
_ROOM = 1 << 26  # bytes of names, tags and notes that a file may hold besides its arrays
_PIECE = 1 << 20
_COMPRESSED, _MATRIX = 15, 14
_CELL, _STRUCT, _SPARSE, _LAST_ARRAY = 1, 2, 5, 15
_DEEPEST = 16


@dataclass(frozen=True)
class MatArray:
    """An array in a file, or a structure whose content is known once it is read.

    Attributes:
        path: The file.
        name: Of the variable.
        shape: As the file has it.
        kind: MATLAB's class, `double`, `struct`, ...
        place: Number of the variable in the file.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    kind: str
    place: int

    @property
    def numeric(self) -> bool:
        """Whether it is an array of plain numbers."""
        return self.kind in _NUMBERS


def list_mat(path: Path) -> list[MatArray]:
    """Returns the variables of a file; of compressed ones only the beginning is unpacked.

    Raises:
        FileMissingError: It is not there.
        DataError: It is no MATLAB file of version 5 to 7, or damaged.
    """
    _check_version(path)
    try:
        found = whosmat(str(path), appendmat=False)
    except Exception as error:  # scipy meets damage with errors of many kinds
        raise _damaged(path, error) from error
    return [MatArray(path, str(n), tuple(s), str(k), i) for i, (n, s, k) in enumerate(found)]


def read_mat(array: MatArray, most: int) -> dict[str, Any]:
    """Reads a variable.

    Args:
        array: As from `list_mat`.
        most: Bytes of numbers that it may hold.

    Returns:
        Its numbers by name. A structure comes apart: `hsi.Data`, `hsi.Lidar[0].z`; lists of texts
        (cells) come as tuples.

    Raises:
        DataError: It holds more than `most`, or is damaged.
    """
    _check_size(array, most)
    try:
        content = loadmat(str(array.path), appendmat=False, variable_names=[array.name])[array.name]
    except (
        MatReadError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        OSError,
        zlib.error,
    ) as error:
        raise _damaged(array.path, error) from error
    return dict(_parts(array.name, content))


def _parts(name: str, value: NDArray[Any], depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yields what a variable holds, under names as MATLAB spells them, counted from 0."""
    if depth > _DEEPEST or not isinstance(value, np.ndarray):
        return
    if value.dtype.names:
        for i, record in enumerate(value.ravel(order="F")):
            inner = name if value.size == 1 else f"{name}[{i}]"
            for field in value.dtype.names:
                yield from _parts(f"{inner}.{field}", record[field], depth + 1)
    elif value.dtype == object:
        cells = list(value.ravel(order="F"))
        texts = [cell for cell in cells if isinstance(cell, np.ndarray) and cell.dtype.kind == "U"]
        if texts and len(texts) == len(cells):
            yield name, tuple("".join(text.ravel().tolist()).strip() for text in texts)
            return
        for i, cell in enumerate(cells):
            yield from _parts(f"{name}[{i}]", cell, depth + 1)
    elif value.dtype.kind in "biuf":
        yield name, value


def _check_version(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER)
    except FileNotFoundError as error:
        raise FileMissingError(f"{path} is missing.", "Check the path.") from error
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}.", "Check the file.") from error
    if start.startswith((b"MATLAB 7.3", b"\x89HDF")):
        raise DataError(
            f"{path} is a MATLAB 7.3 file (HDF5), which m3amba-geo does not read.",
            "Save it in the older format, in MATLAB: load(FILE), then save(FILE, '-v7').",
        )
    if len(start) < _HEADER or start[126:128] not in (b"IM", b"MI"):
        raise DataError(
            f"{path} is no MATLAB file of version 5 to 7.", "Fetch it again from its source."
        )


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is damaged or truncated: {error}.", "Fetch it again from its source.")


def _check_size(array: MatArray, most: int) -> None:
    """Unpacks a variable piece by piece, or sees in its tag, how much there is to read.

    Raises:
        DataError: More than there may be, or a structure that claims more than it holds.
    """
    most += _ROOM
    try:
        with array.path.open("rb") as file:
            order = "<" if file.read(_HEADER).endswith(b"IM") else ">"
            for _ in range(array.place):
                _, size = struct.unpack(f"{order}II", file.read(8))
                file.seek(size, 1)
            kind, size = struct.unpack(f"{order}II", file.read(8))
            keep = array.kind in ("struct", "cell")
            pieces = _unpacked(file, size) if kind == _COMPRESSED else _plain(file, size)
            found, content = 0, bytearray()
            for piece in pieces:
                found += len(piece)
                if found > most:
                    raise DataError(
                        f"{array.name} of {array.path} holds over {most >> 20} MiB, more than it "
                        "can need.",
                        "Fetch it again from its source.",
                    )
                content += piece if keep or not content else b""
        if kind != _COMPRESSED:
            content[:0] = struct.pack(f"{order}II", kind, size)
        _check_matrix(bytes(content), 0, found, order)
    except (struct.error, zlib.error, ValueError) as error:
        raise _damaged(array.path, error) from error


def _plain(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (piece := file.read(min(size, _PIECE))):
        size -= len(piece)
        yield piece


def _unpacked(file: BinaryIO, size: int) -> Iterator[bytes]:
    unpacker = zlib.decompressobj()
    for packed in _plain(file, size):
        piece = unpacker.decompress(packed, _PIECE)
        while piece:
            yield piece
            piece = unpacker.decompress(unpacker.unconsumed_tail, _PIECE)


def _check_matrix(data: bytes, start: int, size: int, order: str, depth: int = 0) -> int:
    """Makes sure that an array claims no more elements than it has bytes; returns its end.

    Of plain arrays only the beginning need be at hand; `size` is what there is in all.

    Raises:
        ValueError: It claims more, or nests too deep.
    """
    kind, length = struct.unpack_from(f"{order}II", data, start)
    end = int(start + 8 + length)
    if kind != _MATRIX or length == 0:
        return end
    if end > size + 8 or depth > _DEEPEST:
        raise ValueError("its parts do not fit into it")
    (flags,) = struct.unpack_from(f"{order}I", data, start + 16)
    position, shape = _field(data, start + 24, order)
    elements = prod(struct.unpack(f"{order}{len(shape) // 4}i", shape))
    position, _ = _field(data, position, order)  # the name
    family = flags & 0xFF
    if family == _STRUCT:
        position, longest = _field(data, position, order)
        position, names = _field(data, position, order)
        elements *= len(names) // max(struct.unpack(f"{order}i", longest)[0], 1)
    nested = family in (_CELL, _STRUCT)
    if family != _SPARSE and family <= _LAST_ARRAY and elements * (8 if nested else 1) > length:
        raise ValueError(f"it claims {elements} elements in {length} bytes")
    for _ in range(elements if nested else 0):
        position = _check_matrix(data, position, size, order, depth + 1)
    return end


def _field(data: bytes, start: int, order: str) -> tuple[int, bytes]:
    """Returns where the next field begins, and the bytes of this one."""
    (tag,) = struct.unpack_from(f"{order}I", data, start)
    if tag >> 16:  # short ones lie in the tag itself
        return start + 8, data[start + 4 : start + 4 + (tag >> 16)]
    (length,) = struct.unpack_from(f"{order}I", data, start + 4)
    return start + 8 + -(-length // 8) * 8, data[start + 8 : start + 8 + length]
