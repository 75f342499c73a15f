"""Trains a net as a careful user would: a fixed budget, and nothing chosen by looking.

Every training pixel trains; no validation pixels are held back. The budget is `STEPS` steps of
AdamW with warm-up and a cosine to 0, the same for all scenes, and the averaged weights of the last
step are the ones scored. So no label outside the training pixels has any influence. It trains on a
GPU where there is one, in float32 like on a CPU.

Letters: B batch, C bands, P patch side, Q classes.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.cases import Case, Scene
from training.outcome import Outcome

STEPS, QUICK_STEPS = 1500, 4
BATCH, PATCH = 16, 24
RATE, DECAY, WARM_UP = 2e-3, 0.05, 0.05
AVERAGE = 0.99
NOISE = 0.1  # standard deviations of a band
LIMIT = 10.0  # standard deviations; beyond lie broken detectors
UNLABELLED = -1

Codes = NDArray[np.uint16]
Watch = Callable[[int, Callable[[], Codes]], None]
"""Is told the number of each finished step, and how to have the scene mapped by its weights."""


def net(
    build: Callable[[int, int], nn.Module], watch: Watch = lambda step, mapped: None
) -> Callable[[Scene, Case, bool], Outcome]:
    """Returns the method: this net, trained on the patches around training pixels."""

    def run(scene: Scene, case: Case, quick: bool) -> Outcome:
        known = np.unique(case.codes[case.train])
        torch.manual_seed(case.seed)
        bands = scaled(scene, case)
        model = build(bands.shape[0], len(known)).to(_device())
        steps = QUICK_STEPS if quick else STEPS

        def mapped(averaged: nn.Module) -> Codes:
            codes: Codes = known[predict(averaged, bands)]
            return codes

        averaged = train(
            model, bands, _classes(case, known), case.seed, steps,
            lambda step, averaged: watch(step, lambda: mapped(averaged)),
        )  # fmt: skip
        weights = sum(p.numel() for p in model.parameters())
        return Outcome(mapped(averaged)[case.test], {"steps": steps, "weights": weights})

    return run


def scaled(scene: Scene, case: Case) -> NDArray[np.float32]:
    """Returns all bands in deviations from the training pixels' mean, 0 if invalid, `(C,H,W)`."""
    bands = np.concatenate(scene.pixels)
    inside = bands[:, case.train].astype(np.float64)
    mean, deviation = inside.mean(axis=1), inside.std(axis=1)
    deviation[deviation == 0] = 1
    bands = (bands - mean[:, None, None]) / deviation[:, None, None]
    return (np.clip(bands, -LIMIT, LIMIT) * scene.valid).astype(np.float32)


def train(
    model: nn.Module,
    bands: NDArray[np.float32],
    classes: NDArray[np.int64],
    seed: int,
    steps: int,
    watch: Callable[[int, nn.Module], None] = lambda step, averaged: None,
) -> nn.Module:
    """Trains a net and returns its averaged weights as a net.

    Args:
        model: Maps `(B, C, P, P)` to `(B, Q, P, P)`.
        bands: `(C, H, W)`.
        classes: `(H, W)` class index of training pixels, `UNLABELLED` elsewhere.
        seed: Of patches and noise.
        steps: Steps to take.
        watch: Is told the number of each finished step, and the averaged weights as a net.
    """
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=steps + 1, pct_start=WARM_UP, cycle_momentum=False
    )
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE), use_buffers=True)
    rng = np.random.default_rng([seed, 1])
    device = next(model.parameters()).device
    model.train()
    for step in range(steps):
        patches, truth = (part.to(device) for part in batch(bands, classes, rng))
        loss = functional.cross_entropy(model(patches), truth, ignore_index=UNLABELLED)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        averaged.update_parameters(model)
        watch(step + 1, averaged)
    return averaged


def batch(
    bands: NDArray[np.float32], classes: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Returns patches `(B, C, P, P)` and their classes `(B, P, P)`, turned, mirrored, with noise.

    Each patch lies at random around a training pixel drawn at random.
    """
    rows, columns = np.nonzero(classes != UNLABELLED)
    patches, truths = [], []
    for chosen in rng.integers(len(rows), size=BATCH):
        top, left = (
            int(np.clip(center - rng.integers(PATCH), 0, max(0, side - PATCH)))
            for center, side in zip((rows[chosen], columns[chosen]), classes.shape, strict=True)
        )
        part = (slice(top, top + PATCH), slice(left, left + PATCH))
        turns, mirrored = int(rng.integers(4)), rng.integers(2)
        patch, truth = _fill(bands[(slice(None), *part)], 0), _fill(classes[part], UNLABELLED)
        patch, truth = (np.rot90(a, turns, (-2, -1)) for a in (patch, truth))
        patches.append(disturb(patch[..., ::-1] if mirrored else patch, rng))
        truths.append(truth[..., ::-1] if mirrored else truth)
    return torch.from_numpy(np.stack(patches)), torch.from_numpy(np.stack(truths))


def disturb(patch: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Returns `(C, P, P)` with noise of random strength in every pixel and a shift of each band."""
    strength = np.float32(NOISE * rng.random())
    shift = np.float32(NOISE) * rng.standard_normal((patch.shape[0], 1, 1), np.float32)
    return patch + strength * rng.standard_normal(patch.shape, np.float32) + shift


@torch.no_grad()
def predict(model: nn.Module, bands: NDArray[np.float32]) -> NDArray[np.int64]:
    """Returns the class index of every pixel, `(H, W)`, from one pass over the whole scene."""
    model.eval()
    scene = torch.from_numpy(bands)[None].to(next(model.parameters()).device)
    found: NDArray[np.int64] = model(scene)[0].argmax(0).cpu().numpy()
    return found


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _classes(case: Case, known: NDArray[np.uint16]) -> NDArray[np.int64]:
    index = np.searchsorted(known, case.codes).astype(np.int64)
    return np.where(case.train, index, UNLABELLED)


def _fill(array: NDArray, value: float) -> NDArray:
    """Pads the last two axes to the side of a patch, where a scene is smaller than one."""
    short = [(0, PATCH - side) for side in array.shape[-2:]]
    return np.pad(array, [(0, 0)] * (array.ndim - 2) + short, constant_values=value)
