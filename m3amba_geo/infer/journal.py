"""The journal of an unfinished map: a hidden folder beside it that holds its finished blocks.

The folder itself is the journal: a block is finished if its file is there and its checksum fits.
`journal.json` says what run the blocks belong to. What is on disk at any moment, since each step
reaches it before the next begins: `journal.json`; then blocks; then the outputs under temporary
names, and in `journal.json` how to know them; then their names; then, in `journal.json`, that they
are all there. At last the blocks go, then `journal.json`, then the folder.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from m3amba_geo.errors import JournalError
from m3amba_geo.events import Listener, Note, Warned
from m3amba_geo.files import output_error, sync_folder, write_text
from m3amba_geo.geo.region import Region
from m3amba_geo.infer.blocks import (
    RowRecords,
    check_block,
    file_bytes,
    last_checksum,
    read_part,
    write_block,
)

Identity = Mapping[str, str]
"""All that the pixels depend on, by names that mean something to people."""

_FORMAT = 1
_NAME = "journal.json"


@dataclass(frozen=True)
class State:
    """What `journal.json` holds.

    Attributes:
        identity: See `Identity`.
        outputs: Size and time of change of each output that is about to get its name; of every
            time that this was tried.
        pixels: Mapped pixels of each class, from the same moment on.
        published: Whether all outputs have their names.
    """

    identity: dict[str, str]
    outputs: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    pixels: dict[str, int] = field(default_factory=dict)
    published: bool = False
    format: int = _FORMAT


_ADAPTER = TypeAdapter(State)


class Journal:
    """The finished blocks of one run.

    Attributes:
        folder: Where they lie.
        state: What `journal.json` holds.
        blocks: All blocks of the map, from its top.
    """

    def __init__(
        self, folder: Path, state: State, blocks: Sequence[Region], kind: np.dtype[np.void]
    ) -> None:
        self.folder, self.state, self.blocks = folder, state, tuple(blocks)
        self._kind = kind
        self._sound: set[Region] = set()  # blocks whose checksum fits
        self._run = hashlib.sha256(json.dumps(state.identity, sort_keys=True).encode()).hexdigest()

    def missing(self) -> list[Region]:
        """Returns the blocks without a file."""
        return [block for block in self.blocks if not self._path(block).exists()]

    def missing_bytes(self) -> int:
        """Returns the space that the missing blocks will take."""
        return sum(file_bytes(block, self._kind) for block in self.missing())

    def drop_damaged(self, emit: Listener) -> None:
        """Reads all blocks and removes those whose checksum does not fit."""
        for block in self.blocks:
            try:
                check_block(self._path(block), self._run, block, self._kind)
            except FileNotFoundError:
                continue
            except (ValueError, OSError) as error:
                emit(Warned("block-damaged", f"{error} Its block of the map is made again."))
                self._path(block).unlink()

    def write(self, block: Region, rows: Iterable[RowRecords]) -> bytes:
        """Writes one block and returns its checksum.

        Raises:
            OutputError: It can't be written.
        """
        return write_block(self._path(block), self._run, block, rows)

    def holds(self, block: Region, digest: bytes) -> bool:
        """Whether a block that another process has written can be seen from here."""
        return last_checksum(self._path(block)) == digest

    def is_shared(self) -> bool:
        """Whether the folder of this run can be seen from here: the journal may come from afar.

        Raises:
            JournalError: What is there is damaged.
        """
        state = _read(self.folder)
        return state is not None and state.identity == self.state.identity

    def part(self, place: Region) -> dict[str, NDArray[Any]]:
        """Returns the pixels of a part of the map, for each output `(bands, h, w)`.

        Args:
            place: The part, counted from the first pixel of the map.

        Raises:
            JournalError: A block of it is damaged, or missing.
        """
        first = self.blocks[0].top
        found = []
        for block in self.blocks:
            top, bottom = max(first + place.top, block.top), min(first + place.bottom, block.bottom)
            if top < bottom:
                rows = slice(top - block.top, bottom - block.top)
                found.append(self._read(block, rows, slice(place.left, place.right)))
        if len(found) == 1:
            return found[0]
        return {role: np.concatenate([part[role] for part in found], 1) for role in found[0]}

    def _read(self, block: Region, rows: slice, columns: slice) -> dict[str, NDArray[Any]]:
        path = self._path(block)
        try:
            if block not in self._sound:
                check_block(path, self._run, block, self._kind)
                self._sound.add(block)
            return read_part(path, self._kind, rows, columns)
        except (ValueError, OSError) as error:
            raise JournalError(
                f"A finished block of the map can't be read: {error}",
                "Give the same command again: what is damaged is made again.",
            ) from error

    def made(self, path: Path) -> bool:
        """Whether a file is an output of this run, named just before the run was killed."""
        try:
            return _mark(path) in self.state.outputs.get(str(path.resolve()), [])
        except OSError:
            return False

    def name_outputs(self, scratches: Mapping[Path, Path], pixels: Mapping[str, int]) -> None:
        """Notes the outputs, whole under temporary names, before they get their own."""
        outputs = {
            str(path.resolve()): [*self.state.outputs.get(str(path.resolve()), []), _mark(scratch)]
            for path, scratch in scratches.items()
        }
        self._save(replace(self.state, outputs=outputs, pixels=dict(pixels)))

    def note_published(self) -> None:
        """Notes that all outputs have their names."""
        self._save(replace(self.state, published=True))

    def remove(self) -> None:
        """Removes the folder, what says that the map is done last."""
        with suppress(OSError):  # one that can't be emptied stays, and the next run takes it up
            _empty(self.folder)
            self.folder.rmdir()

    def _save(self, state: State) -> None:
        write_text(self.folder / _NAME, json.dumps(asdict(state), indent=1) + "\n")
        self.state = state

    def _path(self, block: Region) -> Path:
        # The name of the run: a worker that was given up may still write a block of another one.
        return self.folder / f"rows-{block.top}-{block.bottom}.{self._run[:8]}.block"


def unlike(old: Identity, new: Identity) -> list[str]:
    """Returns the names of what differs."""
    return [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]


def work_folder(map_path: Path) -> Path:
    """Returns where the finished blocks of a map lie until it is done."""
    target = map_path.resolve()
    return target.with_name(f".{target.name}.m3amba-work")


@contextmanager
def open_journal(
    folder: Path,
    identity: Identity,
    blocks: Sequence[Region],
    kind: np.dtype[np.void],
    emit: Listener,
    *,
    restart: bool,
) -> Iterator[Journal]:
    """Yields the journal of a run, begun anew or taken up where a killed one stopped.

    Where the `with` block fails, finished blocks are kept, and it is said; without one, nothing is.

    Args:
        folder: See `work_folder`; its map is locked.
        identity: What the pixels depend on.
        blocks: All blocks of the map.
        kind: See `blocks.row_type`.
        emit: Told of what is taken up, done again or kept.
        restart: Whether to drop what is there.

    Raises:
        JournalError: The blocks that are there belong to another run.
        OutputError: The folder can't be written to.
    """
    state = None if restart else _read(folder)
    if state is not None:
        _compare(folder, state.identity, identity)
    journal = Journal(folder, state or State(dict(identity)), blocks, kind)
    try:
        if state is None:
            _begin(journal)
        else:
            journal.drop_damaged(emit)
        if state is not None and not state.published:
            emit(Note(f"Goes on from an earlier run: {_share(journal)} are there."))
        yield journal
    except BaseException:
        if len(journal.missing()) == len(blocks):
            journal.remove()
        else:
            emit(Note(f"Kept for the same command to go on from: {_share(journal)}, in {folder}."))
        raise


def _begin(journal: Journal) -> None:
    try:
        journal.folder.mkdir(exist_ok=True)
        _empty(journal.folder)
        journal._save(journal.state)
        sync_folder(journal.folder.parent)
    except OSError as error:
        raise output_error(error, journal.folder) from error


def _read(folder: Path) -> State | None:
    """Returns the state of the run that left the folder, None where it left none.

    Raises:
        JournalError: It is damaged, or of another version.
    """
    path = folder / _NAME
    try:
        state = _ADAPTER.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        raise JournalError(
            f"What an unfinished run left in {folder} can't be read.",
            "Add --restart to drop it and start anew.",
        ) from error
    if state.format != _FORMAT:
        raise JournalError(
            f"Another version of m3amba-geo left {folder}.",
            "Go on with that version, or add --restart to start anew.",
        )
    return state


def _compare(folder: Path, old: Identity, new: Identity) -> None:
    changed = unlike(old, new)
    if changed:
        raise JournalError(
            f"The unfinished map in {folder} was begun with another {', '.join(changed)}.",
            "Give what the first run was given, or add --restart to drop its work and start anew.",
        )


def _share(journal: Journal) -> str:
    whole = len(journal.blocks)
    return f"{whole - len(journal.missing())} of {whole} blocks"


def _empty(folder: Path) -> None:
    """Removes what is in the folder, `journal.json` last."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name == _NAME):
        path.unlink(missing_ok=True)


def _mark(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
