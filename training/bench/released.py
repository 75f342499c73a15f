"""The network in the arrangement of the released code, as a plain baseline for the benchmarks.

Written from what network.md states of its behaviour: in every crossing both streams go through all
of the block, the mirrored output of z included, which is then thrown away; each scan copies
its inputs in four orders, writes out the step sizes, and goes token by token. The kept results are
those of `m3amba_geo.model`, whose parameters it shares (tests/training/test_released.py).

Letters: `B` batch, `H`, `W` sides, `L = H*W` tokens, `E` width, `I = 2E`, `K = 4` directions, `S`
states, `R` rank of the step size.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m3amba_geo.model.blocks import CrossBlock, FuseBlock
from m3amba_geo.model.m3amba import M3amba
from m3amba_geo.model.scan import cross_scan
from m3amba_geo.model.scan.reference import roll_up, unroll

# u, dt (both (B, K*I, L)), A (K*I, S), B, C (both (B, K, S, L)), D (K*I,) -> y (B, K*I, L);
# softplus is its own. The signature is that of mamba-ssm's `selective_scan_fn`.
Scan = Callable[..., Tensor]


def token_by_token(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_softplus: bool = True
) -> Tensor:
    """The selective scan of one order of tokens as the equations state it."""
    delta = F.softplus(dt) if delta_softplus else dt
    channels = u.shape[1] // B.shape[1]
    h = torch.zeros(*u.shape[:2], A.shape[1], device=u.device)  # (B, K*I, S)
    outputs = []
    for t in range(u.shape[2]):
        b, c = (x[..., t].repeat_interleave(channels, 1) for x in (B, C))  # (B, K*I, S)
        h = torch.exp(delta[..., t, None] * A) * h + (delta[..., t] * u[..., t])[..., None] * b
        outputs.append((h * c).sum(-1))
    return torch.stack(outputs, -1) + D[:, None] * u


class Released(nn.Module):
    """The network, rearranged; parameters that the published weights hold in vain are random."""

    def __init__(self, network: M3amba, scan: Scan = token_by_token) -> None:
        super().__init__()
        self.network = network
        width, states = network.config.width, network.config.states
        inner, rank = 2 * width, -(-width // 16)
        # One set serves all blocks: what it makes has no effect on any kept result.
        self.dead_rows = nn.Parameter(torch.randn(4, rank + states, inner) * inner**-0.5)
        self.dead_inputs = nn.Parameter(torch.randn(4, states, inner) * inner**-0.5)
        self.scan = scan

    def forward(self, patches: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """For each modality `(B, C_n, P, P)` -> logits of each `(B, Q, P, P)`, and the fused."""
        network = self.network
        streams = [embed(x) for embed, x in zip(network.embeddings, patches, strict=True)]
        z = torch.stack(streams).sum(0)  # (B, H, W, E)
        for step, fuse in enumerate(network.fusion):
            streams = [
                self._cross(blocks[step], s, z)[0]
                for blocks, s in zip(network.streams, streams, strict=True)
            ]
            z = self._fuse(fuse, torch.stack(streams).sum(0))  # (B, H, W, E)
        logits = [head(s) for head, s in zip(network.heads, streams, strict=True)]
        return logits, network.fused_head(z)

    def _fuse(self, block: FuseBlock, x: Tensor) -> Tensor:
        scan = block.scan
        u, gate = scan.in_proj(block.norm(x)).chunk(2, -1)  # (B, H, W, I) each
        u = scan.conv(u)
        rows = _project(_orders(u), scan.x_proj.weight)  # (B, K, L, R+2S)
        dt, b, c = rows.split(scan.sizes, -1)
        y = self._scan(scan, u, dt, -torch.exp(scan.A_log), b, c)
        return self._close(block, x, y, gate)

    def _cross(self, block: CrossBlock, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        scan = block.scan
        halves = [scan.in_proj(block.norm(s)).chunk(2, -1) for s in (x, z)]
        (u, x_gate), (v, z_gate) = halves  # (B, H, W, I) each
        u, v = scan.conv(u), scan.conv(v)
        own = torch.cat([scan.x_proj.weight, self.dead_inputs], 1)  # (K, R+2S, I)
        other = torch.cat([self.dead_rows, scan.z_proj.weight], 1)
        rank, states = scan.sizes
        x_dt, x_c, x_b = _project(_orders(u), own).split([rank, states, states], -1)
        z_dt, z_c, z_b = _project(_orders(v), other).split([rank, states, states], -1)
        decay = -(torch.exp(scan.A_log_x) + torch.exp(scan.A_log_z)) / 2  # (K, I, S)
        kept = self._scan(scan, u, x_dt, decay, z_b, x_c)
        thrown_away = self._scan(scan, v, z_dt, decay, x_b, z_c)
        return self._close(block, x, kept, x_gate), self._close(block, z, thrown_away, z_gate)

    def _scan(
        self, scan: nn.Module, u: Tensor, dt: Tensor, A: Tensor, b: Tensor, c: Tensor
    ) -> Tensor:
        height, width = u.shape[1:3]
        steps = torch.einsum("bklr,kir->bkil", dt, scan.step.weight) + scan.step.bias[..., None]
        y = self.scan(
            _orders(u).transpose(2, 3).flatten(1, 2).contiguous(),  # (B, K*I, L)
            steps.to(u.dtype).flatten(1, 2).contiguous(),  # autocast's; the bias is float32
            A.flatten(0, 1).contiguous(),
            b.transpose(2, 3).contiguous(),  # (B, K, S, L)
            c.transpose(2, 3).contiguous(),
            scan.D.flatten(),
            delta_softplus=True,
        )  # (B, K*I, L)
        y = y.unflatten(1, (4, -1)).transpose(2, 3)  # (B, K, L, I)
        return sum(roll_up(y[:, k], k, height, width) for k in range(4))

    def _close(self, block: CrossBlock | FuseBlock, x: Tensor, y: Tensor, gate: Tensor) -> Tensor:
        x = x + block.scan.out_proj(block.scan.out_norm(y) * F.silu(gate))
        return x + block.mlp(x, block.norm2)


class ReleasedOnOurs(Released):
    """The same on our own scan, for where no other kernel is at hand; the copies stay."""

    def _scan(
        self, scan: nn.Module, u: Tensor, dt: Tensor, A: Tensor, b: Tensor, c: Tensor
    ) -> Tensor:
        def back(orders: Tensor) -> Tensor:  # (B, K, L, X) -> (B, H, W, K, X)
            return torch.stack([roll_up(orders[:, k], k, *u.shape[1:3]) for k in range(4)], 3)

        image = back(_orders(u).contiguous())[:, :, :, 0]  # (B, H, W, I), after four copies
        weights = (scan.step.weight, scan.step.bias)
        return cross_scan(image, back(dt), *weights, A, back(b), back(c), scan.D)


def _orders(image: Tensor) -> Tensor:
    """An image `(B, H, W, X)` in the four orders of tokens, `(B, K, L, X)`."""
    return torch.stack([unroll(image, k) for k in range(4)], 1)


def _project(orders: Tensor, weight: Tensor) -> Tensor:
    """`(B, K, L, I), (K, X, I) -> (B, K, L, X)`."""
    return torch.einsum("bkli,kxi->bklx", orders, weight)
