"""The scan on CUDA by Triton: the host's side, which cuts the work, launches it and sums up.

Letters: `B` batch, `H`, `W` sides of the token grid, `L = H*W` tokens, `I` channels, `S` states,
`K = 4` directions, `M` spans of tokens, `G` blocks of 32 channels, `T` tokens of a group.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from m3amba_geo.model.scan.reference import step_sizes

LANES = 32
# Tokens of a group, for outputs, and for gradients: these hold all states of a group in registers,
# of which 4 tokens take 255 (read off the compiled code for compute capability 9.0).
GROUP, GROUP_BACK = 8, 4
# Warps for each processor of the chip: below the first, tokens are cut into spans, for which every
# exponential is taken twice, to have the second number of warps.
FEW, ENOUGH = 4, 8
# Groups of the shortest span.
SHORTEST = 4
LOG2_E = 1.4426950408889634
K = 4


@lru_cache(maxsize=1)
def why_not() -> str:
    """Say why the Triton scan does not run here; empty if it does. The first call compiles it."""
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    if find_spec("triton") is None:
        return "triton is not installed (pip install triton)"
    try:
        with torch.inference_mode(False), torch.enable_grad():
            one = torch.ones(1, 1, 1, 1, device="cuda", requires_grad=True)
            rows, A, D = one.expand(1, 1, 1, K, 1), -one[0].expand(K, 1, 1), one[0, 0].expand(K, 1)
            cross_scan(one, rows, -A, D, A, rows, rows, D).sum().backward()
            torch.cuda.synchronize()
    except Exception as error:
        return f"triton can't compile it ({type(error).__name__}: {error})"
    return ""


def cross_scan(
    u: Tensor, dt: Tensor, weight: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
) -> Tensor:
    """Scan four directions, states in float32; shapes as in `m3amba_geo.model.scan.cross_scan`.

    float32, bfloat16 and float16 are read as they are; others are converted to float32.
    """
    read = (torch.float32, torch.bfloat16, torch.float16)
    dtype = u.dtype
    u, dt, B, C = (x if x.dtype in read else x.float() for x in (u, dt, B, C))
    steps = step_sizes(dt, weight, bias)  # (K, B, H, W, I)
    y: Tensor = _CrossScan.apply(u, steps, A.float(), B, C, D.float())  # (B, H, W, I)
    return y.to(dtype)


@dataclass(frozen=True)
class _Plan:
    """Sizes of a scan, and how its tokens are cut."""

    batch: int
    height: int
    width: int
    channels: int
    states: int
    processors: int

    @property
    def blocks(self) -> int:
        return -(-self.channels // LANES)

    @property
    def length(self) -> int:
        """Tokens of a span, a multiple of T."""
        tokens, warps = self.height * self.width, self.batch * self.blocks
        cuts = 1 if warps >= FEW * self.processors else -(-ENOUGH * self.processors // warps)
        return max(SHORTEST, -(-tokens // (cuts * GROUP))) * GROUP

    @property
    def spans(self) -> int:
        return -(-self.height * self.width // self.length)

    @property
    def sizes(self) -> tuple[int, ...]:
        """What kernels are told, from the batch on."""
        image = (self.batch, self.height, self.width, self.channels, self.states)
        return (*image, self.spans, self.length)

    @property
    def options(self) -> dict[str, Any]:
        power = 1 << (self.states - 1).bit_length()
        return {"P": power, "num_warps": 1, "enable_fp_fusion": True}


class _CrossScan(torch.autograd.Function):
    """The scan and its gradients. Only inputs are kept for the backward pass, and span states."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        u: Tensor,
        dt: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor,
    ) -> Tensor:
        from m3amba_geo.model.scan import triton_kernels as kernels

        batch, height, width, channels = u.shape
        plan = _Plan(batch, height, width, channels, A.shape[2], _processors(u.device))
        u, dt = u.contiguous(), dt.contiguous()
        B, C = (x.flatten(1, 2) for x in (B, C))  # (B, L, K, S), a view where it can be
        A2 = (A * LOG2_E).transpose(1, 2).contiguous()  # (K, S, I)
        skip = D.sum(0)  # (I,), each direction adds D_k u
        strides = (*B.stride(), *C.stride())
        with _on(u.device):
            starts = _starts(plan, u, dt, A2, B, back=False)
            # The sum over directions grows in float32, and only the last one rounds it.
            partial = torch.empty_like(u, dtype=torch.float32)
            y = partial if u.dtype == torch.float32 else torch.empty_like(u)
            for k in range(K):
                before, after = partial if k else None, y if k == K - 1 else partial
                kernels.walk[plan.blocks, plan.spans, plan.batch](
                    u, dt, A2, B, C, skip, starts, None, before, after,
                    k, *plan.sizes, *strides, T=GROUP, **plan.options,
                )  # fmt: skip
        ctx.save_for_backward(u, dt, A2, B, C, skip, starts)
        ctx.plan = plan
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        from m3amba_geo.model.scan import triton_kernels as kernels

        u, dt, A2, B, C, skip, starts = ctx.saved_tensors
        plan, gy = ctx.plan, gy.contiguous()
        strides, groups = (*B.stride(), *C.stride()), -(-plan.height * plan.width // GROUP_BACK)

        def empty(*shape: int) -> Tensor:
            return torch.empty(*shape, dtype=torch.float32, device=u.device)

        with _on(u.device):
            ends = _starts(plan, gy, dt, A2, C, back=True)
            checks = empty(plan.batch, groups, plan.states, plan.channels)
            partial = torch.empty_like(u, dtype=torch.float32)
            gu = partial if u.dtype == torch.float32 else torch.empty_like(u)
            gdt, gA, gB, gC = (torch.empty_like(x) for x in (dt, A2, B, C))
            spans_gA = empty(plan.batch * plan.spans, *A2.shape[1:])
            blocks_gB, blocks_gC = (
                empty(plan.blocks, *B.shape[:2], plan.states) for _ in range(2)
            )  # (G, B, L, S)
            for k in range(K):
                before, after = partial if k else None, gu if k == K - 1 else partial
                kernels.walk[plan.blocks, plan.spans, plan.batch](
                    u, dt, A2, B, C, skip, starts, checks, None, None,
                    k, *plan.sizes, *strides, T=GROUP_BACK, **plan.options,
                )  # fmt: skip
                kernels.reverse[plan.blocks, plan.spans, plan.batch](
                    gy, u, dt, A2, B, C, skip, checks, ends, before, after,
                    gdt, spans_gA, blocks_gB, blocks_gC,
                    k, *plan.sizes, *strides, T=GROUP_BACK, **plan.options,
                )  # fmt: skip
                gA[k] = spans_gA.sum(0)
                gB[:, :, k], gC[:, :, k] = blocks_gB.sum(0), blocks_gC.sum(0)
        gD = (gy.float() * u.float()).sum((0, 1, 2)).expand(K, -1)  # (K, I), no direction differs
        image = (plan.batch, plan.height, plan.width, K, plan.states)
        return gu, gdt, gA.transpose(1, 2), gB.view(image), gC.view(image), gD


def _starts(
    plan: _Plan, x: Tensor, dt: Tensor, A2: Tensor, matrix: Tensor, *, back: bool
) -> Tensor | None:
    """States before the spans, (K, B, M, S, I); None where there is one span, from zeros."""
    from m3amba_geo.model.scan import triton_kernels as kernels

    if plan.spans == 1:
        return None
    shape = (K, plan.batch, plan.spans, plan.states, plan.channels)
    states = torch.empty(shape, dtype=torch.float32, device=x.device)
    totals = states.new_empty(*shape[:3], plan.channels)
    kernels.summarise[plan.blocks, plan.spans, K * plan.batch](
        x, dt, A2, matrix, states, totals,
        *plan.sizes, *matrix.stride(), T=GROUP, BACK=back, **plan.options,
    )  # fmt: skip
    kernels.carry[plan.blocks, 1, K * plan.batch](
        states, totals, A2, plan.batch, plan.channels, plan.states, plan.spans,
        BACK=back, **plan.options,
    )  # fmt: skip
    return states


def _processors(device: torch.device) -> int:
    """Processors of the chip; one where Triton's interpreter stands in for it."""
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def _on(device: torch.device) -> torch.cuda.device:
    """Launch on this device, not on the current one."""
    return torch.cuda.device(device if device.type == "cuda" else -1)
