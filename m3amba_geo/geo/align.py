"""A stack of modalities on one grid, read window by window."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from m3amba_geo.config import ModalityConfig, SceneConfig
from m3amba_geo.errors import BandMismatchError, ModalityMissingError, NoOverlapError, UsageError
from m3amba_geo.events import Listener, Note, Warned
from m3amba_geo.geo.bands import Band, crossed_names, match_bands
from m3amba_geo.geo.coverage import Coverage
from m3amba_geo.geo.footprint import crs_of, describe, meet, outline
from m3amba_geo.geo.marks import Positions, boxes_around
from m3amba_geo.geo.raster import Mask, Pixels, Raster, open_raster, same_place

_STRIP = 128  # rows that are read at a time
_WIDE = 1024  # columns that are read at a time for single pixels


@dataclass(frozen=True)
class Modality:
    """An open modality: rasters whose bands follow each other, and those of them that are used.

    Attributes:
        name: Its name.
        rasters: Empty where the scene lacks the modality, which is then invalid everywhere.
        chosen: Which of their bands are used.
        bands: What these are.
    """

    name: str
    rasters: tuple[Raster, ...]
    chosen: tuple[int, ...]
    bands: tuple[Band, ...]

    def read(self, window: Window) -> tuple[Pixels, Mask]:
        """Returns `(C, h, w)` float32 and `(h, w)`, true where every band is valid."""
        if not self.rasters:
            shape = (int(window.height), int(window.width))
            return np.zeros((len(self.chosen), *shape), np.float32), np.zeros(shape, np.bool_)
        parts = [raster.read(window) for raster in self.rasters]
        chosen = list(self.chosen)
        pixels = np.concatenate([p for p, _ in parts])[chosen]  # (C,h,w)
        valid = np.logical_and.reduce(np.concatenate([v for _, v in parts])[chosen])  # (h,w)
        return pixels, valid


class Stack:
    """All modalities of a scene on its grid.

    Attributes:
        grid: The grid.
        modalities: The modalities, in the order of the scene, or of the model that they are for.
        coverage: Which of its pixels count.

    Args:
        grid: The grid.
        modalities: The modalities.
        dropout: By what chance training silences modalities, see `Coverage`.
        reference: Files that the grid is taken from.
    """

    def __init__(
        self,
        grid: GeoBox,
        modalities: Sequence[Modality],
        dropout: float = 0.0,
        reference: Sequence[str] = (),
    ) -> None:
        self._reference = reference
        self.grid = grid
        self.modalities = tuple(modalities)
        self.coverage = Coverage.of([modality.name for modality in modalities], dropout)

    @property
    def files(self) -> list[Path]:
        """All files that pixels and grid come from, those behind virtual rasters among them."""
        rasters = [raster for modality in self.modalities for raster in modality.rasters]
        names = [*self._reference, *(name for raster in rasters for name in raster.files)]
        return [Path(name) for name in dict.fromkeys(names)]

    def strip_bytes(self, rows: int) -> int:
        """Returns the size of the blocks of its files that so many rows lie in."""
        rasters = [raster for modality in self.modalities for raster in modality.rasters]
        return sum(raster.strip_bytes(rows) for raster in rasters)

    def read(self, top: int, left: int, height: int, width: int) -> tuple[list[Pixels], list[Mask]]:
        """Returns pixels `(C_n, h, w)` and validity `(h, w)` of each modality.

        The window may reach beyond the grid: what lies outside is 0 and invalid.
        """
        rows, columns = self.grid.shape
        y0, y1 = np.clip((top, top + height), 0, rows)
        x0, x1 = np.clip((left, left + width), 0, columns)
        pixels = [np.zeros((len(m.chosen), height, width), np.float32) for m in self.modalities]
        valid = [np.zeros((height, width), np.bool_) for _ in self.modalities]
        if y1 <= y0 or x1 <= x0:
            return pixels, valid
        inside = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        window = Window(int(x0), int(y0), int(x1 - x0), int(y1 - y0))
        for n, modality in enumerate(self.modalities):
            pixels[n][(slice(None), *inside)], valid[n][inside] = modality.read(window)
        return pixels, valid

    def read_at(self, pixels: Positions) -> Iterator[tuple[Positions, list[Pixels], list[Mask]]]:
        """Reads some pixels (N,) of the flattened grid, a part of them at a time.

        Yields:
            Which of them (n,), and for each modality their values `(C, n)` and validity `(n,)`.
        """
        height, width = self.grid.shape
        for top, left, *size, here in boxes_around((height, width), pixels, _STRIP, _WIDE):
            values, valid = self.read(top, left, *size)
            rows, columns = np.divmod(pixels[here], width)
            rows, columns = rows - top, columns - left
            yield here, [v[:, rows, columns] for v in values], [v[rows, columns] for v in valid]

    def strips(self, height: int = _STRIP) -> Iterator[tuple[int, int]]:
        """Yields `(top, height)` of strips that cover the grid."""
        rows = self.grid.shape[0]
        for top in range(0, rows, height):
            yield top, min(height, rows - top)


@dataclass(frozen=True)
class TrainedModality:
    """What a model remembers of a modality, to find its bands again."""

    name: str
    bands: tuple[Band, ...]


@contextmanager
def open_stack(
    scene: SceneConfig,
    emit: Listener,
    trained: Sequence[TrainedModality] | None = None,
    dropout: float = 0.0,
) -> Iterator[Stack]:
    """Opens a scene on its grid: the first raster's, unless the scene names another.

    Args:
        scene: Rasters and grid.
        emit: Told of every warp and of every assumption.
        trained: The modalities of a model; the scene's are matched to them.
        dropout: By what chance training has silenced modalities; often enough (see `Coverage`), and
            the scene may lack some of those of the model.

    Raises:
        M3ambaError: A file is missing or broken, lacks a CRS, or does not overlap the grid.
        BandMismatchError: Modalities or bands are not those of the model.
    """
    with ExitStack() as handles:
        opened = [
            (name, tuple(handles.enter_context(open_raster(file)) for file in files))
            for name, files in _in_trained_order(scene.modalities, trained, dropout, emit)
        ]
        if scene.grid is None:
            first = scene.modalities[0].name
            reference = next(rasters[0] for name, rasters in opened if name == first)
        else:
            reference = handles.enter_context(open_raster(scene.grid))
        grid = reference.grid
        if grid.crs is None:
            text = "The reference raster has no CRS: the map will have none."
            if reference.control_points:
                text += " It has ground control points: gdalwarp gives it, and the map, a place."
            emit(Warned("crs-none", text))
        modalities = []
        for n, (name, rasters) in enumerate(opened):
            for raster in rasters:
                _bring_onto(raster, grid, scene, emit)
            bands = None if trained is None else trained[n].bands
            modalities.append(_modality(name, rasters, bands, emit))
        yield Stack(grid, modalities, dropout, reference.files)


def _modality(
    name: str, rasters: tuple[Raster, ...], trained: Sequence[Band] | None, emit: Listener
) -> Modality:
    bands = [band for raster in rasters for band in raster.bands]
    chosen = [*range(len(bands))]
    if trained is not None and not rasters:
        bands, chosen = [*trained], [*range(len(trained))]
    elif trained is not None:
        chosen = match_bands(name, trained, bands)
        _show_match(name, trained, [bands[i] for i in chosen], emit)
    return Modality(name, rasters, tuple(chosen), tuple(bands[i] for i in chosen))


def _in_trained_order(
    given: Sequence[ModalityConfig],
    trained: Sequence[TrainedModality] | None,
    dropout: float,
    emit: Listener,
) -> Sequence[tuple[str, Sequence[Path]]]:
    """Returns name and files of each modality; one that is missing has no files."""
    files = {modality.name: modality.files for modality in given}
    names = list(files)
    if len(names) < len(given):
        names = [modality.name for modality in given]
        raise UsageError(f"Modality names are not unique: {', '.join(names)}.", "Rename one.")
    if trained is None:
        return [*files.items()]
    wanted = [modality.name for modality in trained]
    if set(names) <= set(wanted):
        _check_missing(wanted, names, dropout, emit)
        return [(name, files.get(name, ())) for name in wanted]
    misplaced = any(
        name in wanted and name != own for name, own in zip(names, wanted, strict=False)
    )
    if len(given) != len(trained) or misplaced:
        raise BandMismatchError(
            f"The model takes {len(trained)} modalities ({', '.join(wanted)}); "
            f"{len(given)} were given ({', '.join(names)}).",
            f"Name them as in training, for example {wanted[0]}=FILE.",
        )
    pairs = [f"{new} for {old}" for old, new in zip(wanted, names, strict=True) if old != new]
    emit(Note(f"Modalities are taken in the order given: {', '.join(pairs)}."))
    return [*files.items()]


def _check_missing(
    wanted: Sequence[str], given: Sequence[str], dropout: float, emit: Listener
) -> None:
    missing = ", ".join(name for name in wanted if name not in given)
    if not missing:
        return
    if not Coverage.of(wanted, dropout).fewer:
        raise ModalityMissingError(
            f"All of {', '.join(wanted)} are needed, in training and by models with little "
            f"modality dropout. Missing: {missing}.",
            "Give all, or train a model with modality_dropout = 0.3 in the table [train] of "
            "m3amba.toml: such a one goes without.",
        )
    emit(Note(f"The scene is taken without {missing}."))


def _show_match(
    modality: str, trained: Sequence[Band], given: Sequence[Band], emit: Listener, most: int = 12
) -> None:
    """Says which band stands for which, where they are not described alike."""
    pairs = [f"{new} for {old}" for old, new in zip(trained, given, strict=True) if old != new]
    if pairs:
        more = ", ..." if len(pairs) > most else ""
        emit(Note(f"Bands of '{modality}': {', '.join(pairs[:most])}{more}."))
    if crossed := crossed_names(trained, given):
        emit(
            Warned(
                "bands-crossed",
                f"Bands of '{modality}' are taken in the order given, though their names are those "
                f"of others in training: {', '.join(crossed)}. Put them into the order of the "
                "training, or call them all as there.",
            )
        )


def _bring_onto(raster: Raster, grid: GeoBox, scene: SceneConfig, emit: Listener) -> None:
    if raster.transparency:
        emit(
            Note(
                f"A band of {raster.path.name} is marked as transparency (alpha): it masks pixels "
                "and is not taken as data."
            )
        )
    if same_place(raster.grid, grid):
        return
    if raster.grid.crs is not None and grid.crs is not None and not meet(raster.grid, grid):
        raise NoOverlapError(
            f"{raster.path} ({describe(crs_of(raster.grid), outline(raster.grid).bounds)}) does "
            f"not overlap the reference grid ({describe(crs_of(grid), outline(grid).bounds)}).",
            "Check that all rasters show the same place and carry the right CRS.",
        )
    raster.warp_onto(grid, scene.resampling)
    height, width = grid.shape
    emit(
        Note(
            f"{raster.path.name} is warped onto the reference grid "
            f"({width} x {height} pixels), {scene.resampling} resampling."
        )
    )
