"""Selective scan over four directions, and the one place that picks who does it.

Letters: `B` batch, `H`, `W` sides of the token grid, `I` inner channels, `S` states, `K = 4`
directions.
"""

from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor

from m3amba_geo.config import ScanName
from m3amba_geo.errors import ScanUnavailableError
from m3amba_geo.model.scan import cpu, reference

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]

_BACKENDS: dict[str, Scan] = {"cpu": cpu.cross_scan, "reference": reference.cross_scan}
_chosen: ScanName = "auto"


def availability() -> dict[str, str]:
    """Say of every backend, by name, why it can't be used; an empty string where it can."""
    return {"cpu": cpu.why_not(), "reference": ""}


def choose(name: ScanName, device: torch.device) -> str:
    """Pick the backend for a device and install it as the one that `cross_scan` uses.

    Args:
        name: The backend asked for; `auto` takes the fastest one that works.
        device: Where the tensors will be.

    Returns:
        Name of the backend that will run, to be reported.

    Raises:
        ScanUnavailableError: The backend that was asked for does not run here.
    """
    global _chosen
    if name not in get_args(ScanName):
        raise ScanUnavailableError(f"No scan backend is called {name!r}.", _hint())
    if name == "cpu":
        if device.type != "cpu":
            raise ScanUnavailableError(f"The scan backend 'cpu' can't run on {device}.", _hint())
        if reason := cpu.why_not():
            raise ScanUnavailableError(
                f"The scan backend 'cpu' does not run here: {reason}.", _hint()
            )
    _chosen = name
    return _resolve(device, torch.float32)


def cross_scan(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Scan a grid of tokens in four directions and sum the results in image order.

    In each direction `h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t`, `y_t = <C_t, h_t> + D u_t`,
    with `delta = softplus(dt)`. The directions: rows, columns, rows reversed, columns reversed.

    Args:
        u: Input, (B, H, W, I).
        dt: Step size before softplus, its bias added, (K, B, H, W, I).
        A: State decay, negative, (K, I, S).
        B: Input to state, (B, H, W, K, S); may be a strided view.
        C: State to output, (B, H, W, K, S); may be a strided view.
        D: Skip, (K, I).

    Returns:
        The sum over the directions, (B, H, W, I), in the dtype of u. States are float32 at least.
    """
    with torch.autocast(u.device.type, enabled=False):
        return _BACKENDS[_resolve(u.device, u.dtype)](u, dt, A, B, C, D)


def _resolve(device: torch.device, dtype: torch.dtype) -> str:
    """Name of the backend for tensors of this device and dtype under the installed choice."""
    fits = device.type == "cpu" and dtype != torch.float64
    return "cpu" if _chosen != "reference" and fits and not cpu.why_not() else "reference"


def _hint() -> str:
    usable = [name for name, reason in availability().items() if not reason]
    return f"Use auto, or of these: {', '.join(usable)}. `m3amba-geo doctor` says what is missing."
