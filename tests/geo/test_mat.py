import io
import struct
import zlib

import numpy as np
import pytest
from scipy.io import savemat

from m3amba_geo.errors import DataError, FileMissingError
from m3amba_geo.geo import mat
from m3amba_geo.geo.mat import list_mat, read_mat

CUBE = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)


def nested():
    cells = np.empty((1, 2), object)
    cells[:] = [[{"z": CUBE}, {"z": CUBE + 1}]]
    texts = np.array(["dirt and sand", "road "], object)
    return {"Data": CUBE, "Lidar": cells, "sceneLabels": {"types": texts, "note": "text"}}


@pytest.mark.parametrize("packed", [False, True])
def test_arrays_and_structures(tmp_path, packed):
    path = tmp_path / "a.mat"
    savemat(path, {"first": CUBE, "hsi": nested()}, do_compression=packed)
    first, hsi = list_mat(path)
    assert (first.shape, first.kind, first.numeric) == ((3, 4, 5), "uint16", True)
    assert (read_mat(first, CUBE.nbytes)["first"] == CUBE).all()
    assert not hsi.numeric
    parts = read_mat(hsi, 1000)
    assert (parts["hsi.Lidar[1].z"] == CUBE + 1).all()
    assert parts["hsi.sceneLabels.types"] == ("dirt and sand", "road")
    assert set(parts) == {
        "hsi.Data", "hsi.Lidar[0].z", "hsi.Lidar[1].z", "hsi.sceneLabels.types",
    }  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
def test_more_than_there_may_be_is_not_read(tmp_path, packed, monkeypatch):
    path = tmp_path / "a.mat"
    savemat(path, {"a": np.zeros((1000, 1000))}, do_compression=packed)
    monkeypatch.setattr(mat, "_ROOM", 1000)
    monkeypatch.setattr(mat, "loadmat", lambda *_, **__: pytest.fail("was read"))
    with pytest.raises(DataError, match="more than it can need"):
        read_mat(list_mat(path)[0], 10**6)


def matrix(family, shape, body, name=b"a"):
    """An array element as MATLAB writes it, whatever it claims of its shape."""
    dims = struct.pack(f"<{len(shape)}i", *shape) + bytes(-4 * len(shape) % 8)
    content = struct.pack("<IIII", 6, 8, family, 0)
    content += struct.pack("<II", 5, 4 * len(shape)) + dims
    content += struct.pack("<HH4s", 1, len(name), name.ljust(4, b"\0")) + body
    return struct.pack("<II", 14, len(content)) + content


def mat_file(element, packed=False):
    if packed:
        squeezed = zlib.compress(element)
        element = struct.pack("<II", 15, len(squeezed)) + squeezed
    return b"MATLAB 5.0".ljust(124) + b"\0\1IM" + element


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "element",
    [
        matrix(6, (1 << 20, 1 << 20), struct.pack("<IId", 9, 8, 1.0)),
        matrix(1, (1 << 30, 1), b""),
        matrix(2, (1 << 30, 1), struct.pack("<HHiII8s", 5, 4, 8, 1, 8, b"x")),
        matrix(1, (1, 1), matrix(1, (1 << 30, 1), b"")),
        matrix(1, (1, 1), struct.pack("<II", 14, 1 << 30)),
    ],
)
def test_claims_that_the_bytes_do_not_bear_out(tmp_path, element, packed, monkeypatch):
    path = tmp_path / "a.mat"
    path.write_bytes(mat_file(element, packed))
    monkeypatch.setattr(mat, "loadmat", lambda *_, **__: pytest.fail("was read"))
    with pytest.raises(DataError, match="damaged"):
        read_mat(list_mat(path)[0], 10**9)


def test_what_is_no_such_file(tmp_path):
    path = tmp_path / "a.mat"
    with pytest.raises(FileMissingError):
        list_mat(path)
    for content, words in (
        (b"", "no MATLAB file"),
        (b"\x80\x04pickle" * 30, "no MATLAB file"),
        (b"MATLAB 7.3 MAT-file".ljust(200), "7.3"),
        (mat_file(b"\x0f\0\0\0\xff\0\0\0nonsense"), "damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=words) as caught:
            list_mat(path)
        assert caught.value.hint


def test_a_truncated_file_is_damaged(tmp_path):
    whole = io.BytesIO()
    rng = np.random.default_rng(0)
    savemat(whole, {"a": rng.random((50, 50))}, do_compression=True)
    path = tmp_path / "a.mat"
    path.write_bytes(whole.getvalue()[:-5000])
    (array,) = list_mat(path)
    with pytest.raises(DataError, match="damaged"):
        read_mat(array, 10**6)
