"""The page on a training: what went in, what came out, how it went. Standard library only."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .translate import tr
from .version import plugin_version

_STYLE = (
    "body{font-family:sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.2rem .8rem;border-bottom:1px solid #ccc;"
    "text-align:left}svg{background:#f7f7f7}li{margin:.2rem 0}"
)
_WIDTH, _HEIGHT = 640, 180


@dataclass
class Course:
    """What was told during a job.

    Attributes:
        metrics: Steps and values of each metric.
        notes: Notes.
        warnings: Warnings.
    """

    metrics: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def training_page(
    results: Mapping[str, Any], course: Course, inputs: Sequence[tuple[str, str]]
) -> str:
    """Returns a page that needs no other file and no network; all text in it is escaped.

    Args:
        results: Of the `done` event.
        course: What was told.
        inputs: Names and values of the parameters.
    """
    scores = results.get("scores") or {}
    parts = [
        _table(tr("Validation"), [(name, _number(value)) for name, value in scores.items()]),
        _paragraph(
            tr(
                "These are the labels that decided when training stopped. Judge a map by labels "
                "that training has not seen: use “Assess a map”."
            )
            if scores
            else tr("No label was kept for validation, so there are no scores.")
        ),
        _table(tr("Labelled pixels"), list((results.get("pixels") or {}).items())),
        _list(tr("Classes"), results.get("classes") or []),
        *(_chart(name, points) for name, points in course.metrics.items()),
        _list(tr("Warnings"), course.warnings),
        _table(tr("Inputs and settings"), inputs),
        _list(tr("Log"), course.notes),
    ]
    title = html.escape(tr("Training of {}").format(results.get("model", "")))
    return (
        f'<!DOCTYPE html><html><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>{''.join(parts)}"
        f"<p><small>m3amba-geo {html.escape(plugin_version())}</small></p></body></html>\n"
    )


def _table(title: str, rows: Sequence[tuple[str, Any]]) -> str:
    if not rows:
        return ""
    cells = "".join(
        f"<tr><td>{html.escape(str(key))}</td><td>{html.escape(str(value))}</td></tr>"
        for key, value in rows
    )
    return f"<h2>{html.escape(title)}</h2><table>{cells}</table>"


def _list(title: str, lines: Sequence[object]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{html.escape(str(line))}</li>" for line in lines)
    return f"<h2>{html.escape(title)}</h2><ul>{items}</ul>"


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _chart(name: str, points: Sequence[tuple[float, float]]) -> str:
    """Returns a line through the values of a metric."""
    if len(points) < 2:
        return ""
    steps, values = [p[0] for p in points], [p[1] for p in points]
    low, high = min(values), max(values)
    across = _WIDTH / ((max(steps) - min(steps)) or 1)
    up = _HEIGHT / ((high - low) or 1)
    path = " ".join(
        f"{(step - min(steps)) * across:.1f},{_HEIGHT - (value - low) * up:.1f}"
        for step, value in points
    )
    return (
        f"<h2>{html.escape(name)}</h2><p>{_number(low)} … {_number(high)}</p>"
        f'<svg viewBox="-4 -4 {_WIDTH + 8} {_HEIGHT + 8}" width="100%">'
        f'<polyline points="{path}" fill="none" stroke="#2b6ca3" stroke-width="2"/></svg>'
    )


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
