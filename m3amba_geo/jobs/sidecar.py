"""The sidecar of a map: which model made it, its classes, and the pixels that trained it."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter, ValidationError

from m3amba_geo.bundle import ModelFile
from m3amba_geo.errors import DataError
from m3amba_geo.geo.area import GridRecord, TrainingArea
from m3amba_geo.geo.legend import LandCover
from m3amba_geo.geo.runs import from_text, to_text


@dataclass(frozen=True)
class AreaRecord:
    """A training area as JSON can hold it: the runs of its masks, compressed, base64."""

    grid: GridRecord
    train: str
    validation: str

    @classmethod
    def of(cls, area: TrainingArea) -> Self:
        """Returns an area as a sidecar holds it."""
        train, validation = (to_text(runs, area.shape) for runs in (area.train, area.validation))
        return cls(GridRecord.of(area.grid), train, validation)


@dataclass(frozen=True)
class Sidecar:
    """What travels beside a map.

    Attributes:
        model: SHA-256 of the model file.
        model_name: Its name, for people.
        created: Time of the map in UTC, ISO 8601.
        patch: Patch side in pixels; half of it is how far a training pixel is seen.
        legend: Classes of the map.
        split: How the training labels were parted, in words.
        areas: The labelled pixels of the training.
        modalities: Raster of what each pixel is made from (see `geo.coverage`), by its path from
            the map's folder; None where all pixels are made from all modalities.
    """

    model: str
    model_name: str
    created: str
    patch: int
    legend: tuple[LandCover, ...]
    split: tuple[str, ...]
    areas: tuple[AreaRecord, ...]
    modalities: str | None = None

    @classmethod
    def of(cls, model: ModelFile, map_path: Path, used: Path | None) -> Self:
        """Returns that of a map of a model; `used` says what its pixels are made from."""
        manifest = model.bundle.manifest
        return cls(
            model=model.digest,
            model_name=model.path.name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            patch=manifest.network.patch,
            legend=manifest.legend,
            split=manifest.split,
            areas=tuple(map(AreaRecord.of, model.bundle.areas)),
            modalities=None if used is None else _seen_from(map_path, used),
        )

    def training_areas(self) -> list[TrainingArea]:
        """Returns the masks.

        Raises:
            ValueError: A mask is damaged.
        """
        return [
            TrainingArea(
                record.grid.grid(),
                from_text(record.train, record.grid.shape),
                from_text(record.validation, record.grid.shape),
            )
            for record in self.areas
        ]

    def to_text(self) -> str:
        """Returns it as the file holds it."""
        return json.dumps(asdict(self), indent=1) + "\n"


_ADAPTER = TypeAdapter(Sidecar)


def sidecar_path(map_path: Path) -> Path:
    """Returns where the sidecar of a map lies."""
    return map_path.with_name(map_path.name + ".m3amba.json")


def _seen_from(map_path: Path, other: Path) -> str:
    """Returns a path as it holds beside the map, so that both may be moved together."""
    if other.resolve().parent == map_path.resolve().parent:
        return other.name
    return str(other.resolve())


def read_sidecar(map_path: Path) -> Sidecar | None:
    """Returns the sidecar of a map, None where there is none.

    Raises:
        DataError: There is one, but damaged.
    """
    path = sidecar_path(map_path)
    if not path.exists():
        return None
    try:
        sidecar = _ADAPTER.validate_json(path.read_bytes())
        sidecar.training_areas()
    except (ValidationError, ValueError) as error:
        raise DataError(
            f"The sidecar {path} is damaged.", "Make the map again, or name its --model."
        ) from error
    return sidecar
