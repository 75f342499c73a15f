"""Linear layers that keep what their input is made from, not the input itself.

Most of what a block would keep for its gradients are inputs of matrix products: a normalised,
gated or activated tensor beside the one it came from. Making it again costs a pass over memory;
keeping it costs that memory through the whole step. The product itself is not done again.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def linear_of(
    make: Callable[..., Tensor], sources: tuple[Tensor, ...], weight: Tensor, bias: Tensor | None
) -> Tensor:
    """Returns `linear(make(*sources), weight, bias)`, keeping only the sources for its gradients.

    Args:
        make: Cheap, without randomness; every tensor that wants a gradient is among its arguments.
        sources: What it is called with.
        weight: `(O, X)`, X the last dimension of what it makes.
        bias: `(O,)`.
    """
    if not torch.is_grad_enabled():
        return F.linear(make(*sources), weight, bias)
    out: Tensor = _LinearOf.apply(make, weight, bias, *sources)
    return out


class _LinearOf(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        make: Callable[..., Tensor],
        weight: Tensor,
        bias: Tensor | None,
        *sources: Tensor,
    ) -> Tensor:
        ctx.make, ctx.biased = make, bias is not None
        ctx.save_for_backward(weight, *sources)
        device = weight.device.type
        ctx.autocast = (device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        return F.linear(make(*sources), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        weight, *sources = ctx.saved_tensors
        wanted = ctx.needs_input_grad[3:]
        sources = [x.detach().requires_grad_(w) for x, w in zip(sources, wanted, strict=True)]
        device, dtype, enabled = ctx.autocast
        with torch.enable_grad(), torch.autocast(device, dtype, enabled):
            made = ctx.make(*sources)
        rows, g = made.detach().flatten(0, -2), gradient.flatten(0, -2)
        to_weight = (g.T @ rows.to(g.dtype)).to(weight.dtype)
        to_bias = g.sum(0, dtype=weight.dtype) if ctx.biased else None
        back = (gradient @ weight.to(gradient.dtype)).to(made.dtype)
        asked = [x for x in sources if x.requires_grad]
        found = iter(torch.autograd.grad(made, asked, back))
        return None, to_weight, to_bias, *(next(found) if w else None for w in wanted)
