"""The truth that other backends are held against: plain torch, any device, gradients by autograd.

Letters: `B` batch, `H`, `W` sides of the token grid, `L = H*W` tokens, `T` tokens of one piece,
`I` inner channels, `S` states, `K = 4` directions.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

DIRECTIONS = 4
PIECE = 32


def why_not() -> str:
    """Says nothing: it runs anywhere."""
    return ""


def cross_scan(
    u: Tensor, dt: Tensor, weight: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
) -> Tensor:
    """Scan four directions, token after token; shapes as in `m3amba_geo.model.scan.cross_scan`.

    Decays are multiplied up one token at a time: a prefix product with its inverse would be faster,
    but overflows as soon as a state forgets within a piece.
    """
    height, width = u.shape[1:3]
    image_dtype, dtype = u.dtype, torch.promote_types(u.dtype, torch.float32)
    image, A, D = u.to(dtype), A.to(dtype), D.to(dtype)
    steps = step_sizes(dt.to(dtype), weight.to(dtype), bias.to(dtype))  # (K, B, H, W, I)
    u = torch.stack([unroll(image, k) for k in range(DIRECTIONS)])  # (K, B, L, I)
    delta = torch.stack([unroll(steps[k], k) for k in range(DIRECTIONS)])  # (K, B, L, I)
    delta = functional.softplus(delta)
    B, C = (
        torch.stack([unroll(x[:, :, :, k].to(dtype), k) for k in range(DIRECTIONS)]) for x in (B, C)
    )  # (K, B, L, S)

    state = torch.zeros(*u.shape[:2], *A.shape[1:], dtype=dtype, device=u.device)  # (K, B, I, S)
    scan: Callable[..., tuple[Tensor, Tensor]] = _scan_piece
    if torch.is_grad_enabled():
        # What a piece holds for its backward pass is S times its input: it is worked out again.
        scan = partial(checkpoint, scan, use_reentrant=False, preserve_rng_state=False)
    pieces = []
    for start in range(0, u.shape[2], PIECE):
        tokens = slice(start, start + PIECE)
        inputs = (state, u[:, :, tokens], delta[:, :, tokens], A, B[:, :, tokens], C[:, :, tokens])
        y, state = scan(*inputs)
        pieces.append(y)
    y = torch.cat(pieces, 2) + D[:, None, None] * u  # (K, B, L, I)
    images = [roll_up(y[k], k, height, width) for k in range(DIRECTIONS)]
    return torch.stack(images).sum(0).to(image_dtype)  # (B, H, W, I)


def _scan_piece(
    h: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor
) -> tuple[Tensor, Tensor]:
    """Scan a piece from the state h, (K, B, I, S); return y, (K, B, T, I), and the last state."""
    decay = torch.exp(delta[..., None] * A[:, None, None])  # (K, B, T, I, S)
    inflow = (delta * u)[..., None] * B[:, :, :, None]  # (K, B, T, I, S)
    states = []
    for a, x in zip(decay.unbind(2), inflow.unbind(2), strict=True):
        h = a * h + x
        states.append(h)
    return (torch.stack(states, 2) @ C[..., None])[..., 0], h  # (K, B, T, I), (K, B, I, S)


def step_sizes(dt: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Step sizes before softplus, for backends that don't work them out in passing.

    `(B, H, W, K, R), (K, I, R), (K, I) -> (K, B, H, W, I)`, in the dtype of dt.
    """
    # The bias rides along as one more column: added by `baddbmm` it costs a pass over memory.
    rows = functional.pad(dt.permute(3, 0, 1, 2, 4), (0, 1), value=1.0)  # (K, B, H, W, R+1)
    columns = torch.cat([weight, bias[..., None]], 2).to(dt.dtype)  # (K, I, R+1)
    steps = torch.bmm(rows.flatten(1, 3), columns.transpose(1, 2))  # (K, B*H*W, I)
    return steps.unflatten(1, rows.shape[1:4])  # (K, B, H, W, I)


def unroll(image: Tensor, k: int) -> Tensor:
    """Put the tokens of an image, (B, H, W, X), in the order of direction k, (B, L, X)."""
    tokens = (image.transpose(1, 2) if k % 2 else image).flatten(1, 2)  # (B, L, X)
    return tokens.flip(1) if k >= 2 else tokens


def roll_up(tokens: Tensor, k: int, height: int, width: int) -> Tensor:
    """Put tokens in the order of direction k, (B, L, X), back to an image, (B, H, W, X)."""
    if k >= 2:
        tokens = tokens.flip(1)
    if k % 2:
        return tokens.reshape(-1, width, height, tokens.shape[2]).transpose(1, 2)  # (B, H, W, X)
    return tokens.reshape(-1, height, width, tokens.shape[2])  # (B, H, W, X)
