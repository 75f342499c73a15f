"""Which array in a folder of MATLAB files is which part of a benchmark: certain, or refused."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3amba_geo.errors import BenchmarkUnclearError, DataError, FileMissingError
from m3amba_geo.events import Listener, Note
from m3amba_geo.geo.benchmarks import CLASS_NAMES, LABELS, Benchmark, Source, plain
from m3amba_geo.geo.mat import MatArray, list_mat, read_mat

_LISTED = 12
_STRUCTURES = 4  # times the first modality in float64: room for all that a structure holds besides


@dataclass(frozen=True, eq=False)
class Candidate:
    """An array that may be a part of a benchmark.

    Attributes:
        array: The variable.
        name: Its name, inside a structure the whole path.
        shape: Its shape, sides of length 1 at the end left out.
        value: Its content where it is at hand already.
    """

    array: MatArray
    name: str
    shape: tuple[int, ...]
    value: Any = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.name} of {self.array.path.name} ({' x '.join(map(str, self.shape))})"

    def read(self) -> NDArray[Any]:
        """Returns its numbers in the shape above.

        Raises:
            DataError: The file is damaged.
        """
        value = self.value
        if value is None:
            most = int(np.prod(self.array.shape)) * 8
            value = read_mat(self.array, most).get(self.name)
        if not isinstance(value, np.ndarray):
            raise DataError(f"{self} holds no plain numbers.", "Fetch it again from its source.")
        return value.reshape(self.shape)


@dataclass(frozen=True)
class Parts:
    """The parts of a benchmark that a folder holds.

    Attributes:
        shape: Rows and columns.
        modalities: By name, in the benchmark's order.
        labels: By role: `train`, `test`, `all`.
        classes: Names of the classes, the file's own where it has them.
    """

    shape: tuple[int, int]
    modalities: dict[str, Candidate]
    labels: dict[str, Candidate]
    classes: tuple[str, ...]


def find_parts(benchmark: Benchmark, folder: Path, emit: Listener) -> Parts:
    """Finds every part of a benchmark by shape and name, and tells what was taken.

    Args:
        benchmark: What is looked for.
        folder: Where; its subfolders are not searched.
        emit: Told what was taken, and which files could not be read.

    Raises:
        FileMissingError: The folder is not there.
        BenchmarkUnclearError: A part is missing, or there are several of it.
    """
    candidates, unread, classes = _candidates(benchmark, folder)
    for shape in (benchmark.shape, benchmark.shape[::-1]):
        known = [(c, role) for c in candidates if (role := _role(c, candidates, benchmark, shape))]
        roles = {
            role: [c for c, r in known if r == role] for role in dict.fromkeys(r for _, r in known)
        }
        if benchmark.modalities[0].name in roles:
            break
    wanted = [m.name for m in benchmark.modalities]
    for role, several in roles.items():
        if len(several) > 1:
            raise _unclear(
                f"{folder} holds more than one array that may be {role} of {benchmark.name}: "
                f"{', '.join(map(str, several))}.",
                "Leave one of them in the folder.",
            )
    missing = [
        m for m in benchmark.modalities if m.name not in roles and m.name not in benchmark.optional
    ]
    if missing or not {"train", "all"} & set(roles):
        raise _missing(benchmark, folder, missing, candidates, unread)
    for name, why in unread.items():
        emit(Note(f"Passed over {name}: {why}"))
    taken = {role: found[0] for role, found in roles.items()}
    for role in (*wanted, *LABELS):
        if role in taken:
            emit(Note(f"{role}: {taken[role]}."))
    return Parts(
        shape,
        {name: taken[name] for name in wanted if name in taken},
        {role: taken[role] for role in LABELS if role in taken},
        classes or benchmark.classes,
    )


def _candidates(
    benchmark: Benchmark, folder: Path
) -> tuple[list[Candidate], dict[str, str], tuple[str, ...]]:
    """Returns arrays, files that could not be read and why, and names of classes if there are."""
    if not folder.is_dir():
        raise FileMissingError(f"There is no folder {folder}.", "Name the folder of the files.")
    candidates: list[Candidate] = []
    unread: dict[str, str] = {}
    classes: tuple[str, ...] = ()
    inside = {name for source in benchmark.modalities for name in source.names if "." in name}
    inside |= {name for names in LABELS.values() for name in names if "." in name}
    structures = {name.partition(".")[0] for name in inside}
    most = _STRUCTURES * 8 * int(np.prod(benchmark.shape)) * benchmark.modalities[0].bands[0]
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() == ".mat" and p.is_file()):
        try:
            for array in list_mat(path):
                if array.numeric:
                    candidates.append(Candidate(array, array.name, _squeezed(array.shape)))
                elif array.kind == "struct" and array.name in structures:
                    parts = read_mat(array, most)
                    names = tuple(" ".join(n.split()) for n in parts.get(CLASS_NAMES, ()))
                    classes = names if len(names) == len(benchmark.classes) else classes
                    candidates += [
                        Candidate(array, name, _squeezed(value.shape), value)
                        for name, value in parts.items()
                        if name in inside and isinstance(value, np.ndarray)
                    ]
        except DataError as error:
            unread[path.name] = f"{error} {error.hint}"
    return candidates, unread, classes


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] if shape[2:] == (1,) else shape


def _role(
    candidate: Candidate,
    everyone: Sequence[Candidate],
    benchmark: Benchmark,
    shape: tuple[int, int],
) -> str:
    """Returns the part that an array is, empty where it is none.

    In a file with one array the file's name counts before the array's: in `allgrd.mat` lies a
    `mask_test` that is the whole ground truth. An array of many bands needs no name.
    """
    fitting = {
        source.name: source.names
        for source in benchmark.modalities
        if _fits(candidate.shape, source, benchmark, shape)
    }
    if candidate.shape == shape:
        fitting |= LABELS
    elif len(candidate.shape) == 2 and candidate.shape[1] == 2:  # rows and columns of pixels
        fitting |= {role: LABELS[role] for role in ("train", "test")}
    alone = sum(other.array.path == candidate.array.path for other in everyone) == 1
    titles = [plain(candidate.name), plain(candidate.array.path.stem)]
    for title in reversed(titles) if alone else titles:
        for role, names in fitting.items():
            if title in names:
                return role
    return next(iter(fitting), "") if len(candidate.shape) == 3 else ""


def _fits(
    found: tuple[int, ...], source: Source, benchmark: Benchmark, shape: tuple[int, int]
) -> bool:
    grids = [shape]
    if benchmark.coarse and source is benchmark.modalities[0]:
        turned = shape != benchmark.shape
        grids.append(benchmark.coarse[::-1] if turned else benchmark.coarse)
    bands = found[2] if len(found) == 3 else 1
    return len(found) in (2, 3) and found[:2] in grids and bands in source.bands


def _missing(
    benchmark: Benchmark,
    folder: Path,
    missing: Sequence[Source],
    candidates: Sequence[Candidate],
    unread: dict[str, str],
) -> BenchmarkUnclearError:
    rows, columns = benchmark.shape
    lacking = [
        f"{source.name} ({rows} x {columns}, {' or '.join(map(str, source.bands))} bands, "
        f"called {', '.join(source.names[:4])} or the like)"
        for source in missing
    ] or [
        f"labels ({rows} x {columns}, called {', '.join(LABELS['train'][:3])} or "
        f"{', '.join(LABELS['all'][:2])} or the like)"
    ]
    found = [str(candidate) for candidate in candidates[:_LISTED]] + list(unread.values())
    return _unclear(
        f"{folder} does not hold all of {benchmark.name}: {'; '.join(lacking)} not found. "
        f"Found: {'; '.join(found) or 'no MATLAB file'}.",
        "Name the folder that holds the .mat files themselves; docs/import.md lists the copies "
        "that are known.",
    )


def _unclear(message: str, hint: str) -> BenchmarkUnclearError:
    return BenchmarkUnclearError(message, hint)
