"""An evaluation as JSON and as one HTML page; `table` has it for the terminal.

Rows of the confusion matrix are the reference, columns the map, everywhere.
"""

import re
from base64 import b64encode
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from m3amba_geo import __version__
from m3amba_geo.assess.accuracy import Accuracy
from m3amba_geo.assess.estimates import Estimate, Estimates
from m3amba_geo.assess.evaluation import Evaluation
from m3amba_geo.assess.table import to_table

__all__ = ["to_html", "to_json", "to_table"]

MATRIX_LIMIT = 60


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Returns the report as an object of plain JSON types; undefined measures are null.

    `confusion_matrix` is a list of rows: rows are the reference, columns the map, both in the order
    of `classes` and `codes`, as are all per-class lists. Shares lie in 0..1. `pixels` is the number
    scored; `counts` tells what became of all labelled pixels. `separated` holds the same measures
    over the pixels at least `gap` pixels from training pixels, or is null. `subsets` holds them for
    the pixels made from each subset of the `modalities`, or is empty. `estimates` holds what the
    labels tell of the whole map where they are a probability sample, each with standard error and
    interval of 95 %, or is null.
    """
    apart = evaluation.separated
    return {
        **_measures(evaluation.accuracy),
        "matrix_rows": "reference",
        "matrix_columns": "map",
        "counts": evaluation.counts,
        "separated": {"gap": evaluation.gap, **_measures(apart)} if apart else None,
        "subsets": [
            {"modalities": name, **_measures(scored)} for name, scored in evaluation.subsets.items()
        ],
        "estimates": _estimates(evaluation.estimates) if evaluation.estimates else None,
        "settings": dict(evaluation.settings),
        "notes": list(evaluation.notes),
    }


def to_html(evaluation: Evaluation, picture_png: bytes | None = None) -> str:
    """Returns one page that needs no other file and no network; all text in it is escaped.

    Args:
        evaluation: What to show.
        picture_png: Picture of the map, from `picture.map_picture`.
    """
    return _template().render(
        evaluation=evaluation,
        accuracy=evaluation.accuracy,
        estimates=evaluation.estimates,
        counts=evaluation.counts,
        width=_png_side(picture_png, 16),
        height=_png_side(picture_png, 20),
        picture=b64encode(picture_png).decode("ascii") if picture_png else "",
        matrix_limit=MATRIX_LIMIT,
        version=__version__,
    )


def _measures(accuracy: Accuracy) -> dict[str, Any]:
    return {
        "overall_accuracy": accuracy.overall,
        "average_accuracy": accuracy.average,
        "kappa": accuracy.kappa,
        "pixels": accuracy.pixels,
        "classes": [cover.name for cover in accuracy.legend],
        "codes": [cover.code for cover in accuracy.legend],
        "confusion_matrix": accuracy.matrix.tolist(),
        "users_accuracy": list(accuracy.users),
        "producers_accuracy": list(accuracy.producers),
        "f1": list(accuracy.f1),
        "iou": list(accuracy.iou),
        "reference_pixels": accuracy.reference.tolist(),
        "map_pixels": accuracy.mapped.tolist(),
    }


def _estimates(found: Estimates) -> dict[str, Any]:
    return {
        "classes": [cover.name for cover in found.legend],
        "codes": [cover.code for cover in found.legend],
        "overall_accuracy": _estimate(found.overall),
        "users_accuracy": [each and _estimate(each) for each in found.users],
        "producers_accuracy": [each and _estimate(each) for each in found.producers],
        "unit": found.unit,
        "mapped_area": found.mapped.tolist(),
        "area": [_estimate(share, found.total) for share in found.shares],
    }


def _estimate(each: Estimate, whole: float = 1.0) -> dict[str, float]:
    low, high = each.interval
    told = {"value": each.value, "error": each.error, "low": low, "high": high}
    return {key: value * whole for key, value in told.items()}


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("m3amba_geo", "assess"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "grouped": _grouped, "color": _color}
    environment.filters |= {"span": _span, "area": _area}
    return environment.get_template("report.html.j2")


def _png_side(png: bytes | None, place: int) -> int:
    """Returns width (at byte 16) or height (at byte 20) from the header of a PNG."""
    return int.from_bytes((png or b"")[place : place + 4]) or 1


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"  # noqa: RUF001 - a dash is meant


def _grouped(number: float, digits: int = 0) -> str:
    """Groups digits by narrow spaces that do not break."""
    return f"{number:,.{digits}f}".replace(",", "\u202f")


def _span(each: Estimate) -> str:
    """Returns the interval of a share in percent."""
    low, high = each.interval
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _area(size: float, found: Estimates) -> str:
    return _grouped(size / found.scale.size, found.scale.digits)


def _color(color: str) -> str:
    """Lets nothing but a colour into a style attribute."""
    return color if re.fullmatch("#[0-9a-fA-F]{6}", color) else "#888888"
