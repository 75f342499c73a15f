"""Options that several commands share, each written once.

Values are not checked here but by `m3amba_geo.config`, which is the same for `m3amba.toml`.
"""

import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from m3amba_geo.cli.run import Session
from m3amba_geo.cli.settings import Setting, remember_file

Function = Callable[..., Any]
Decorator = Callable[[Function], Function]

FILE = click.Path(path_type=Path)
RASTERS = click.argument("rasters", nargs=-1, metavar="[NAME=]RASTER...")
DEVICES = ("auto", "cpu", "cuda", "mps")
SCANS = ("auto", "reference", "cpu", "triton", "mamba_ssm")
PRECISIONS = ("auto", "fp32", "bf16")
RESAMPLINGS = ("nearest", "bilinear", "cubic", "average")


def command(name: str, examples: str) -> Callable[[Function], click.Command]:
    """Returns a decorator that makes a command whose help ends in examples."""
    lines = textwrap.indent(inspect.cleandoc(examples), "  ")
    # Click re-wraps every paragraph that does not begin with a backspace.
    return click.command(name, epilog=f"\b\nExamples:\n{lines}".replace("\n\n", "\n\n\b\n"))


def setting(*names: str, key: str, **attrs: Any) -> Decorator:  # noqa: ANN401 - click's
    """Returns a decorator that adds an option for one key of `m3amba.toml`."""
    return click.option(*names, cls=Setting, key=key, **attrs)


def together(*decorators: Decorator) -> Decorator:
    """Returns one decorator that adds options in the order given."""

    def decorate(function: Function) -> Function:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def grid_options() -> Decorator:
    """Where rasters are warped to, and how."""
    return together(
        setting(
            "--grid",
            key="scene.grid",
            type=FILE,
            metavar="RASTER",
            usual="the first modality's",
            help="Raster whose grid all others are warped onto.",
        ),
        setting(
            "--resampling",
            key="scene.resampling",
            type=click.Choice(RESAMPLINGS),
            usual="bilinear",
            help="How they are warped.",
        ),
    )


def label_options(table: str) -> Decorator:
    """Where ground truth comes from; `table` is the key of its table."""
    return together(
        setting(
            "--labels",
            key=f"{table}.path",
            type=FILE,
            metavar="FILE",
            help="Ground truth: a vector file, or a raster of class codes.",
        ),
        setting(
            "--field",
            key=f"{table}.field",
            metavar="NAME",
            help="Field with the class; may be left out where exactly one fits.",
        ),
        setting("--layer", key=f"{table}.layer", metavar="NAME", help="Layer of the vector file."),
        setting(
            "--name-field",
            key=f"{table}.name_field",
            metavar="NAME",
            help="Field with class names, where --field holds codes.",
        ),
        setting(
            "--color-field",
            key=f"{table}.color_field",
            metavar="NAME",
            help="Field with class colours such as #2d6a4f.",
        ),
        setting(
            "--legend",
            key=f"{table}.legend",
            type=FILE,
            metavar="CSV",
            help="Class names and colours: a file with the columns code,name,color.",
        ),
        setting(
            "--all-touched",
            key=f"{table}.all_touched",
            is_flag=True,
            help="Label every pixel that a polygon touches, not only those whose centre is inside.",
        ),
    )


def machine_options(table: str) -> Decorator:
    """What computes; `table` is the table of the command."""
    return together(
        setting(
            "--device",
            key=f"{table}.device",
            type=click.Choice(DEVICES),
            usual="auto",
            help="Where to compute.",
        ),
        setting(
            "--scan",
            key=f"{table}.scan",
            type=click.Choice(SCANS),
            usual="auto",
            help="Backend of the selective scan.",
        ),
        setting(
            "--precision",
            key=f"{table}.precision",
            type=click.Choice(PRECISIONS),
            usual="auto",
            help="Of matrix products; auto is bf16 on CUDA and fp32 elsewhere.",
        ),
    )


def network_option() -> Decorator:
    """Whether inputs may lie on servers."""
    return setting(
        "--allow-network",
        key="allow_network",
        is_flag=True,
        help="Read rasters and labels from servers, too (https:, s3:, /vsicurl/ and the like).",
    )


def config_option() -> Decorator:
    """The file of settings."""
    return click.option(
        "--config",
        type=FILE,
        metavar="FILE",
        expose_value=False,
        callback=remember_file,
        help="Settings; options override them. [default: m3amba.toml, if there]",
    )


def program_options() -> Decorator:
    """How another program runs a command (docs/backend-protocol.md)."""
    return together(
        click.option(
            "--json",
            "as_json",
            is_flag=True,
            expose_value=False,
            help="Write one JSON event a line to standard output, and nothing else there.",
        ),
        click.option(
            "--cancel-on-stdin",
            is_flag=True,
            expose_value=False,
            callback=_watch_stdin,
            help='Cancel on a line {"cancel":true} on standard input, or on its end.',
        ),
    )


def _watch_stdin(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        session = context.find_object(Session)
        assert session is not None
        session.cancellation.watch(0)
