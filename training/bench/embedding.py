"""A training step by the linear embedding before the encoder: `python -m training.bench.embedding`.

Whole trainings of one epoch, as `train` does them, on generated rasters of 66 bands in which every
pixel has a label: with a learned embedding, where each step goes through the encoder and back, and
with principal components, where every window is encoded beforehand. The encoder is a ViT-B/32 of
RANDOM weights: time does not depend on them, and accuracy is not measured here.
"""

import tempfile
import time
from pathlib import Path
from statistics import median

import click
import numpy as np
import open_clip
import torch

from m3amba_geo.config import (
    GuideConfig,
    ModalityConfig,
    NetworkConfig,
    SceneConfig,
    Size,
    TrainConfig,
)
from m3amba_geo.events import Event, Progress, ignore
from m3amba_geo.geo.align import Stack, open_stack
from m3amba_geo.geo.components import principal_components
from m3amba_geo.geo.features import scene_features
from m3amba_geo.geo.marks import Marks
from m3amba_geo.jobs.fixed_guide import set_components
from m3amba_geo.learn.embeddings import Embeddings, embed
from m3amba_geo.learn.loop import fit
from m3amba_geo.learn.patches import CELL, LabelledScene, Patches
from m3amba_geo.model import build
from m3amba_geo.model.guide import ClipGuide, Encoder, GuideIdentity
from m3amba_geo.model.guided import GuidedM3amba
from training.bench.map import BANDS, CLASSES, raster
from training.bench.network import show, timed
from training.bench.record import write

PATCH, SIDE, QUICK_SIDE = 32, 128, 40  # pixels
CPU = torch.device("cpu")


@click.command()
@click.option("--size", type=click.Choice(["tiny", "small", "base"]), default="tiny")
@click.option("--batch", default=8, show_default=True)
@click.option("--quick", is_flag=True, help="A few steps, to see that it runs; writes nothing.")
def main(size: Size, batch: int, quick: bool) -> None:
    """Measures a training step with a learned and with a fixed linear embedding."""
    side = QUICK_SIDE if quick else SIDE
    config = TrainConfig(size=size, batch=batch, epochs=1, class_balance=0.5, guide=GuideConfig())
    encoder = _encoder(config.guide.architecture)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = ((m, (raster(folder / f"{m}.tif", n, side),)) for m, n in BANDS.items())
        scene = SceneConfig(tuple(ModalityConfig(*named) for named in files))
        with open_stack(scene, ignore) as stack:
            figures = _measure(stack, encoder, config, folder)
    seconds, an_epoch = figures["seconds"], figures["steps_an_epoch"]
    learned, known = (an_epoch * seconds[f"step, {way}"] for way in ("learned", "pca"))
    ratios = {
        "epoch with pca / learned, the first": (known + seconds["encoding"]) / learned,
        "epoch with pca / learned, embeddings known": known / learned,
    }
    show(f"{size}, batch {batch}, ViT-B/32 of random weights", seconds, ratios)
    if not quick:
        about = {"size": size, "batch": batch, "encoder": encoder.identity.architecture}
        write("embedding", about | figures | {"ratios": ratios})


def _encoder(architecture: str) -> Encoder:
    torch.manual_seed(0)
    model = open_clip.create_model(architecture)  # nothing pretrained: weights are random
    identity = GuideIdentity(f"{architecture}, RANDOM weights", "", "random", 512)
    return Encoder(model.visual, identity)


def _measure(stack: Stack, encoder: Encoder, config: TrainConfig, folder: Path) -> dict:
    shape = stack.grid.shape
    everywhere = np.arange(shape[0] * shape[1])
    classes = np.random.default_rng(0).integers(0, CLASSES, len(everywhere)).astype(np.int32)
    nowhere = Marks(shape, everywhere[:0], classes[:0])
    scene = LabelledScene(stack, Marks(shape, everywhere, classes), nowhere)
    features = scene_features([stack], [everywhere], config.neighbourhoods)
    counts = tuple(modality.count for modality in features)
    network = NetworkConfig(counts, CLASSES, size=config.size, patch=PATCH)
    seconds = {}

    def step(guide: ClipGuide, patches: Patches, embeddings: Embeddings | None) -> float:
        """Returns the median seconds of a step."""
        torch.manual_seed(0)
        times = [time.perf_counter()]

        def hear(event: Event) -> None:
            if isinstance(event, Progress):
                times.append(time.perf_counter())

        fit(
            GuidedM3amba(build(network), guide), patches, config, CPU, hear,
            run="", checkpoint=folder / "checkpoint", resume=False, embeddings=embeddings,
        )  # fmt: skip
        return median(np.diff(times[1:]))  # before the first stands the rehearsal

    learned = Patches([scene], features, PATCH)
    seconds["step, learned"] = step(ClipGuide(encoder, network.bands), learned, None)
    guide = ClipGuide(encoder, network.bands).requires_grad_(False)
    set_components(guide, principal_components([stack], [everywhere], features))
    patches = Patches([scene], features, PATCH, CELL)
    found: list[Embeddings] = []
    for name in ("encoding", "reading what is known"):
        seconds[name] = timed(lambda: found.append(embed(guide, patches, folder / "kept", ignore)))
    windows = len(found[0].windows)
    seconds["encoding, a window"] = seconds["encoding"] / windows
    seconds["step, pca"] = step(guide, patches, found[-1])
    steps = -(-len(patches) // config.batch)
    return {"seconds": seconds, "windows": windows, "steps_an_epoch": steps}


if __name__ == "__main__":
    main()
