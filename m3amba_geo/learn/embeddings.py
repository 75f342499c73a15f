"""Image embeddings that training does not change: computed once for each window, kept on disk.

They are those of the patch as it lies in the raster, neither turned nor disturbed: what `classify`
will see. All are made before training, so that what training costs is known when it starts. Each
window is encoded by itself: its embedding depends on nothing else, so a run that was interrupted,
or one that finds some of them on disk, ends at the same weights as any other.

Letters: B batch, N modalities, C_n bands of modality n, P patch side, F width of an embedding.
"""

import hashlib
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from m3amba_geo.errors import OutputError
from m3amba_geo.events import Listener, Note, Progress, Warned
from m3amba_geo.files import drop_scratches, library_error, locked, output_error, whole
from m3amba_geo.geo.raster import Pixels
from m3amba_geo.learn.patches import Batch, Patches, Window
from m3amba_geo.learn.world import ALONE, World
from m3amba_geo.model.guide import ClipGuide

_KEEP_EVERY = 300.0  # seconds of encoding that a kill may cost


class Embeddings:
    """Image embeddings of windows, and of a patch without data.

    Attributes:
        windows: `(n, 3)` int64: scene, top, left.
        values: `(n, N, F)` float32.
        empty: `(N, F)` float32.
    """

    def __init__(
        self,
        windows: NDArray[np.int64],
        values: NDArray[np.float32],
        empty: NDArray[np.float32],
    ) -> None:
        self.windows, self.values, self.empty = windows, values, empty

    @cached_property
    def rows(self) -> dict[Window, int]:
        """Where the windows are in `values`."""
        return {Window(*window): row for row, window in enumerate(self.windows.tolist())}

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Returns them as a file holds them."""
        named = {"windows": self.windows, "values": self.values, "empty": self.empty}
        return {name: np.ascontiguousarray(array) for name, array in named.items()}

    def first(self, count: int) -> "Embeddings":
        """Returns those of the first windows."""
        return Embeddings(self.windows[:count], self.values[:count], self.empty)

    def of(self, batch: Batch) -> list[Tensor]:
        """Returns the embeddings of a batch, for each modality `(B, F)`.

        A modality that is silenced in a patch has the embedding of a patch without data.
        """
        found = self.values[[self.rows[window] for window in batch.windows]]  # (B, N, F)
        for n, patches in enumerate(batch.patches):
            silent = ~patches.cpu().flatten(1).any(1).numpy()
            found[silent, n] = self.empty[n]
        return [embedding.contiguous() for embedding in torch.from_numpy(found).unbind(1)]


def embed(
    guide: ClipGuide, patches: Patches, path: Path, emit: Listener, world: World = ALONE
) -> Embeddings:
    """Returns the embeddings of every window that training and validation may see.

    Args:
        guide: On the device that it is to run on.
        patches: Whose windows lie on a lattice.
        path: File for this guide, these rasters and this patch side; it may hold the embeddings of
            some windows already. Where it can't be written, that is a warning.
        emit: Told of progress and of the file.
        world: The processes that share the work out; the first of them keeps the file.

    Raises:
        ProcessLostError: Another process has ended.
    """
    shelf = _Shelf(path, emit)
    known = shelf.take()
    if not world.same("" if known is None else _digest(known.arrays())):
        known = None  # machines with files of their own
    if known is None:
        empty = _encode(guide, [np.zeros_like(p) for p in patches.patch_at(Window(0, 0, 0))])
        known = Embeddings(
            np.empty((0, 3), np.int64), np.empty((0, *empty.shape), np.float32), empty
        )
    validation = patches.validation_windows(np.random.default_rng(0), None)
    wanted = patches.training_windows() | set(validation)
    missing = sorted(wanted - known.rows.keys())
    emit(Note(f"Image embeddings: {len(wanted) - len(missing)} of {len(wanted)} are in {path}."))
    more = np.array([(w.scene, w.top, w.left) for w in missing], np.int64).reshape(-1, 3)
    every = Embeddings(
        np.concatenate([known.windows, more]),
        np.concatenate([known.values, np.zeros((len(more), *known.empty.shape), np.float32)]),
        known.empty,
    )
    before, kept_at = len(known.windows), time.monotonic()
    part = world.part(len(missing))
    own, values = missing[part], every.values[before:]
    for done, window in enumerate(own, start=1):
        values[part.start + done - 1] = _encode(guide, patches.patch_at(window))
        emit(Progress("embedding", done, len(own), "windows"))
        if world.leads and time.monotonic() - kept_at > _KEEP_EVERY:
            shelf.keep(every.first(before + done))  # its own come first
            kept_at = time.monotonic()
    if missing:
        world.sum(torch.from_numpy(values))
        if world.leads:
            shelf.keep(every)
    return every


@torch.inference_mode()
def _encode(guide: ClipGuide, patch: list[Pixels]) -> NDArray[np.float32]:
    """Returns the embeddings `(N, F)` of a patch, for each modality `(C_n, P, P)`."""
    device = next(guide.parameters()).device
    found = guide([torch.from_numpy(pixels[None]).to(device) for pixels in patch])  # N of (1, F)
    return torch.cat(found).cpu().numpy()


class _Shelf:
    """A file of embeddings; whatever is wrong with it, training goes on."""

    def __init__(self, path: Path, emit: Listener) -> None:
        self.path, self.emit = path, emit
        self.writable = True

    def take(self) -> Embeddings | None:
        """Returns what the file holds; None where it is not there, or damaged."""
        try:
            with safe_open(self.path, "numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
                if (file.metadata() or {}).get("sha256") != _digest(arrays):
                    raise ValueError("its checksum does not fit its content")
            return Embeddings(**arrays)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            self.emit(Note(f"{self.path} is damaged and is made again: {error}"))
            return None

    def keep(self, embeddings: Embeddings) -> None:
        """Writes the file, whole or not at all; says so once where that is impossible."""
        if not self.writable:
            return
        try:
            self._write(embeddings)
        except OutputError as error:
            self.writable = False
            self.emit(
                Warned(
                    "embeddings-lost",
                    f"Image embeddings can't be kept for the next training: {error} {error.hint} "
                    "The variable M3AMBA_CACHE names another folder.",
                )
            )

    def _write(self, embeddings: Embeddings) -> None:
        arrays = embeddings.arrays()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(error, self.path) from error
        with locked(self.path):
            drop_scratches(self.path)
            with whole(self.path) as scratch:
                try:
                    save_file(arrays, scratch, {"sha256": _digest(arrays)})
                except SafetensorError as error:
                    raise library_error(error, self.path) from error


def _digest(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.ravel().view(np.uint8).data)
    return digest.hexdigest()
