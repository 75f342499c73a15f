"""An evaluation on the terminal: reads well at 80 columns, in a pipe and without colour."""

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from m3amba_geo.assess.accuracy import Accuracy
from m3amba_geo.assess.estimates import Estimate, Estimates
from m3amba_geo.assess.evaluation import Evaluation

WIDTH = 80
MATRIX_LIMIT = 12
DASH = "–"  # noqa: RUF001 - a dash is meant
ZERO = "·"  # of exactly 0; a share that rounds to it is 0


def to_table(evaluation: Evaluation) -> RenderableType:
    """Returns notes, headline, per-class table and, for few classes, the confusion matrix."""
    parts: list[RenderableType] = []
    if evaluation.notes:
        parts += [_notes(evaluation), ""]
    if evaluation.estimates is not None:
        parts += _whole_map(evaluation.estimates)
    parts += _headline(evaluation) + _subsets(evaluation) + _per_class(evaluation.accuracy)
    if 0 < len(evaluation.accuracy.legend) <= MATRIX_LIMIT:
        parts += _matrix(evaluation.accuracy)
    return Group(*parts)


def _notes(evaluation: Evaluation) -> Table:
    table = Table.grid(padding=(0, 1))
    for note in evaluation.notes:
        table.add_row(Text("!", style="bold yellow"), _text(note))
    return table


def _headline(evaluation: Evaluation) -> list[RenderableType]:
    columns = {"all scored": evaluation.accuracy}
    if evaluation.separated:
        columns[f"{evaluation.gap}+ px from training"] = evaluation.separated
    table = _table("")
    for name in columns:
        table.add_column(name, justify="right")
    scored = columns.values()
    table.add_row("Overall accuracy", *(Text(_percent(a.overall), "bold") for a in scored))
    table.add_row("Average accuracy", *(_percent(a.average) for a in scored))
    table.add_row("Kappa", *(_kappa(a.kappa) for a in scored))
    table.add_row("Pixels", *(f"{a.pixels:,}" for a in scored))
    counts = evaluation.counts
    fate = (
        f"{counts['labelled']:,} labelled pixels: {counts['scored']:,} scored, "
        f"{counts['training']:,} training, {counts['unmapped']:,} unmapped."
    )
    return [Text("Accuracy of labelled pixels", "bold"), table, Text(fate), ""]


def _subsets(evaluation: Evaluation) -> list[RenderableType]:
    if not evaluation.subsets:
        return []
    table = _table("made from")
    for name in ("overall", "average", "kappa", "pixels"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, scored in evaluation.subsets.items():
        shares = _percent(scored.overall), _percent(scored.average)
        table.add_row(_text(name), *shares, _kappa(scored.kappa), f"{scored.pixels:,}")
    return [Text("Modalities", "bold"), table]


def _whole_map(found: Estimates) -> list[RenderableType]:
    scale, total = found.scale, found.total
    table = _table("class")
    table.padding = (0, 1, 0, 0)
    table.columns[0].max_width, table.columns[0].overflow = 20, "fold"
    for name in (f"mapped, {scale.unit}", f"estimated, {scale.unit}", "producer's", "user's"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = zip(found.legend, found.mapped, found.shares, found.producers, found.users, strict=True)
    for cover, mapped, share, *accuracies in rows:
        sizes = [mapped, share.value * total, *(end * total for end in share.interval)]
        shown = [f"{size / scale.size:,.{scale.digits}f}" for size in sizes]
        cells = [DASH if each is None else _estimated(each) for each in accuracies]
        table.add_row(_text(cover.name), shown[0], f"{shown[1]} ({shown[2]}-{shown[3]})", *cells)
    overall = Text.assemble("Overall accuracy ", (f"{_estimated(found.overall)} %", "bold"))
    return [Text("The whole map, in brackets intervals of 95 %", "bold"), overall, table]


def _estimated(each: Estimate) -> str:
    low, high = (f"{100 * end:.0f}" for end in each.interval)
    return f"{100 * each.value:.0f} ({low}-{high})"


def _per_class(accuracy: Accuracy) -> list[RenderableType]:
    table = _table("code")
    table.columns[0].justify = "right"
    table.add_column("class", max_width=26, overflow="fold")
    for name in ("producer's", "user's", "F1", "IoU", "reference"):
        table.add_column(name, justify="right", no_wrap=True)
    columns = (accuracy.producers, accuracy.users, accuracy.f1, accuracy.iou)
    for cover, pixels, *shares in zip(accuracy.legend, accuracy.reference, *columns, strict=True):
        cells = [_percent(share, "") for share in shares]
        table.add_row(str(cover.code), _text(cover.name), *cells, f"{int(pixels):,}")
    return [Text("Classes: measures in %, reference in pixels", "bold"), table]


def _matrix(accuracy: Accuracy) -> list[RenderableType]:
    """Counts where they fit into the width, else percent of each reference class."""
    codes = [str(cover.code) for cover in accuracy.legend]
    cells = [[str(count or ZERO) for count in row] for row in accuracy.matrix.tolist()]
    name_width, unit = 16, "pixels"
    widest = max(len(cell) for row in [codes, *cells] for cell in row)
    if (widest + 1) * len(codes) + name_width + 9 > WIDTH:
        cells, unit = [_row_percent(row) for row in accuracy.matrix.tolist()], "% of reference"
    table = _table("")
    table.padding = (0, 1, 0, 0)
    table.columns[0].justify = "right"
    table.add_column("", max_width=name_width, no_wrap=True, overflow="ellipsis")
    for code in codes:
        table.add_column(code, justify="right", no_wrap=True)
    for place, (cover, row) in enumerate(zip(accuracy.legend, cells, strict=True)):
        marked = [Text(cell, "bold" if i == place else "") for i, cell in enumerate(row)]
        table.add_row(str(cover.code), _text(cover.name), *marked)
    return [Text(f"Confusion matrix, {unit}: rows reference, columns map", "bold"), table]


def _row_percent(row: list[int]) -> list[str]:
    total = sum(row)
    return [f"{100 * count / total:.0f}" if count else ZERO if total else DASH for count in row]


def _table(first: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column(first)
    return table


def _percent(share: float | None, unit: str = " %") -> str:
    return DASH if share is None else f"{100 * share:.1f}{unit}"


def _kappa(kappa: float | None) -> str:
    return DASH if kappa is None else f"{kappa:.3f}"


def _text(text: str) -> Text:
    """Never markup, and no control characters: class names come from other people's files."""
    return Text("".join(c if c.isprintable() else "\ufffd" for c in text))
