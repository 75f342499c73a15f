"""Assessment of a map against labels that its model has not seen."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy import ndimage

from m3amba_geo import __version__
from m3amba_geo.assess.accuracy import Evaluation, assess
from m3amba_geo.assess.picture import map_picture
from m3amba_geo.assess.report import to_html, to_json
from m3amba_geo.bundle import load_bundle
from m3amba_geo.config import EvaluateConfig
from m3amba_geo.errors import ClassMismatchError, NoLabelsError, TrainOverlapError
from m3amba_geo.events import Artifact, Listener, Metric, Started
from m3amba_geo.files import check_output, checksum, write_text
from m3amba_geo.geo.area import used_on
from m3amba_geo.geo.labels import Labels, LandCover, Legend, read_labels, read_legend
from m3amba_geo.geo.legend import MAX_CODE
from m3amba_geo.geo.maps import used_path
from m3amba_geo.geo.marks import Positions
from m3amba_geo.geo.raster import LabelRaster, Mask, read_label_raster
from m3amba_geo.jobs.sidecar import Sidecar, read_sidecar, records

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
    for output in (config.report, config.html):
        if output is not None:
            check_output(output, overwrite=config.overwrite)
    raster = read_label_raster(map_path)
    predicted = _codes(map_path, raster)
    origin = _origin(map_path, config)
    legend = read_legend([config.labels]) if origin is None else origin.legend
    labels = read_labels(config.labels, raster.grid, legend, emit)
    legend = _with_codes_of_map(legend, predicted, raster.names)
    used = _used(origin, raster.grid, config)
    evaluation = _evaluate(labels, predicted, legend, used, origin)
    if origin is not None and origin.modalities is not None:
        marks = map_path.parent / origin.modalities
        evaluation = _with_subsets(evaluation, labels, predicted, used, marks)
    evaluation = _described(evaluation, map_path, config, origin)
    accuracy = evaluation.accuracy
    for name, value in (("overall_accuracy", accuracy.overall), ("kappa", accuracy.kappa)):
        if value is not None:
            emit(Metric(name, value))
    _write_reports(evaluation, predicted, config, emit)
    return evaluation


def _codes(path: Path, raster: LabelRaster) -> NDArray[np.uint16]:
    """Returns the codes of a map, `(H, W)`; 0 where it has none."""
    codes = np.where(raster.valid, raster.values, 0)
    if codes.min() < 0 or codes.max() > MAX_CODE:
        raise ClassMismatchError(
            f"{path} holds values from {codes.min()} to {codes.max()}; class codes lie in "
            f"1..{MAX_CODE}.",
            "Give a map of class codes; declare the value of pixels without a class as nodata.",
        )
    return codes.astype(np.uint16)


def _origin(map_path: Path, config: EvaluateConfig) -> Sidecar | None:
    """Returns what is known of the map's making; None if nothing is and that was allowed."""
    if config.model is not None:
        bundle = load_bundle(config.model)
        return Sidecar(
            model=checksum(config.model),
            model_name=config.model.name,
            created="",
            patch=bundle.manifest.network.patch,
            legend=bundle.manifest.legend,
            split=bundle.manifest.split,
            areas=records(bundle.areas),
            modalities=used_path(map_path).name if bundle.manifest.coverage.fewer else None,
        )
    sidecar = read_sidecar(map_path)
    if sidecar is None and not config.allow_train_overlap:
        raise TrainOverlapError(
            f"{map_path} has no sidecar: it is unknown which pixels trained its model.",
            "Name the model with --model FILE, or add --allow-train-overlap if the labels are "
            "known to be independent.",
        )
    return sidecar


def _with_codes_of_map(
    legend: Legend, predicted: NDArray[np.uint16], names: dict[int, str]
) -> Legend:
    """Adds classes that only the map has, as a map of unknown origin may."""
    known = {entry.code for entry in legend}
    extra = tuple(
        LandCover(code, names.get(code, str(code)), "#808080", str(code))
        for code in np.unique(predicted).tolist()
        if code != 0 and code not in known
    )
    return tuple(sorted(legend + extra, key=lambda entry: entry.code))


def _used(origin: Sidecar | None, grid: GeoBox, config: EvaluateConfig) -> Mask:
    if origin is None or config.allow_train_overlap:
        return np.zeros(grid.shape, np.bool_)
    return used_on(origin.training_areas(), grid)


def _evaluate(
    labels: Labels,
    predicted: NDArray[np.uint16],
    legend: Legend,
    used: Mask,
    origin: Sidecar | None,
) -> Evaluation:
    seen = used.ravel()[labels.pixels]
    scored = labels.only(~seen)
    training = int(seen.sum())
    if not scored.pixels.size:
        raise TrainOverlapError(
            f"All {training:,} labelled pixels were used in training.",
            "Give labels that training has not seen, or keep some out with --test-share.",
        )
    mapped = predicted.ravel()
    accuracy = assess(scored.codes, mapped[scored.pixels], legend)
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
    if used.any() and gap:
        far = scored.only(_far(used, scored.pixels, gap))
        if far.pixels.size:
            apart = assess(far.codes, mapped[far.pixels], legend)
        notes += _parting(accuracy.overall, None if apart is None else apart.overall, gap)
    return Evaluation(accuracy, len(labels.pixels), training, {}, apart, gap, tuple(notes))


def _with_subsets(
    evaluation: Evaluation, labels: Labels, predicted: NDArray[np.uint16], used: Mask, marks: Path
) -> Evaluation:
    """Adds the accuracy of what is made from each subset of the modalities, as `marks` tells it."""
    if not marks.exists():
        note = f"{marks.name} is missing: it would tell which pixels lack a modality."
        return replace(evaluation, notes=(*evaluation.notes, note))
    raster = read_label_raster(marks)
    scored = labels.only(~used.ravel()[labels.pixels])
    made_from = raster.values.ravel()[scored.pixels]
    mapped = predicted.ravel()[scored.pixels]
    legend = evaluation.accuracy.legend
    subsets = {}
    for code in np.unique(made_from[mapped != 0]).tolist():
        here = made_from == code
        subsets[raster.names.get(code, str(code))] = assess(scored.codes[here], mapped[here], legend)
    return replace(evaluation, subsets=subsets)


def _far(used: Mask, pixels: Positions, gap: int) -> Mask:
    """Says which pixels (N,) lie at least so far from used ones."""
    distance = ndimage.distance_transform_cdt(~used, "chessboard")
    far: Mask = distance.ravel()[pixels] >= gap
    return far


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
    evaluation: Evaluation, predicted: NDArray[np.uint16], config: EvaluateConfig, emit: Listener
) -> None:
    if config.report is not None:
        text = json.dumps(to_json(evaluation), indent=2, ensure_ascii=False, allow_nan=False)
        write_text(config.report, text + "\n")
        emit(Artifact(str(config.report), "report"))
    if config.html is not None:
        picture = map_picture(predicted, evaluation.accuracy.legend)
        write_text(config.html, to_html(evaluation, picture))
        emit(Artifact(str(config.html), "html"))
