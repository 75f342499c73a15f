"""A self-supervised warm-up on the scene's own pixels, labelled or not.

Before it sees a label the network fills in squares that are blanked out in one modality or in all,
as masked autoencoders do (He et al. 2022). Its heads are thrown away afterwards.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m3amba_geo.config import TrainConfig
from m3amba_geo.learn import loop
from m3amba_geo.learn.patches import Patches, Window
from m3amba_geo.model.guided import GuidedM3amba
from m3amba_geo.model.m3amba import Head

_SHARE = 0.5  # of the steps that training itself takes
_BLANK = 0.5  # of the squares
_SQUARE = 4  # pixels


@contextmanager
def warmed() -> Iterator[None]:
    """Lets every training begin with a warm-up, by half as many steps again."""
    fit = loop.fit

    def warm_and_fit(
        model: GuidedM3amba, patches: Patches, config: TrainConfig, *rest: object, **more: object
    ) -> loop.Fitted:
        if not more["resume"]:  # else the checkpoint has it
            _warm_up(model, patches, config, next(model.parameters()).device)
        return fit(model, patches, config, *rest, **more)  # type: ignore[arg-type]

    with patch("m3amba_geo.jobs.train.fit", warm_and_fit):
        yield


def _warm_up(
    model: GuidedM3amba, patches: Patches, config: TrainConfig, device: torch.device
) -> None:
    network = model.network
    width, bands = network.config.width, network.config.bands
    kept = network.heads, network.fused_head
    network.heads = nn.ModuleList(Head(width, count) for count in bands).to(device)
    network.fused_head = Head(width, sum(bands)).to(device)
    rng = np.random.default_rng([config.seed, 4])
    steps = round(_SHARE * loop.total_steps(len(patches), config))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=steps, pct_start=0.1
    )
    model.train()
    for _ in range(steps):
        whole = [p.to(device) for p in _anywhere(patches, config.batch, rng)]
        blanks = [_squares(p, rng).to(device) for p in whole]
        seen = [p * ~blank for p, blank in zip(whole, blanks, strict=True)]
        heads, fused = model(seen)
        losses = [_missed(h, p, b) for h, p, b in zip(heads, whole, blanks, strict=True)]
        parts = zip(fused.split(bands, 1), whole, blanks, strict=True)
        loss = sum(losses) + sum(_missed(*part) for part in parts)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    network.heads, network.fused_head = kept


def _anywhere(patches: Patches, count: int, rng: np.random.Generator) -> list[Tensor]:
    """Returns, for each modality, `(B, C, P, P)` of windows anywhere on the scenes."""
    drawn = []
    for _ in range(count):
        scene = int(rng.integers(len(patches.scenes)))
        highest = [max(side - patches.patch, 0) for side in patches.scenes[scene].train.shape]
        top, left = (int(rng.integers(last + 1)) for last in highest)
        drawn.append(patches.patch_at(Window(scene, top, left)))
    return [torch.from_numpy(np.stack(same)) for same in zip(*drawn, strict=True)]


def _squares(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Returns `(B, 1, P, P)` bool: squares to blank out, others in each modality."""
    side = -(-pixels.shape[-1] // _SQUARE)
    drawn = rng.random((len(pixels), 1, side, side)) < _BLANK
    whole = drawn.repeat(_SQUARE, -2).repeat(_SQUARE, -1)
    return torch.from_numpy(whole[..., : pixels.shape[-1], : pixels.shape[-1]])


def _missed(filled: Tensor, pixels: Tensor, blank: Tensor) -> Tensor:
    """Returns the mean error of what was blanked out, valid pixels or not (these are 0)."""
    return F.smooth_l1_loss(filled.float(), pixels, reduction="none")[
        blank.expand_as(pixels)
    ].mean()
