"""`m3amba-geo evaluate`: a map and ground truth in, its accuracy out."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from m3amba_geo.cli.options import (
    FILE,
    command,
    config_option,
    label_options,
    network_option,
    program_options,
    setting,
)
from m3amba_geo.cli.run import Session
from m3amba_geo.cli.settings import load
from m3amba_geo.events import Listener
from m3amba_geo.geo.access import reach

if TYPE_CHECKING:
    from rich.console import Console

    from m3amba_geo.assess.evaluation import Evaluation

EXAMPLES = """
    Labels that training never saw:
      m3amba-geo evaluate map.tif --labels check.gpkg --field class

    The labels of a training with --test-share: pixels that trained the model are left out:
      m3amba-geo evaluate map.tif --labels roi.shp --report accuracy.json --html accuracy.html

    Points drawn at random over the map: accuracy and areas with intervals:
      m3amba-geo evaluate map.tif --labels sample.gpkg --field class --probability-sample

    A map that lost its sidecar:
      m3amba-geo evaluate map.tif --labels roi.shp --model model.m3amba
"""


@command("evaluate", EXAMPLES)
@click.argument("map_path", metavar="MAP", type=FILE)
@label_options("evaluate.labels")
@setting(
    "--model",
    key="evaluate.model",
    type=FILE,
    metavar="MODEL",
    help="Model that made the map: says which pixels trained it, where the sidecar is lost.",
)
@setting(
    "--report",
    key="evaluate.report",
    type=FILE,
    metavar="JSON",
    help="Write all numbers to this file.",
)
@setting(
    "--html",
    key="evaluate.html",
    type=FILE,
    metavar="HTML",
    help="Write a page to read or send: settings, picture, confusion matrix, classes.",
)
@setting(
    "--overwrite",
    key="evaluate.overwrite",
    is_flag=True,
    help="Replace reports that exist.",
)
@setting(
    "--probability-sample",
    key="evaluate.probability_sample",
    is_flag=True,
    help="The labels are points drawn at random, from all of MAP or from each of its classes: "
    "estimate accuracy and areas of the whole map.",
)
@setting(
    "--allow-train-overlap",
    key="evaluate.allow_train_overlap",
    is_flag=True,
    help="Score pixels that trained the model, too.",
)
@network_option()
@config_option()
@program_options()
@click.pass_obj
def evaluate(session: Session, map_path: Path) -> None:
    """Compares MAP with ground truth, training pixels left out."""
    config = load(evaluate=True)
    settings = config.evaluate
    assert settings is not None

    def work(emit: Listener) -> "Evaluation":
        from m3amba_geo.jobs import evaluate as job

        with reach(network=config.allow_network):
            return job.run(map_path, settings, emit)

    session.run(work, _render, to_json=_to_json)


def _render(evaluation: "Evaluation", console: "Console") -> None:
    from m3amba_geo.assess.report import to_table

    console.print(to_table(evaluation))


def _to_json(evaluation: "Evaluation") -> Mapping[str, Any]:
    from m3amba_geo.assess.report import to_json

    return to_json(evaluation)
