"""The scan by mamba-ssm's CUDA kernel, which knows one order of tokens: four copies, and a merge.

Letters: `B` batch, `H`, `W` sides of the token grid, `L = H*W` tokens, `I` channels, `S` states,
`K = 4` directions.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from m3amba_geo.model.scan.reference import DIRECTIONS, roll_up, step_sizes, unroll


@lru_cache(maxsize=1)
def why_not() -> str:
    """Say why mamba-ssm's scan does not run here; empty if it does."""
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    try:
        one = torch.ones(1, 1, 1, 1, device="cuda")
        rows, D = one.expand(1, 1, 1, DIRECTIONS, 1), one[0, 0].expand(DIRECTIONS, 1)
        A = -one[0].expand(DIRECTIONS, 1, 1)
        cross_scan(one, rows, -A, D, A, rows, rows, D).sum().item()
    except ImportError as error:
        return f"mamba-ssm is not installed ({error}; pip install mamba-ssm)"
    except Exception as error:
        return f"mamba-ssm's kernel fails ({type(error).__name__}: {error})"
    return ""


def cross_scan(
    u: Tensor, dt: Tensor, weight: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
) -> Tensor:
    """Scan four directions; shapes as in `m3amba_geo.model.scan.cross_scan`.

    The kernel takes u, dt, B and C in one dtype, that of u; its states are float32.
    """
    height, width = u.shape[1:3]
    y = _selective_scan()(
        _orders([u] * DIRECTIONS).flatten(1, 2),  # (B, K*I, L)
        _orders(list(step_sizes(dt.to(u.dtype), weight, bias))).flatten(1, 2),  # (B, K*I, L)
        A.float().flatten(0, 1).contiguous(),  # (K*I, S)
        _orders(list(B.to(u.dtype).unbind(3))),  # (B, K, S, L)
        _orders(list(C.to(u.dtype).unbind(3))),  # (B, K, S, L)
        D.float().flatten().contiguous(),  # (K*I)
        delta_softplus=True,
    )  # (B, K*I, L)
    y = y.unflatten(1, (DIRECTIONS, -1)).transpose(2, 3)  # (B, K, L, I)
    images = [roll_up(y[:, k], k, height, width) for k in range(DIRECTIONS)]
    return torch.stack(images).sum(0, dtype=torch.float32).to(u.dtype)  # (B, H, W, I)


def _orders(images: list[Tensor]) -> Tensor:
    """Images of the directions, (B, H, W, X) each, in their orders of tokens, (B, K, X, L)."""
    tokens = [unroll(image, k).transpose(1, 2) for k, image in enumerate(images)]  # (B, X, L)
    return torch.stack(tokens, 1)


def _selective_scan() -> Callable[..., Tensor]:
    """mamba-ssm's function, imported when it is first needed: it loads a CUDA extension."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    return selective_scan_fn
