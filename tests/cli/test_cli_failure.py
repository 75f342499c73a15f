import errno

import click
import pytest

from m3amba_geo.cli.failure import explain
from m3amba_geo.cli.jsonlines import jsonable
from m3amba_geo.errors import CancelledError, NoOverlapError, RelayedError


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (KeyboardInterrupt(), "cancelled", 130),
        (CancelledError("Stopped."), "cancelled", 130),
        (click.BadParameter("no"), "usage", 2),
        (click.FileError("f"), "usage", 2),
        (MemoryError(), "out-of-memory", 3),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out-of-memory", 3),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9"), "out-of-memory", 3),
        (RuntimeError("MPS backend out of memory"), "out-of-memory", 3),
        (OSError(errno.ENOSPC, "No space left on device"), "disk-full", 3),
        (OSError(errno.EIO, "I/O error"), "internal", 1),
        (RuntimeError("shape mismatch"), "internal", 1),
        (SystemExit(0), "internal", 1),
    ],
)
def test_explain(error, code, status):
    known = explain(error)
    assert (known.code, known.exit_status) == (code, status)
    assert str(known)
    assert known.hint


def test_our_errors_stay_as_they_are():
    error = NoOverlapError("a and b do not overlap.", "Check them.")
    assert explain(error) is error


def test_whatever_follows_a_cancel_is_its_consequence():
    assert explain(RuntimeError("torn"), cancelled=True).code == "cancelled"


def test_what_ended_another_process_is_not_a_cancel_though_torchrun_has_sent_a_signal():
    error = RelayedError("disk-full", 3, "Process 1: The disk is full.", "Free some space.")
    assert explain(error, cancelled=True) is error
    assert (error.code, error.exit_status) == ("disk-full", 3)


def test_jsonable():
    np = pytest.importorskip("numpy")
    value = {1: np.float32("nan"), "a": np.arange(2), "b": (np.int64(3), float("-inf"), True)}
    assert jsonable(value) == {"1": None, "a": [0, 1], "b": [3, None, True]}
    with pytest.raises(TypeError):
        jsonable(object())
