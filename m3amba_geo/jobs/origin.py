"""What is known of the making of a map that is to be scored: its model, its classes."""

from pathlib import Path

from m3amba_geo.bundle import ModelFile
from m3amba_geo.config import EvaluateConfig
from m3amba_geo.errors import ClassMismatchError, DataError, TrainOverlapError
from m3amba_geo.geo.codes import CodeRaster
from m3amba_geo.geo.labels import read_codes
from m3amba_geo.geo.legend import LabelValue, Legend, as_code, make_legend
from m3amba_geo.geo.maps import used_path
from m3amba_geo.jobs.sidecar import Sidecar, read_sidecar


def origin_of(map_path: Path, config: EvaluateConfig) -> Sidecar | None:
    """Returns what is known of the map's making; None if nothing is and that was allowed."""
    if config.model is not None:
        model = ModelFile.read(config.model)
        _check_maker(map_path, model)
        fewer = model.bundle.manifest.coverage.fewer
        return Sidecar.of(model, map_path, used_path(map_path) if fewer else None)
    sidecar = read_sidecar(map_path)
    if sidecar is None and not config.allow_train_overlap:
        raise TrainOverlapError(
            f"{map_path} has no sidecar: it is unknown which pixels trained its model.",
            "Name the model with --model FILE, or add --allow-train-overlap if the labels are "
            "known to be independent.",
        )
    return sidecar


def _check_maker(map_path: Path, model: ModelFile) -> None:
    """Makes sure that a sidecar, if there is one, does not name another model.

    Raises:
        TrainOverlapError: It does.
    """
    try:
        known = read_sidecar(map_path)
    except DataError:  # damaged: its remedy is to name the model
        return
    if known is not None and known.model != model.digest:
        raise TrainOverlapError(
            f"{map_path} was made by {known.model_name} (sha256 {known.model[:12]}...), as its "
            f"sidecar says, not by {model.path} ({model.digest[:12]}...).",
            "Leave out --model, or name the one that made the map.",
        )


def classes_of(raster: CodeRaster, origin: Sidecar | None, config: EvaluateConfig) -> Legend:
    """Returns the classes of a map: those of its model, or its own names, or the labels' codes.

    Raises:
        ClassMismatchError: Nothing tells which code a class has, or two tell different things.
    """
    if origin is None and (config.labels.legend is not None or not raster.names):
        legend = read_codes(config.labels)
    else:
        legend = own_classes(raster, origin)
    _compare_names(raster, legend)
    return legend


def own_classes(raster: CodeRaster, origin: Sidecar | None) -> Legend:
    """Returns the classes that a map itself tells of: those of its model, or of its own names."""
    if origin is not None:
        return origin.legend
    return make_legend(
        LabelValue(str(code), name, raster.colors.get(code, ""))
        for code, name in raster.names.items()
        if as_code(str(code))
    )


def _compare_names(raster: CodeRaster, legend: Legend) -> None:
    """Makes sure that the map's own names, where it has some, are those it is scored by.

    Raises:
        ClassMismatchError: They belong to another model or legend.
    """
    by_code = {entry.code: entry.name.strip() for entry in legend}
    for code, spelled in raster.names.items():
        name = spelled.strip()
        called_so = {number for number, called in by_code.items() if called == name}
        if by_code.get(code, name) != name or (called_so and code not in called_so):
            known = ", ".join(f"{number} is {called!r}" for number, called in by_code.items())
            raise ClassMismatchError(
                f"{raster.path} calls class {code} {name!r}; by its model or legend {known}.",
                "Name the model that made it with --model; a sidecar of another map lies beside "
                "it if there is one.",
            )
