"""Runs a recipe: `python -m training.run NAME [--methods A,B] [--seeds 0,1] [--few 5] [--anew]`.

Trains and scores our network and the baselines on the same pixels and keeps every finished run in
training/results/NAME.json at once. What is there already is not run again, so that a long recipe
can be spread over several sittings, and over several processes: the same command, started as often
as there are cores for, shares the runs out.
"""

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from m3amba_geo.errors import M3ambaError, OutputBusyError, UsageError
from m3amba_geo.events import Event, Listener, Warned
from m3amba_geo.events import Progress as ProgressEvent
from m3amba_geo.files import locked
from training.bench.record import RESULTS, circumstances
from training.cases import Case, Scene, cases, read_scene
from training.methods import Budget, run
from training.recipe import Recipe, read_recipe
from training.results import Results
from training.table import to_table

RUNS = Path(__file__).parent / "runs"
CONSOLE = Console(stderr=True)
COMMA = re.compile(r",(?![^\[]*\])")  # not within a list, as in m3amba+neighbourhoods=[5,11]


@click.command()
@click.argument("name")
@click.option("--methods", help="Some of the recipe's methods, or others, parted by commas.")
@click.option("--seeds", help="Some of the seeds, parted by commas; all by default.")
@click.option("--few", help="Some labels a class of a learning curve, parted by commas.")
@click.option("--anew", is_flag=True, help="Run them again, and replace what there is of them.")
@click.option("--quick", is_flag=True, help="A few steps for each net, kept beside the models.")
def main(
    name: str, methods: str | None, seeds: str | None, few: str | None, anew: bool, quick: bool
) -> None:
    """Runs the recipe NAME and prints its table."""
    command = " ".join(["python -m training.run", *sys.argv[1:]])
    try:
        recipe = read_recipe(name)
        chosen = tuple(COMMA.split(methods)) if methods else recipe.protocol.methods
        numbers = _numbers(seeds) or range(recipe.protocol.seeds)
        curve = _numbers(few) or [*recipe.protocol.few, None]
        if unknown := set(curve) - {*recipe.protocol.few, None}:
            raise UsageError(
                f"{name} has no such labels a class: {unknown}.", f"It has {recipe.protocol.few}."
            )
        path = RUNS / "quick" / f"{name}.json" if quick else RESULTS / f"{name}.json"
        results = Results(path, recipe, {"command": command} | circumstances())
        with _shown() as emit:
            scene = read_scene(recipe.scene, emit)
            for case in cases(scene, recipe.protocol, numbers):
                for method in chosen if case.few in curve else ():
                    if anew or not results.has(method, case):
                        with suppress(OutputBusyError):  # another process is at it
                            _finish(results, recipe, method, scene, case, anew, quick, emit)
    except M3ambaError as error:
        raise click.ClickException(f"{error} {error.hint}") from error
    Console().print(to_table(results))


def _numbers(text: str | None) -> list[int]:
    return [int(n) for n in text.split(",")] if text else []


def _finish(
    results: Results,
    recipe: Recipe,
    method: str,
    scene: Scene,
    case: Case,
    anew: bool,
    quick: bool,
    emit: Listener,
) -> None:
    """Runs one method on one case and keeps what it came to.

    Raises:
        OutputBusyError: Another process runs it.
    """
    few, seed, fold = case.key
    folder = RUNS / ("quick" if quick else "full") / recipe.name / f"{method}-{few}-{seed}-{fold}"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "run"):
        results.refresh()
        if not anew and results.has(method, case):
            return  # just finished by another process
        started = time.monotonic()
        outcome = run(method, scene, case, Budget(recipe.train, folder, quick, emit))
        row = results.add(method, scene, case, outcome, time.monotonic() - started)
    which = f"seed {seed}, fold {fold}" + (f", {few} labels a class" if few else "")
    time_taken = "resumed" if row["seconds"] is None else f"{row['seconds']:.0f} s"
    CONSOLE.print(f"{method} ({which}): OA {row['overall_accuracy']:.1%}, {time_taken}")


@contextmanager
def _shown() -> Iterator[Listener]:
    """Shows progress and warnings on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=CONSOLE) as bar:
        task = bar.add_task("", visible=False)

        def show(event: Event) -> None:
            if isinstance(event, ProgressEvent):
                bar.update(
                    task,
                    total=event.total,
                    completed=event.done,
                    description=event.message,
                    visible=True,
                )
            elif isinstance(event, Warned):
                CONSOLE.print(event.message, style="yellow")

        yield show


if __name__ == "__main__":
    main()
