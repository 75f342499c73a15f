"""Results of a recipe: a row for each finished run, kept at once."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from m3amba_geo.assess.accuracy import assess
from m3amba_geo.errors import UsageError
from m3amba_geo.files import write_text
from training.cases import Case, Scene
from training.outcome import Outcome
from training.paired import difference, spread
from training.recipe import Recipe

Row = dict[str, Any]

MEASURES = ("overall_accuracy", "average_accuracy", "kappa")


class Results:
    """The file of a recipe's results, and what follows from its rows; processes may share it.

    Attributes:
        rows: A finished run each: method, case, digest of its pixels, measures, seconds.
        sittings: Command, commit, machine and versions of each session; rows name theirs.
    """

    def __init__(self, path: Path, recipe: Recipe, sitting: dict[str, Any]) -> None:
        self.path, self.recipe, self.sitting = path, recipe, sitting
        self.refresh()

    def refresh(self) -> None:
        """Reads what others have added since."""
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else "{}"
        kept = json.loads(text)
        self.rows: list[Row] = kept.get("rows", [])
        self.sittings: list[dict[str, Any]] = kept.get("sittings", [])

    def has(self, method: str, case: Case) -> bool:
        """Returns whether this run is finished.

        Raises:
            UsageError: It is, on other pixels than those of the case.
        """
        found = [r for r in self.rows if r["method"] == method and key(r) == case.key]
        if found and found[0]["pixels"] != case.pixels:
            raise UsageError(
                f"{self.path} holds results on other pixels: {method}, case {case.key}.",
                "Labels or protocol changed since: move the file away and measure anew.",
            )
        return bool(found)

    def add(self, method: str, scene: Scene, case: Case, outcome: Outcome, seconds: float) -> Row:
        """Scores a run and keeps it, in place of an older one; returns its row."""
        scores = assess(case.codes[case.test], outcome.predicted, scene.legend)
        few, seed, fold = case.key
        row = {
            "method": method,
            "few": few,
            "seed": seed,
            "fold": fold,
            "overall_accuracy": scores.overall,
            "average_accuracy": scores.average,
            "kappa": scores.kappa,
            "unmapped": scores.unmapped,
            "train_pixels": int(case.train.sum()),
            "test_pixels": int(case.test.sum()),
            "pixels": case.pixels,
            "seconds": round(seconds, 1) if outcome.timed else None,
            "details": outcome.details,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_name(f".{self.path.name}.lock")):
            self.refresh()
            if self.sitting not in self.sittings:
                self.sittings.append(self.sitting)
            others = [r for r in self.rows if r["method"] != method or key(r) != case.key]
            self.rows = [*others, row | {"sitting": self.sittings.index(self.sitting)}]
            self._write()
        return row

    def summary(self) -> list[Row]:
        """Returns mean and standard deviation of each method, in the recipe's order."""
        table = []
        for few in self._curve():
            for method in self._methods():
                rows = self._of(method, few)
                if rows:
                    table.append({"method": method, "few": few} | _means(rows))
        return table

    def differences(self) -> list[Row]:
        """Returns what the first method with results is better by than each other."""
        first, *others = self._methods() or [""]
        pairs = ((other, few) for few in self._curve() for other in others)
        return [lead for other, few in pairs if (lead := self.lead(first, other, few))]

    def lead(self, method: str, other: str, few: int | None) -> Row | None:
        """Returns what a method is better by than another, on the cases that both have finished.

        None where there are none. The cases have the same pixels.
        """
        ours = {key(row): row for row in self._of(method, few)}
        pairs = [(ours[key(row)], row) for row in self._of(other, few) if key(row) in ours]
        if not pairs:
            return None
        if any(one["pixels"] != two["pixels"] for one, two in pairs):
            raise AssertionError("Two methods of one case were scored on different pixels.")
        overlap = 0.0
        if self.recipe.protocol.part != "given":
            overlap = float(np.mean([row["test_pixels"] / row["train_pixels"] for row, _ in pairs]))
        accuracies = ([row[MEASURES[0]] for row in rows] for rows in zip(*pairs, strict=True))
        found = difference(*accuracies, overlap)
        return {"method": method, "minus": other, "few": few} | found.to_json()

    def _methods(self) -> list[str]:
        """Methods with rows: those of the recipe first, in its order."""
        present = dict.fromkeys(row["method"] for row in self.rows)
        listed = [method for method in self.recipe.protocol.methods if method in present]
        return list(dict.fromkeys([*listed, *present]))

    def _curve(self) -> list[int | None]:
        return sorted({row["few"] for row in self.rows}, key=lambda few: few or 0)

    def _of(self, method: str, few: int | None) -> list[Row]:
        return [r for r in self.rows if r["method"] == method and r["few"] == few]

    def _write(self) -> None:
        """Writes the file whole; a row a line, so that changes can be read.

        A sitting all of whose runs have been replaced is left out.
        """
        used = sorted({row["sitting"] for row in self.rows})
        head = {
            "recipe": self.recipe.name,
            "summary": self.summary(),
            "differences": self.differences(),
            "sittings": [self.sittings[n] for n in used],
        }
        numbered = (row | {"sitting": used.index(row["sitting"])} for row in self.rows)
        rows = ",\n".join(f"    {json.dumps(row)}" for row in numbered)
        text = json.dumps(head, indent=2).removesuffix("\n}")
        write_text(self.path, f'{text},\n  "rows": [\n{rows}\n  ]\n}}\n')


def key(row: Row) -> tuple[int | None, int, int]:
    """Returns what `Case.key` is of the row's case."""
    return row["few"], row["seed"], row["fold"]


def _means(rows: Sequence[Row]) -> Row:
    means: Row = {"runs": len(rows)}
    for measure in MEASURES:
        values = [row[measure] for row in rows]
        means |= {measure: float(np.mean(values)), f"{measure}_sd": spread(values)}
    return means | {"seconds": median_seconds(rows)}


def median_seconds(rows: Sequence[Row]) -> float | None:
    """Returns the median time of the runs that were not interrupted; None if all were.

    The median: a machine that pauses or has other work to do must not decide.
    """
    times = [row["seconds"] for row in rows if row["seconds"] is not None]
    return float(np.median(times)) if times else None
