"""Selective scan over four directions, and the one place that picks who does it.

Letters: `B` batch, `H`, `W` sides of the token grid, `I` inner channels, `S` states, `R` rank of
the step size, `K = 4` directions.
"""

from typing import Protocol, get_args

import torch
from torch import Tensor

from m3amba_geo.config import ScanName
from m3amba_geo.errors import ScanUnavailableError
from m3amba_geo.model.scan import cpu, mamba_ssm, reference, triton


class Backend(Protocol):
    """What a module of this folder that scans looks like."""

    def cross_scan(
        self, u: Tensor, dt: Tensor, weight: Tensor, bias: Tensor,
        A: Tensor, B: Tensor, C: Tensor, D: Tensor,
    ) -> Tensor:  # fmt: skip
        """Scans a grid of tokens, as `cross_scan` below."""

    def why_not(self) -> str:
        """Says why it does not run here; empty if it does."""


_BACKENDS: dict[str, Backend] = {
    "cpu": cpu,
    "triton": triton,
    "mamba_ssm": mamba_ssm,
    "reference": reference,
}
# Backends made for a type of device, the fastest first; the reference runs on any.
_MADE_FOR: dict[str, tuple[str, ...]] = {"cpu": ("cpu",), "cuda": ("triton", "mamba_ssm")}
_chosen: ScanName = "auto"


def availability() -> dict[str, str]:
    """Say of every backend, by name, why it can't be used; an empty string where it can."""
    return {name: backend.why_not() for name, backend in _BACKENDS.items()}


def passed_over(device: torch.device) -> dict[str, str]:
    """Say of the backends that would be faster on a device than the one in use why they are not.

    Empty where the fastest one is in use, or where another was asked for.
    """
    if _chosen != "auto":
        return {}
    reasons = {}
    for name in _MADE_FOR.get(device.type, ()):
        reason = _BACKENDS[name].why_not()
        if not reason:
            break
        reasons[name] = reason
    return reasons


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
    if name != "auto" and (reason := _BACKENDS[name].why_not()):
        raise ScanUnavailableError(
            f"The scan backend {name!r} does not run here: {reason}.", _hint()
        )
    if name not in ("auto", "reference", *_MADE_FOR.get(device.type, ())):
        raise ScanUnavailableError(f"The scan backend {name!r} can't run on {device}.", _hint())
    _chosen = name
    return _resolve(device, torch.float32)


def cross_scan(
    u: Tensor, dt: Tensor, weight: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
) -> Tensor:
    """Scan a grid of tokens in four directions and sum the results in image order.

    In each direction `h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t`, `y_t = <C_t, h_t> + D u_t`,
    with `delta_t = softplus(weight dt_t + bias)`. The directions: rows, columns, rows reversed,
    columns reversed.

    Args:
        u: Input, (B, H, W, I).
        dt: Low rank of the step size, (B, H, W, K, R); may be a strided view.
        weight: From there to channels, (K, I, R).
        bias: What is added to it, (K, I).
        A: State decay, negative, (K, I, S).
        B: Input to state, (B, H, W, K, S); may be a strided view.
        C: State to output, (B, H, W, K, S); may be a strided view.
        D: Skip, (K, I).

    Returns:
        The sum over the directions, (B, H, W, I), in the dtype of u. States are float32 at least.
    """
    with torch.autocast(u.device.type, enabled=False):
        return _BACKENDS[_resolve(u.device, u.dtype)].cross_scan(u, dt, weight, bias, A, B, C, D)


def _resolve(device: torch.device, dtype: torch.dtype) -> str:
    """Name of the backend for tensors of this device and dtype under the installed choice."""
    # Only the reference computes in float64.
    fits = () if dtype == torch.float64 else _MADE_FOR.get(device.type, ())
    for name in fits:
        if _chosen in ("auto", name) and not _BACKENDS[name].why_not():
            return name
    return "reference"


def _hint() -> str:
    usable = [name for name, reason in availability().items() if not reason]
    return f"Use auto, or of these: {', '.join(usable)}. `m3amba-geo doctor` says what is missing."
