"""The scan on the CPU: compiled kernels, a few threads, and gradients of its own.

Letters: `B` batch, `H`, `W` sides of the token grid, `N` chunks of 16 channels, `S` states,
`K = 4` directions, `M` blocks of tokens.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

LANES = 16
# Tokens of a block. The backward pass finds one state a block and works out the others.
BLOCK = 32
# Chunks whose dB and dC one thread sums. Fixed, so that no sum depends on the number of threads.
GROUP = 8
LOG2_E = 1.4426950408889634


@lru_cache(maxsize=1)
def why_not() -> str:
    """Say why the compiled scan does not run here; empty if it does. The first call compiles it."""
    try:
        # Lazily: the import takes a second, and numba may be missing or not fit this Python.
        from m3amba_geo.model.scan import kernels  # noqa: F401

        one = torch.ones(1, 1, 1, 1)
        cross_scan(one, one[None], one[0], one[None], one[None], one[0, 0])
    except Exception as error:
        return f"numba can't compile it ({type(error).__name__}: {error})"
    return ""


def cross_scan(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Scan four directions in float32; shapes as in `m3amba_geo.model.scan.cross_scan`."""
    channels, dtype = u.shape[-1], u.dtype
    u, dt, A, B, C, D = (x.float() for x in (u, dt, A, B, C, D))
    if idle := -channels % LANES:  # channels that fill the last vector and touch nothing else
        u, dt, D = (functional.pad(x, (0, idle)) for x in (u, dt, D))
        A = functional.pad(A, (0, 0, 0, idle))
    # Inside the function neither can be asked: there gradients are always off.
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in (u, dt, A, B, C, D))
    y: Tensor = _CrossScan.apply(keep, u, dt, A, B, C, D)  # (B, H, W, N*16)
    return y[..., :channels].to(dtype)


class _CrossScan(torch.autograd.Function):
    """The scan and its gradients, for channels that are a multiple of 16; all float32."""

    @staticmethod
    def forward(ctx: Any, keep: bool, *inputs: Tensor) -> Tensor:  # noqa: ANN401
        from m3amba_geo.model.scan import kernels

        u, dt, A, B, C, D = (x.contiguous() for x in inputs)
        batch, height, width, channels = u.shape
        K, _, S = A.shape
        chunks, blocks = channels // LANES, -(-height * width // BLOCK)
        grid = (batch, height, width, chunks, S, K, BLOCK)
        A2 = (A * LOG2_E).view(K, chunks, LANES, S).transpose(2, 3).contiguous()  # (K, N, S, 16)
        # Nothing is saved where no gradient is wanted.
        saved = torch.empty(batch * chunks * keep, K, blocks, S, LANES)  # (B*N, K, M, S, 16)
        y = torch.empty_like(u)
        _share(kernels.forward, batch * chunks, (grid, GROUP), u, dt, A2, B, C, D, y, saved)
        ctx.save_for_backward(u, dt, A2, B, C, D, saved)
        ctx.grid = grid
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        from m3amba_geo.model.scan import kernels

        u, dt, A2, B, C, D, saved = ctx.saved_tensors
        batch, chunks = ctx.grid[0], ctx.grid[3]
        groups = -(-chunks // GROUP)
        inputs = (gy.contiguous(), u, dt, A2, B, C, D, saved)
        gu, gdt = torch.empty_like(u), torch.empty_like(dt)
        gA, gD = torch.zeros(batch, *A2.shape), torch.zeros(batch, *D.shape)
        gB, gC = torch.empty(groups, *B.shape), torch.empty(groups, *C.shape)
        outputs = (gu, gdt, gA, gB, gC, gD)
        _share(kernels.backward, batch * groups, (ctx.grid, GROUP), *inputs, *outputs)
        gA = gA.sum(0).transpose(2, 3).flatten(1, 2)  # (K, I, S)
        return None, gu, gdt, gA, gB.sum(0), gC.sum(0), gD.sum(0)


def _share(
    kernel: Callable[..., None], jobs: int, settings: tuple[Any, ...], *tensors: Tensor
) -> None:
    """Share jobs out to as many threads as torch uses; none depends on which thread does it.

    Plain threads around kernels that let go of the interpreter lock, not numba's own: those abort
    when two threads call at once (workqueue) or after a fork (OpenMP).
    """
    arrays = [x.detach().numpy().reshape(-1) for x in tensors]
    threads = max(1, min(torch.get_num_threads(), jobs))
    shares = list(pairwise(jobs * i // threads for i in range(threads + 1)))
    others = [_pool(os.getpid()).submit(kernel, *share, *settings, *arrays) for share in shares[1:]]
    kernel(*shares[0], *settings, *arrays)
    for other in others:
        other.result()


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process. A forked child has none of its parent's: hence the argument."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="scan")
