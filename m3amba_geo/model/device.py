"""Which device does the work; chosen once, reported, never swapped in silence."""

import torch

from m3amba_geo.config import Device
from m3amba_geo.errors import DeviceUnavailableError
from m3amba_geo.events import Listener, Note, Warned


def choose_device(name: Device, emit: Listener) -> torch.device:
    """Returns the device asked for; `auto` takes CUDA where there is one, else the CPU.

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
    if name != "cpu":
        emit(Warned("device-untried", f"This version has not been tried on the device '{name}'."))
    emit(Note(f"Device: {name}, {torch.get_num_threads()} CPU threads."))
    return torch.device(name)
