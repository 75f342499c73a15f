"""Assessment of a map against labels that its model has not seen."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio import Env

from m3amba_geo import __version__
from m3amba_geo.assess.accuracy import assess
from m3amba_geo.assess.evaluation import Evaluation
from m3amba_geo.assess.picture import lattice, map_picture
from m3amba_geo.assess.report import to_html, to_json
from m3amba_geo.config import EvaluateConfig
from m3amba_geo.errors import NoLabelsError, TrainOverlapError
from m3amba_geo.events import Artifact, Listener, Metric, Started, Warned
from m3amba_geo.files import check_apart, check_output, write_text
from m3amba_geo.geo.area import TrainingArea, leaves_trace, reached
from m3amba_geo.geo.codes import CodeRaster, open_codes
from m3amba_geo.geo.labels import Labels, read_labels, with_others
from m3amba_geo.geo.legend import GREY, MAX_CODE, LandCover, Legend
from m3amba_geo.geo.marks import Positions, inside
from m3amba_geo.geo.raster import Mask, same_place
from m3amba_geo.jobs.origin import classes_of, origin_of
from m3amba_geo.jobs.sampled import (
    Population,
    check_codes,
    check_sample,
    classes_met,
    noting,
    with_estimates,
)
from m3amba_geo.jobs.sidecar import Sidecar, sidecar_path

_CACHE = 64 * 2**20  # bytes that GDAL may keep: every tile is read once
_FEW = 0.05  # a test set smaller than this share of the training set decides nothing
_PARTING = 0.05  # accuracy near training may exceed that far from it by this much unremarked


def run(map_path: Path, config: EvaluateConfig, emit: Listener) -> Evaluation:
    """Scores a map.

    Pixels that trained the model, or chose when its training stopped, are left out and counted.

    Args:
        map_path: GeoTIFF of class codes.
        config: Labels, reports, options.
        emit: Told of everything on the way.

    Raises:
        TrainOverlapError: It is unknown which pixels trained the model, or none is left.
        M3ambaError: Inputs or outputs are not fit.
    """
    emit(Started("evaluate", __version__))
    outputs = [path for path in (config.report, config.html) if path is not None]
    models = [] if config.model is None else [config.model]
    check_apart(outputs, [map_path, sidecar_path(map_path), *config.labels.inputs, *models])
    for output in outputs:
        check_output(output, overwrite=config.overwrite)
    with Env(GDAL_CACHEMAX=_CACHE), open_codes(map_path) as raster:
        origin = origin_of(map_path, config)
        marks = _marks(map_path, origin)
        check_apart(outputs, [*raster.files, *filter(None, [marks])])
        own, areas = classes_of(raster, origin, config), _areas(origin, config)
        sampled, notes = config.probability_sample, list[str]()
        known = with_others(own, config.labels, raster.names) if sampled else own
        hear = noting(emit, notes) if sampled else emit
        labels = read_labels(config.labels, raster.grid, known, hear, grouped=False)
        if sampled:
            check_sample(labels)
        legend = classes_met(labels, own, hear) if sampled else own
        population = Population(raster.grid, areas) if sampled else None
        survey = _survey(raster, labels.pixels, emit, population)
        check_codes([cover for cover in legend if cover not in own], survey.codes)
        legend = _with_codes_of_map(legend, survey.codes, raster.names)
        parts = {} if marks is None else _parts(marks, labels, emit)
    evaluation = _evaluate(labels, survey.mapped, parts, legend, areas, origin)
    if population is not None:
        evaluation = with_estimates(evaluation, population, labels.grid, notes)
    evaluation = _described(evaluation, map_path, config, origin)
    accuracy = evaluation.accuracy
    for name, value in (("overall_accuracy", accuracy.overall), ("kappa", accuracy.kappa)):
        if value is not None:
            emit(Metric(name, value))
    _write_reports(evaluation, survey.picture, config, emit)
    return evaluation


@dataclass(frozen=True, eq=False)
class _Survey:
    """What is taken from a map.

    Attributes:
        codes: Those that occur, ascending, without 0.
        mapped: Codes of the labelled pixels (N,), 0 where the map has none.
        picture: Codes of the pixels that `picture.thin` takes, `(h, w)`.
    """

    codes: NDArray[np.int64]
    mapped: NDArray[np.uint16]
    picture: NDArray[np.uint16]


def _survey(
    raster: CodeRaster, pixels: Positions, emit: Listener, population: Population | None = None
) -> _Survey:
    """Reads a map once, a block at a time; the population is counted on the way."""
    occurs = np.zeros(MAX_CODE + 1, np.bool_)
    mapped = np.zeros(pixels.size, np.uint16)
    rows, columns = (
        np.arange(side)[part]
        for part, side in zip(lattice(raster.shape), raster.shape, strict=True)
    )
    picture = np.zeros((rows.size, columns.size), np.uint16)
    for top, left, height, width in raster.blocks(emit):
        codes = raster.read_classes(top, left, height, width)
        occurs[codes] = True
        if population is not None:
            population.add(codes, top, left)
        here, down, right = inside(raster.shape, pixels, top, left, height, width)
        mapped[here] = codes[down, right]
        y, x = (
            slice(*np.searchsorted(line, [start, start + size]))
            for line, start, size in ((rows, top, height), (columns, left, width))
        )
        picture[y, x] = codes[np.ix_(rows[y] - top, columns[x] - left)]
    return _Survey(np.flatnonzero(occurs[1:]) + 1, mapped, picture)


def _with_codes_of_map(legend: Legend, codes: NDArray[np.int64], names: dict[int, str]) -> Legend:
    """Adds classes that only the map has, as a map of unknown origin may."""
    known = {entry.code for entry in legend}
    extra = tuple(
        LandCover(code, names.get(code, str(code)), GREY, str(code))
        for code in codes.tolist()
        if code not in known
    )
    return tuple(sorted(legend + extra, key=lambda entry: entry.code))


def _areas(origin: Sidecar | None, config: EvaluateConfig) -> list[TrainingArea]:
    """Returns what is to be left out."""
    if origin is None or config.allow_train_overlap:
        return []
    return origin.training_areas()


def _marks(map_path: Path, origin: Sidecar | None) -> Path | None:
    """Returns the raster of what each pixel of the map is made from, if it has one."""
    if origin is None or origin.modalities is None:
        return None
    return map_path.parent / origin.modalities


def _parts(path: Path, labels: Labels, emit: Listener) -> dict[str, Mask]:
    """Returns which pixels (N,) are made from each subset of the modalities, by its name."""
    if not path.exists():
        emit(_unknown(f"{path} is missing"))
        return {}
    with open_codes(path) as raster:
        if not same_place(raster.grid, labels.grid):
            emit(_unknown(f"{path} belongs to a map of another place"))
            return {}
        used = _survey(raster, labels.pixels, emit).mapped
        return {name: used == code for code, name in sorted(raster.names.items())}


def _unknown(reason: str) -> Warned:
    text = "It says what each pixel of the map is made from: the accuracy of each subset of the "
    return Warned("modalities-unknown", f"{reason}. {text}modalities stays unknown.")


def _evaluate(
    labels: Labels,
    mapped: NDArray[np.uint16],
    parts: Mapping[str, Mask],
    legend: Legend,
    areas: list[TrainingArea],
    origin: Sidecar | None,
) -> Evaluation:
    seen = reached(areas, labels.grid, labels.pixels)
    scored, mapped = labels.only(~seen), mapped[~seen]
    training = int(seen.sum())
    if not scored.pixels.size:
        raise TrainOverlapError(
            f"All {training:,} labelled pixels were used in training.",
            "Give labels that training has not seen, or keep some out with --test-share.",
        )
    accuracy = assess(scored.codes, mapped, legend)
    if accuracy.pixels == 0:
        raise NoLabelsError(
            "The map has nodata under every label.", "Check that map and labels belong together."
        )
    gap = origin.patch // 2 if origin is not None else 0
    apart, notes = None, []
    if accuracy.pixels < _FEW * training:
        notes.append(
            f"Only {accuracy.pixels:,} labelled pixels could be scored; {training:,} trained the "
            "model. Train with --test-share, or score on other labels."
        )
    if gap and leaves_trace(areas, labels.grid):
        far = ~reached(areas, labels.grid, scored.pixels, gap - 1)
        if far.any():
            apart = assess(scored.codes[far], mapped[far], legend)
        notes += _parting(accuracy.overall, None if apart is None else apart.overall, gap)
    subsets = {
        name: assess(scored.codes[here], mapped[here], legend)
        for name, part in parts.items()
        if (here := part[~seen]).any()
    }
    return Evaluation(accuracy, len(labels.pixels), training, {}, apart, gap, tuple(notes), subsets)


def _parting(near: float | None, far: float | None, gap: int) -> list[str]:
    """Says what the distance to training pixels does to the accuracy."""
    if far is None:
        return [
            f"No scored pixel lies {gap} pixels or more from training pixels: the accuracy is that "
            "of places the model has seen the surroundings of."
        ]
    if near is not None and near - far > _PARTING:
        return [
            f"Far from training pixels ({gap} pixels or more) the overall accuracy is {far:.1%}, "
            f"over all scored pixels {near:.1%}: expect the lower one elsewhere."
        ]
    return []


def _described(
    evaluation: Evaluation, map_path: Path, config: EvaluateConfig, origin: Sidecar | None
) -> Evaluation:
    settings = {
        "map": map_path.name,
        "labels": config.labels.path.name,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    notes = evaluation.notes
    if origin is not None:
        settings |= {"model": origin.model_name, "checksum": origin.model}
        settings |= {"split": "; ".join(origin.split)}
    if config.allow_train_overlap:
        notes = ("Training pixels may be among those scored (--allow-train-overlap).", *notes)
    return replace(evaluation, settings=settings, notes=notes)


def _write_reports(
    evaluation: Evaluation, codes: NDArray[np.uint16], config: EvaluateConfig, emit: Listener
) -> None:
    if config.report is not None:
        text = json.dumps(to_json(evaluation), indent=2, ensure_ascii=False, allow_nan=False)
        write_text(config.report, text + "\n")
        emit(Artifact(str(config.report), "report"))
    if config.html is not None:
        picture = map_picture(codes, evaluation.accuracy.legend)
        write_text(config.html, to_html(evaluation, picture))
        emit(Artifact(str(config.html), "html"))
