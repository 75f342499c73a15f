"""Which device does the work; chosen once, reported, never swapped in silence."""

import ctypes
import platform
from collections.abc import Callable

import torch

from m3amba_geo.config import Device, Precision
from m3amba_geo.errors import DeviceUnavailableError
from m3amba_geo.events import Listener, Note, Warned


def choose_device(name: Device, emit: Listener) -> torch.device:
    """Returns the device asked for; `auto` takes CUDA where there is one, else the CPU.

    On CUDA float32 is then float32 in convolutions, too, which PyTorch would round to 10 bits: the
    logits of the authors' code would be missed by 3e-4 of their size.

    Raises:
        DeviceUnavailableError: A device was named that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available[name]:
        raise DeviceUnavailableError(
            f"The device '{name}' is not available here.",
            "Run `m3amba-geo doctor` to see why, or use --device auto.",
        )
    if name == "mps":
        emit(Warned("device-untried", f"This version has not been tried on the device '{name}'."))
    if name == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    emit(Note(f"Device: {name}, {torch.get_num_threads()} CPU threads."))
    return torch.device(name)


def choose_precision(name: Precision, device: torch.device, emit: Listener) -> torch.dtype:
    """Returns the type of matrix products; `auto` takes bfloat16 on CUDA, float32 elsewhere.

    On a CPU bfloat16 is faster, but a map's last digits would depend on the batch size there, so
    it is for those who ask for it.

    Raises:
        DeviceUnavailableError: bfloat16 was asked for and the device computes it slowly or not.
    """
    if name == "fp32" or (name == "auto" and device.type != "cuda"):
        return torch.float32
    native: dict[str, Callable[[], bool]] = {
        "cpu": torch.ops.mkldnn._is_mkldnn_bf16_supported,
        "cuda": native_bf16,
    }
    if device.type not in native or not native[device.type]():
        if name == "auto":
            return torch.float32
        raise DeviceUnavailableError(
            f"The device '{device}' has no bfloat16 arithmetic.", "Use --precision fp32."
        )
    emit(Note("Precision: bf16."))
    return torch.bfloat16


def native_bf16() -> bool:
    """Whether the GPU has bfloat16 arithmetic; older ones only make believe, slowly."""
    return torch.cuda.is_bf16_supported(including_emulation=False)


def encoder_precision(device: torch.device, *, gradients: bool) -> torch.dtype:
    """Returns the type in which a frozen image encoder computes.

    On CUDA that is fp16, as released, where nothing is learnt through it. Gradients of its input
    are too small for fp16, most of them 0: they take bfloat16, or float32 on an older GPU.
    """
    if device.type != "cuda":
        return torch.float32
    if not gradients:
        return torch.float16
    return torch.bfloat16 if native_bf16() else torch.float32


_MMAP_THRESHOLD = -3  # of glibc's mallopt
_LARGE = 4 * 2**20  # bytes


def return_memory() -> None:
    """Makes large blocks go back to the system as soon as they are free.

    glibc keeps them, and in a training step they lie between tensors that live long: half as much
    memory again. Every block then has to be filled with pages anew, which takes its time. Other
    allocators are left as they are.
    """
    if _is_glibc():
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)


def trim_memory() -> None:
    """Gives memory that is free now back to the system, once.

    Each thread has a heap of its own in glibc, in which holes pile up between what the others still
    use. Other allocators are left as they are.
    """
    if _is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Returns the context in which matrix products have that precision."""
    return torch.autocast(device.type, precision, enabled=precision is not torch.float32)
