"""The scan on the CPU: compiled kernels, a few threads, and gradients of its own.

Letters: `B` batch, `H`, `W` sides of the token grid, `L = H*W` tokens, `N` chunks of 16 channels, `I` inner
channels, `S` states, `K = 4` directions, `T` tokens between two saved states.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

LANES = 16
BLOCK = 16
GROUP = 4
LOG2_E = 1.4426950408889634


@lru_cache(maxsize=1)
def why_not() -> str:
    """Say why the compiled scan does not run here; empty if it does."""
    try:
        from m3amba_geo.model.scan import kernels  # noqa: F401
    except Exception as error:
        return f"numba can't be used ({error})"
    return ""


def cross_scan(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Scan four directions in float32; shapes as in `m3amba_geo.model.scan.cross_scan`."""
    channels = u.shape[-1]
    inputs = [x.float() for x in (u, dt, A, B, C, D)]
    if short := -channels % LANES:  # channels that fill the last vector and touch nothing
        u, dt, A, B, C, D = inputs
        widen = [functional.pad(x, (0, short)) for x in (u, dt, D)]
        inputs = [*widen[:2], functional.pad(A, (0, 0, 0, short)), B, C, widen[2]]
    y: Tensor = _CrossScan.apply(*inputs)
    return y[..., :channels].to(u.dtype)


class _CrossScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        from m3amba_geo.model.scan import kernels

        u, dt, A, B, C, D = (x.contiguous() for x in inputs)
        batch, height, width, channels = u.shape
        K, _, S = A.shape
        chunks = channels // LANES
        grid = (batch, height, width, chunks, S, K, BLOCK)
        A2 = (A * LOG2_E).unflatten(1, (chunks, LANES)).transpose(2, 3).contiguous()  # (K, N, S, 16)
        blocks = -(-height * width // BLOCK)
        size = batch * chunks * K * blocks * S * LANES if any(ctx.needs_input_grad) else 0
        saved = torch.empty(size)
        y = torch.empty_like(u)
        scratch = torch.empty(batch * chunks, S + 3 * BLOCK, LANES)
        _run(kernels.forward, batch * chunks, grid, u, dt, A2, B, C, D, y, saved, scratch)
        ctx.save_for_backward(u, dt, A2, B, C, D, saved)
        ctx.grid = grid
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        from m3amba_geo.model.scan import kernels

        u, dt, A2, B, C, D, saved = ctx.saved_tensors
        batch, height, width, chunks, S, K, T = ctx.grid
        groups = -(-chunks // GROUP)
        gu, gdt = torch.empty_like(u), torch.empty_like(dt)
        gA = torch.empty(batch, *A2.shape)  # (B, K, N, S, 16)
        gB, gC = torch.empty(groups, *B.shape), torch.empty(groups, *C.shape)
        gD = torch.empty(batch, *D.shape)
        scratch = torch.empty(batch * groups, (GROUP + 1 + 4 * T) * S + 5 * T, LANES)
        inputs = (gradients[0].contiguous(), u, dt, A2, B, C, D, saved)
        outputs = (gu, gdt, gA, gB, gC, gD, scratch)
        _run(kernels.backward, batch * groups, (*ctx.grid, GROUP), *inputs, *outputs)
        gA = gA.sum(0).transpose(2, 3).flatten(1, 2)  # (K, I, S)
        return gu, gdt, gA, gB.sum(0), gC.sum(0), gD.sum(0)


def _run(kernel: Callable[..., None], jobs: int, grid: tuple[int, ...], *tensors: Tensor) -> None:
    """Share the jobs out to torch's number of threads. Which thread does a job has no influence on it."""
    arrays = [_flat(x) for x in tensors]
    threads = min(torch.get_num_threads(), jobs)
    cuts = [jobs * i // threads for i in range(threads + 1)]
    shares = list(zip(cuts, cuts[1:], strict=False))
    waiting = [_pool(os.getpid()).submit(kernel, share, grid, *arrays) for share in shares[1:]]
    kernel(shares[0], grid, *arrays)
    for share in waiting:
        share.result()


def _flat(tensor: Tensor) -> "np.ndarray[Any, np.dtype[np.float32]]":
    array: np.ndarray[Any, np.dtype[np.float32]] = tensor.detach().numpy().reshape(-1)
    return array


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process: those of a parent are not there after a fork, hence the argument."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="scan")
