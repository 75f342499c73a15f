"""Device, scan backend and threads for a job: picked here, reported here."""

from importlib.metadata import PackageNotFoundError, version
from platform import python_version

import torch
from threadpoolctl import ThreadpoolController

from m3amba_geo import __version__
from m3amba_geo.config import Device, ScanName
from m3amba_geo.events import Listener, Note, Warned
from m3amba_geo.model import scan
from m3amba_geo.model.device import choose_device


def prepare(
    device: Device, backend: ScanName, threads: int | None, emit: Listener
) -> tuple[torch.device, str]:
    """Returns the device and the name of the scan backend that will run.

    Raises:
        DeviceUnavailableError: The device asked for is not there.
        ScanUnavailableError: The backend asked for does not run here.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    # numpy's products are those of features, small and beside the network: OpenBLAS's threads would
    # spend more time waiting for each other, on the cores that the network wants.
    ThreadpoolController().select(internal_api="openblas").limit(limits=1)
    chosen = choose_device(device, emit)
    name = scan.choose(backend, chosen)
    emit(Note(f"Scan backend: {name}."))
    for faster, reason in scan.passed_over(chosen).items():
        emit(
            Warned("scan-slow", f"The faster scan backend '{faster}' does not run here: {reason}.")
        )
    return chosen, name


def versions() -> dict[str, str]:
    """Returns the versions that decide what a model is worth later."""
    found = {"m3amba-geo": __version__, "python": python_version()}
    for package in ("torch", "numpy", "rasterio", "open_clip_torch", "numba"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
