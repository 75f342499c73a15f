"""Small things made directly: stacks in memory, models without training."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from affine import Affine
from odc.geo.geobox import GeoBox

from m3amba_geo.bundle import Bundle, Manifest, Scaling
from m3amba_geo.config import NetworkConfig
from m3amba_geo.events import Progress
from m3amba_geo.geo.align import Stack, TrainedModality
from m3amba_geo.geo.area import GridRecord
from m3amba_geo.geo.bands import Band
from m3amba_geo.geo.features import Features
from m3amba_geo.geo.legend import LandCover
from m3amba_geo.geo.marks import Marks
from m3amba_geo.geo.runs import Runs
from m3amba_geo.geo.stats import BandStatistics
from m3amba_geo.learn.patches import UNLABELLED, LabelledScene
from m3amba_geo.model import build


@dataclass(frozen=True, eq=False)
class ArrayModality:
    """A modality whose pixels `(C, H, W)` and validity `(H, W)` are at hand."""

    name: str
    pixels: np.ndarray
    valid: np.ndarray

    @property
    def chosen(self):
        return tuple(range(len(self.pixels)))

    def read(self, window):
        part = tuple(slice(*ends) for ends in window.toranges())
        return self.pixels[(slice(None), *part)], self.valid[part]


def stack_of(*modalities, invalid=None, dropout=0.0):
    """Returns a stack of arrays `(C, H, W)`; `invalid` maps a modality's number to a mask."""
    invalid = invalid or {}
    shape = modalities[0].shape[1:]
    opened = [
        ArrayModality(
            f"m{n}",
            pixels.astype(np.float32),
            ~invalid.get(n, np.zeros(shape, bool)),
        )
        for n, pixels in enumerate(modalities)
    ]
    return Stack(GeoBox(shape, Affine(10, 0, 0, 0, -10, 0), "EPSG:32632"), opened, dropout)


def runs_of(mask):
    """Returns a mask `(H, W)` as a training area holds it."""
    return Runs.of(np.flatnonzero(mask))


def mask_of(runs, shape):
    """Returns the mask `(H, W)` of a part of a training area."""
    mask = np.zeros(shape, bool)
    for pixels in runs.parts(1 << 20):
        mask.flat[pixels] = True
    return mask


def used_by(area):
    """Returns the pixels `(H, W)` that training has seen in either way."""
    return mask_of(area.train, area.shape) | mask_of(area.validation, area.shape)


def marks_of(classes):
    """Returns the pixels of `(H, W)` that have a class; the others are below 0."""
    pixels = np.flatnonzero(classes >= 0)
    return Marks(classes.shape, pixels, classes.ravel()[pixels].astype(np.int32))


def scene_of(stack, train, validation):
    """A labelled scene from arrays `(H, W)` of class indices, -1 elsewhere."""
    return LabelledScene(stack, marks_of(train), marks_of(validation))


def as_they_are(*bands):
    """Features that are the pixels themselves, for modalities of so many bands."""
    return [Features(BandStatistics(np.zeros(count), np.ones(count))) for count in bands]


def two_sides(side, *, validation=True, invalid=None):
    """A labelled scene of two classes, left and right, that the first modality tells apart."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((side, side))
    truth = columns // (side // 2)
    pixels = truth * 2 - 1 + rng.normal(0, 0.5, (3, side, side))
    other = rng.normal(0, 1, (1, side, side))
    held_out = rows >= 3 * side // 4
    train = np.where(held_out, UNLABELLED, truth)
    held = np.where(held_out & validation, truth, UNLABELLED)
    return scene_of(stack_of(pixels, other, invalid=invalid), train, held)


class Interrupted(KeyboardInterrupt):
    """Someone has stopped a job."""


def stop_after(done, phase="training"):
    """Returns a listener that stops a job after so much of a phase."""

    def emit(event):
        if isinstance(event, Progress) and (event.phase, event.done) == (phase, done):
            raise Interrupted

    return emit


def legend_of(*codes):
    return tuple(LandCover(c, f"class {c}", f"#{c % 251:02x}8040", str(c)) for c in codes)


def bundle_of(bands, codes=(1, 2, 3), *, patch=16, areas=(), seed=0, **network):
    """A model that was never trained; its classes follow the pixels all the same.

    Args:
        bands: Bands of each modality, by its name.
        codes: Codes of the legend.
    """
    torch.manual_seed(seed)
    counts = tuple(bands.values())
    shape = {"width": 8, "depth": 1, "states": 4, "embedding": 0} | network
    config = NetworkConfig(counts, len(codes), patch=patch, **shape)
    model = build(config).eval()
    with torch.no_grad():
        model.fused_head.conv.weight.mul_(5)
    manifest = Manifest(
        network=config,
        modalities=tuple(TrainedModality(n, (Band(""),) * count) for n, count in bands.items()),
        scaling=tuple(Scaling((0.0,) * count, (1.0,) * count) for count in counts),
        legend=legend_of(*codes),
        guide=None,
        grids=tuple(GridRecord.of(area.grid) for area in areas),
        resolution=(30.0, 30.0),
        split=("by polygon",),
        scores={},
        settings={},
        versions={},
        inputs={},
        scan="cpu",
        created="2000-01-01T00:00:00+00:00",
    )
    return Bundle(manifest, model, {}, tuple(areas))


def with_manifest(bundle, **changes):
    return replace(bundle, manifest=replace(bundle.manifest, **changes))
