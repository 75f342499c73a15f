"""`m3amba-geo train`: rasters and ground truth in, a model out."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from m3amba_geo.cli.options import (
    FILE,
    RASTERS,
    command,
    config_option,
    grid_options,
    label_options,
    machine_options,
    network_option,
    program_options,
    setting,
    together,
)
from m3amba_geo.cli.run import Session, record
from m3amba_geo.cli.settings import NO_RASTERS_HINT, load
from m3amba_geo.errors import UsageError
from m3amba_geo.events import Listener
from m3amba_geo.geo.access import reach

if TYPE_CHECKING:
    from m3amba_geo.config import Config
    from m3amba_geo.jobs.train import TrainResults

SIZES = ("auto", "tiny", "small", "base")
GUIDES = ("auto", "clip", "none")
EMBEDDINGS = ("learned", "pca")
SPLITS = ("auto", "polygon", "block", "none")

EXAMPLES = """
    One raster, polygons with a field "class":
      m3amba-geo train image.tif --labels roi.shp --field class

    Two modalities, the first of them from three files, with the image encoder:
      m3amba-geo train vnir=b2.tif vnir=b3.tif vnir=b4.tif dem.tif --labels roi.gpkg --guide clip

    Rasters and everything else from m3amba.toml in this folder:
      m3amba-geo train --labels roi.shp

    After a power cut:
      m3amba-geo train image.tif --labels roi.shp --resume

    On four GPUs:
      torchrun --standalone --nproc-per-node 4 -m m3amba_geo train image.tif --labels roi.shp
"""

NETWORK_OPTIONS = together(
    setting(
        "--size",
        key="train.size",
        type=click.Choice(SIZES),
        usual="auto",
        help="Size of the network: auto chooses from labels, bands, pixels and device; base is the "
        "published one.",
    ),
    setting(
        "--guide",
        key="train.guide.mode",
        type=click.Choice(GUIDES),
        usual="auto",
        help="CLIP guide: clip may download weights, auto uses those that are here, none goes "
        "without.",
    ),
    setting(
        "--guide-architecture",
        key="train.guide.architecture",
        metavar="NAME",
        usual="ViT-B-32-quickgelu",
        help="Architecture in open_clip, QuickGELU included.",
    ),
    setting(
        "--guide-weights",
        key="train.guide.weights",
        type=FILE,
        metavar="FILE",
        help="Weights of the guide: .safetensors, or .pt with a state dict.",
    ),
    setting(
        "--embedding",
        key="train.guide.embedding",
        type=click.Choice(EMBEDDINGS),
        usual="learned",
        help="How bands become the guide's image: learned with the network, or principal "
        "components, which are encoded once and kept on disk: less work at each step.",
    ),
)


class Sides(click.ParamType):  # type: ignore[type-arg]
    """`3,7,15` or `none`, as a list of numbers."""

    name = "sides"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Returns what help shows."""
        return "N,N|none"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int]:
        """Returns the numbers; whether they will do is for the settings to tell."""
        try:
            return [] if value == "none" else [int(side) for side in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as 3,7,15.", param, ctx)


LEARNING_OPTIONS = together(
    setting(
        "--epochs",
        key="train.epochs",
        type=int,
        usual="chosen from the labels",
        help="Passes over all squares of 8 x 8 pixels with a training label.",
    ),
    setting(
        "--batch",
        key="train.batch",
        type=int,
        usual="8",
        help="Patches a step, of all processes together.",
    ),
    setting(
        "--patch",
        key="train.patch",
        type=int,
        usual="32",
        help="Side of the patches in pixels.",
    ),
    setting(
        "--neighbourhoods",
        key="train.neighbourhoods",
        type=Sides(),
        usual="3,7,15",
        help="Sides in pixels of the neighbourhoods that bands are averaged over; none shows the "
        "network bands as they are.",
    ),
    setting(
        "--seed",
        key="train.seed",
        type=int,
        usual="0",
        help="Seed of everything random: the same seed, the same model.",
    ),
    setting(
        "--threads",
        key="train.threads",
        type=int,
        usual="all",
        help="Threads of the processor.",
    ),
    setting(
        "--memory",
        key="train.memory",
        type=int,
        metavar="MIB",
        usual="a quarter of what is free",
        help="Working memory for pixels.",
    ),
    setting(
        "--recompute",
        key="train.recompute",
        is_flag=True,
        help="A third of the memory for up to twice the time: recompute what the gradients need.",
    ),
)

SPLIT_OPTIONS = together(
    setting(
        "--split",
        key="train.split.by",
        type=click.Choice(SPLITS),
        usual="auto",
        help="What is never torn between training and validation: polygons or blocks; none "
        "trains on every label.",
    ),
    setting(
        "--validation-share",
        key="train.split.validation",
        type=float,
        usual="0.2",
        help="Share of labels that decides when to stop.",
    ),
    setting(
        "--test-share",
        key="train.split.test",
        type=float,
        usual="0.0",
        help="Share of labels that training never sees.",
    ),
    setting(
        "--gap",
        key="train.split.gap",
        type=int,
        usual="16",
        help="Pixels between training and held-out labels.",
    ),
    setting(
        "--test-labels",
        key="scene.test_labels.path",
        type=FILE,
        metavar="FILE",
        help="Ground truth that training never sees, instead of --test-share.",
    ),
)


@command("train", EXAMPLES)
@RASTERS
@label_options("scene.labels")
@setting(
    "--out",
    key="train.out",
    type=FILE,
    metavar="FILE",
    usual="model.m3amba",
    help="Model file to write.",
)
@click.option("--overwrite", is_flag=True, help="Replace the model file if it exists.")
@click.option("--resume", is_flag=True, help="Go on with a training that was interrupted.")
@click.option("--init", type=FILE, metavar="MODEL", help="Fine-tune this model.")
@grid_options()
@SPLIT_OPTIONS
@NETWORK_OPTIONS
@LEARNING_OPTIONS
@machine_options("train")
@network_option()
@config_option()
@program_options()
@click.pass_obj
def train(
    session: Session, rasters: tuple[str, ...], overwrite: bool, resume: bool, init: Path | None
) -> None:
    """Trains a model on rasters and ground truth.

    NAME=a.tif NAME=b.tif put files into one modality, in this order; a raster without a name is a
    modality of its own. ./a=b.tif is a file of that name. All settings may stand in m3amba.toml.
    """
    config = load(rasters)
    _check(config)

    def work(emit: Listener) -> "TrainResults":
        from m3amba_geo.jobs import train as job

        with reach(network=config.allow_network):
            return job.run(
                config.scene, config.train, emit, resume=resume, init=init, overwrite=overwrite
            )

    session.run(work, record("Model"))


def _check(config: "Config") -> None:
    if not config.scene:
        raise UsageError("No rasters were named.", NO_RASTERS_HINT)
    for number, scene in enumerate(config.scene, start=1):
        if scene.labels is None:
            where = f" for scene {number}" if len(config.scene) > 1 else ""
            raise UsageError(
                f"No ground truth was named{where}.",
                "Name it with --labels FILE, or put `labels` into the [[scene]] of m3amba.toml.",
            )
