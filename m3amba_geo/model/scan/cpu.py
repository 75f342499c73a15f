"""The scan on the CPU: compiled kernels, a few threads, and gradients of its own.

Letters: `B` batch, `H`, `W` sides of the token grid, `N` chunks of 16 channels, `S` states,
`R` rank of the step size, `K = 4` directions, `M` blocks of tokens.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

LANES = 16
# States that kernels hold in registers.
TOGETHER = 4
# Tokens of a block. The backward pass finds one state a block and works out the others.
BLOCK = 64
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
        matrix = one[None]  # a single direction is enough for the compiler
        cross_scan(one, matrix, one[0], one[0, 0], -one[0], matrix, matrix, one[0, 0])
    except Exception as error:
        return f"numba can't compile it ({type(error).__name__}: {error})"
    return ""


def cross_scan(
    u: Tensor, dt: Tensor, weight: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
) -> Tensor:
    """Scan four directions in float32; shapes as in `m3amba_geo.model.scan.cross_scan`.

    u and the result may be bfloat16: the kernels read and write it.
    """
    channels, dtype = u.shape[-1], u.dtype
    u = u if dtype == torch.bfloat16 else u.float()
    dt, weight, bias, A, B, C, D = (x.float() for x in (dt, weight, bias, A, B, C, D))
    if idle := -channels % LANES:  # channels that fill the last vector and touch nothing else
        u, bias, D = (functional.pad(x, (0, idle)) for x in (u, bias, D))
        weight, A = (functional.pad(x, (0, 0, 0, idle)) for x in (weight, A))
    if idle := -A.shape[2] % TOGETHER:  # states that stay zero
        A, B, C = (functional.pad(x, (0, idle)) for x in (A, B, C))
    # Inside the function neither can be asked: there gradients are always off.
    inputs = (u, dt, weight, bias, A, B, C, D)
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    y: Tensor = _CrossScan.apply(keep, *inputs)  # (B, H, W, N*16)
    return y[..., :channels].to(dtype)


class _CrossScan(torch.autograd.Function):
    """The scan and its gradients, for channels that are a multiple of 16 and states of 4."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        keep: bool,
        u: Tensor,
        dt: Tensor,
        weight: Tensor,
        bias: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor,
    ) -> Tensor:
        from m3amba_geo.model.scan import kernels

        batch, height, width, channels = u.shape
        K, _, S = A.shape
        chunks, blocks = channels // LANES, -(-height * width // BLOCK)
        grid = (batch, height, width, chunks, S, dt.shape[-1], K, BLOCK)
        u, bias = u.contiguous(), bias.contiguous()
        dt, B, C = (_rows(x) for x in (dt, B, C))
        weight, A2 = _by_chunk(weight), _by_chunk(A * LOG2_E)  # (K, N, R or S, 16)
        # Nothing is saved where no gradient is wanted.
        saved = torch.empty(batch * chunks * keep, K, blocks, S, LANES)  # (B*N, K, M, S, 16)
        inputs = (u, dt, weight, bias, A2, B, C, D.sum(0))
        y = torch.empty_like(u)
        settings = (grid, _strides(dt, B, C), GROUP)
        _share(kernels.forward, batch * chunks, settings, *inputs, y, saved)
        ctx.save_for_backward(*inputs, saved)
        ctx.grid = grid
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        from m3amba_geo.model.scan import kernels

        u, dt, weight, bias, A2, B, C, skip, saved = ctx.saved_tensors
        batch, K, groups = ctx.grid[0], ctx.grid[6], -(-ctx.grid[3] // GROUP)
        gu = torch.empty_like(u, dtype=torch.float32)
        gdt, gB, gC = (torch.empty(groups, *x.shape) for x in (dt, B, C))
        gweight, gbias, gA, gskip = (torch.zeros(batch, *x.shape) for x in (weight, bias, A2, skip))
        inputs = (gy.contiguous(), u, dt, weight, bias, A2, B, C, skip, saved)
        outputs = (gu, gdt, gweight, gbias, gA, gB, gC, gskip)
        settings = (ctx.grid, _strides(dt, B, C), GROUP)
        _share(kernels.backward, batch * groups, settings, *inputs, *outputs)
        gweight, gA = (x.sum(0).transpose(2, 3).flatten(1, 2) for x in (gweight, gA))  # (K, I, R|S)
        # No direction's D differs from another's.
        gD = gskip.sum(0).expand(K, -1)  # (K, I)
        return (
            None, gu.to(u.dtype), gdt.sum(0), gweight, gbias.sum(0), gA, gB.sum(0), gC.sum(0), gD,
        )  # fmt: skip


def _rows(x: Tensor) -> Tensor:
    """A tensor `(B, H, W, K, X)` whose tokens follow each other evenly, as it is where it does."""
    _, height, width, _, _ = x.shape
    rows, columns = x.stride(1), x.stride(2)
    even = rows == width * columns and x.stride(0) == height * rows and x.stride(4) == 1
    return x if even else x.contiguous()


def _strides(*rows: Tensor) -> tuple[int, ...]:
    """For each tensor the steps from a token to the next, and from a direction to the next."""
    return tuple(step for x in rows for step in (x.stride(2), x.stride(3)))


def _by_chunk(x: Tensor) -> Tensor:
    """`(K, I, X) -> (K, N, X, 16)`."""
    return x.unflatten(1, (-1, LANES)).transpose(2, 3).contiguous()


def _share(
    kernel: Callable[..., None], jobs: int, settings: tuple[Any, ...], *tensors: Tensor
) -> None:
    """Share jobs out to as many threads as torch uses; none depends on which thread does it.

    Plain threads around kernels that let go of the interpreter lock, not numba's own: those abort
    when two threads call at once (workqueue) or after a fork (OpenMP).
    """
    arrays = [_flat(x.detach()) for x in tensors]
    threads = max(1, min(torch.get_num_threads(), jobs))
    shares = list(pairwise(jobs * i // threads for i in range(threads + 1)))
    others = [_pool(os.getpid()).submit(kernel, *share, *settings, *arrays) for share in shares[1:]]
    kernel(*shares[0], *settings, *arrays)
    for other in others:
        other.result()


def _flat(x: Tensor) -> NDArray[Any]:
    """A tensor's memory from its first element on; bfloat16, which numpy lacks, as uint16."""
    if x.numel():
        reach = 1 + sum((size - 1) * step for size, step in zip(x.shape, x.stride(), strict=True))
        x = x.as_strided((reach,), (1,))
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy().reshape(-1)


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process. A forked child has none of its parent's: hence the argument."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="scan")
