"""A mosaic: many scenes and an index of them in, a tile of the map for each and a VRT out."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from m3amba_geo import __version__
from m3amba_geo.bundle import Manifest, ModelFile
from m3amba_geo.config import ClassifyConfig, ModalityConfig, MosaicConfig, SceneConfig
from m3amba_geo.errors import AllNodataError, JournalError, M3ambaError, OutputExistsError
from m3amba_geo.events import Artifact, Listener, Note, Progress, Started, Warned, ignore
from m3amba_geo.files import (
    check_apart,
    drop_scratches,
    locked,
    output_error,
    together,
    write_text,
)
from m3amba_geo.geo.align import Stack, open_stack
from m3amba_geo.geo.index import IndexedScene, read_index
from m3amba_geo.geo.maps import code_type, style_path, used_path
from m3amba_geo.geo.tiles import Tile, check_grids, vrt_of
from m3amba_geo.infer.journal import Identity, unlike, work_folder
from m3amba_geo.jobs.classify import beside, make_map, maker
from m3amba_geo.jobs.contents import stack_contents
from m3amba_geo.jobs.machine import versions
from m3amba_geo.jobs.results import Results
from m3amba_geo.jobs.sidecar import sidecar_path

VRT, TILES, RECORD = "mosaic.vrt", "tiles", "mosaic.json"
_EMPTY = {"pixels": "none"}  # beside what a scene was looked at with, where it has no tile
_RECORDS = TypeAdapter(dict[str, dict[str, str]])
_AGAIN = "Add --overwrite to make such tiles again, or name another folder."


@dataclass(frozen=True)
class MosaicResults(Results):
    """What was made.

    Attributes:
        vrt: The whole map, as a virtual raster.
        tiles: Folder of the maps of all scenes.
        scenes: How many scenes the index has.
        made: How many of them were mapped now; the others had been before, or have no valid pixel.
    """

    vrt: Path
    tiles: Path
    scenes: int
    made: int


def run(
    model: Path,
    index: Path,
    fields: Sequence[ModalityConfig],
    config: MosaicConfig,
    options: ClassifyConfig,
    emit: Listener,
) -> MosaicResults:
    """Makes the tiles that are not there yet, and the VRT over all.

    What each tile is made from is written down before the first one is: so a tile that is there
    and whole is known by its record, whenever a run was stopped.

    Args:
        model: Model file.
        index: See `geo.index`.
        fields: Fields or assets that name the files of each modality; none takes those that are
            called like the modalities of the model.
        config: Where it goes.
        options: How each map is made; its outputs, bounds and mask do not count.
        emit: Told of everything on the way.

    Raises:
        M3ambaError: The index, a scene, the machine or an output is not fit. All scenes are
            looked at before the first one is mapped.
    """
    emit(Started("mosaic", __version__))
    trained = ModelFile.read(model)  # once: all tiles are of one model
    known = trained.bundle.manifest
    names = [modality.name for modality in known.modalities]
    wanted = fields or [ModalityConfig(name, (Path(name),)) for name in names]
    coverage = known.coverage
    scenes = read_index(index, wanted, fewer=coverage.fewer)
    vrt, tiles = config.out / VRT, config.out / TILES
    paths = {scene.name: tiles / f"{scene.name}.tif" for scene in scenes}
    files = [file for scene in scenes for modality in scene.modalities for file in modality.files]
    used = used_path(vrt) if coverage.fewer else None
    ours = [vrt, *([] if used is None else [used]), sidecar_path(vrt), style_path(vrt)]
    outputs = [*ours, config.out / RECORD, *paths.values()]
    check_apart(outputs, [model, index, *files])
    _make_folders(config.out, tiles)
    with locked(vrt), ExitStack() as handles:
        drop_scratches(*ours, config.out / RECORD)
        record = _read_record(config.out / RECORD)
        for path in ours if record is None and not options.overwrite else ():
            if path.exists():
                raise OutputExistsError(f"{path} exists already, and is not ours.", _AGAIN)
        settings = _settings(trained.digest, config, options)
        places, identities = _look(scenes, settings, known, outputs)
        todo = [
            scene
            for scene in scenes
            if _is_missing(
                paths[scene.name],
                (record or {}).get(scene.name),
                identities[scene.name],
                overwrite=options.overwrite,
            )
        ]
        record = (record or {}) | {scene.name: identities[scene.name] for scene in todo}
        _write_record(config.out / RECORD, record)
        if done := len(scenes) - len(todo):
            emit(Note(f"{done} of {len(scenes)} scenes are done already."))
        make, made = maker(options, handles), 0
        for n, scene in enumerate(todo, done + 1):
            emit(Note(f"Scene {scene.name}, {n} of {len(scenes)}."))
            place = SceneConfig(scene.modalities, resampling=config.resampling)
            try:
                make_map(trained, place, _for_tile(options, paths[scene.name]), make, emit)
                made += 1
            except AllNodataError:
                text = f"The scene {scene.name} has no valid pixel, and is left out."
                emit(Warned("scene-empty", text))
                record[scene.name] = identities[scene.name] | _EMPTY
                _write_record(config.out / RECORD, record)
            emit(Progress("scenes", n, len(scenes), "scenes"))
        shown = [place for place in places if (config.out / place.name).exists()]
        if not shown:
            raise AllNodataError("No scene has a valid pixel.", "Check their nodata values.")
        legend = known.legend
        with together() as scratch_of:
            texts = {vrt: vrt_of(shown, code_type(legend), "class", legend)}
            if used is not None:
                marks = [Tile(str(used_path(Path(tile.name))), tile.grid) for tile in shown]
                texts[used] = vrt_of(marks, "uint8", "modalities", coverage.legend())
            texts |= beside(trained, vrt, used)
            for path, text in texts.items():
                scratch_of(path).write_text(text, encoding="utf-8")
    emit(Artifact(str(vrt), "map"))
    return MosaicResults(vrt, tiles, len(scenes), made)


def _make_folders(*folders: Path) -> None:
    for folder in folders:
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise output_error(error, folder) from error


def _settings(digest: str, config: MosaicConfig, options: ClassifyConfig) -> dict[str, str]:
    """Returns what all tiles depend on."""
    keys = ("stride", "batch", "precision", "device", "scan")
    asked = {key: str(getattr(options, key)) for key in keys}
    return {"model": digest, "resampling": config.resampling, **asked, **versions()}


def _look(
    scenes: Sequence[IndexedScene], settings: Identity, known: Manifest, outputs: Sequence[Path]
) -> tuple[list[Tile], dict[str, dict[str, str]]]:
    """Opens every raster once; returns where tiles will lie, and what each depends on."""
    places, identities = [], {}
    for scene in scenes:
        with _opened(scene, known) as stack:
            check_apart(outputs, stack.files)
            places.append(Tile(f"{TILES}/{scene.name}.tif", stack.grid))
            identities[scene.name] = {**settings, **stack_contents(stack, known.modalities)}
    check_grids(places)
    return places, identities


@contextmanager
def _opened(scene: IndexedScene, known: Manifest) -> Iterator[Stack]:
    """Opens the rasters of a scene, which are to fit the model.

    Raises:
        M3ambaError: They do not, or can't be read; the message names the scene.
    """
    place = SceneConfig(scene.modalities)
    try:
        with open_stack(place, ignore, known.modalities, known.modality_dropout) as stack:
            yield stack
    except M3ambaError as error:
        raise type(error)(f"Scene {scene.name}: {error}", error.hint) from error


def _is_missing(tile: Path, old: Identity | None, new: Identity, *, overwrite: bool) -> bool:
    """Whether a tile is to be made; one that may be replaced is removed, its record comes later.

    A scene that was looked at and has no valid pixel needs none.

    Raises:
        JournalError: It was made from something else.
        OutputExistsError: It is there, and nobody knows what it was made from.
    """
    if not tile.exists() or work_folder(tile).exists():
        return bool(unlike(old or {}, {**new, **_EMPTY}))
    changed = unlike(old or {}, new)
    if not changed:
        return False
    if not overwrite and old is None:
        raise OutputExistsError(f"{tile} exists already, and is not ours.", _AGAIN)
    if not overwrite:
        raise JournalError(f"{tile} was made with another {', '.join(changed)}.", _AGAIN)
    try:
        tile.unlink()
    except OSError as error:
        raise output_error(error, tile) from error
    return True


def _for_tile(options: ClassifyConfig, tile: Path) -> ClassifyConfig:
    """Returns how a tile is made; what lies there of an older one is known to be replaceable."""
    return replace(
        options, out=tile, confidence=None, probabilities=None, modalities_used=None, bounds=None,
        mask=None, overwrite=True,
    )  # fmt: skip


def _read_record(path: Path) -> dict[str, dict[str, str]] | None:
    try:
        return _RECORDS.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        raise JournalError(
            f"{path}, which says what the tiles were made from, can't be read.",
            "Remove it and add --overwrite to make all tiles again, or name another folder.",
        ) from error


def _write_record(path: Path, record: Mapping[str, Identity]) -> None:
    write_text(path, json.dumps(record, indent=1) + "\n")
