"""The model file: one `.m3amba`, safetensors with a JSON manifest.

Opening one reads numbers and text; no code runs. Tensors: `network.*` and `guide.*` (the linear
embeddings) hold weights, `features.*` how bands are averaged and combined, `area.N.train` and
`area.N.validation` which pixels of scene N were labelled. The frozen image encoder is not in it,
only its identity.
"""

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from m3amba_geo.config import Embedding, NetworkConfig
from m3amba_geo.errors import FileMissingError, ModelDamagedError, NotAModelError
from m3amba_geo.files import checksum, whole
from m3amba_geo.geo.align import TrainedModality
from m3amba_geo.geo.area import GridRecord, TrainingArea
from m3amba_geo.geo.coverage import Coverage
from m3amba_geo.geo.features import Features, Neighbourhood
from m3amba_geo.geo.legend import LandCover
from m3amba_geo.geo.runs import Runs
from m3amba_geo.geo.stats import BandStatistics
from m3amba_geo.model import M3amba, build
from m3amba_geo.model.guide import GuideIdentity

FORMAT = 2
_KEY = "m3amba"
_MOST_HEADER = 100_000_000  # bytes; safetensors' own limit


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of each band of a modality, as JSON can hold them."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def of(cls, statistics: BandStatistics) -> Self:
        """Returns arrays as JSON can hold them."""
        return cls(tuple(statistics.mean.tolist()), tuple(statistics.deviation.tolist()))

    def statistics(self) -> BandStatistics:
        """Returns them as arrays."""
        return BandStatistics(np.array(self.mean), np.array(self.deviation))


@dataclass(frozen=True)
class Manifest:
    """All that is known of a model besides its weights.

    Attributes:
        network: Shape of the network.
        modalities: Names and bands, in the network's order.
        scaling: Band statistics of each modality.
        neighbourhoods: Sides of the neighbourhoods that features are made of, in pixels.
        legend: Classes; position = the network's class index.
        guide: Identity of the image encoder, None where there was none.
        grids: Place of each training scene.
        resolution: Pixel size `(x, y)` of the first training grid in its CRS's units.
        split: How labels were parted, in words, and what could not be kept apart.
        scores: Validation scores.
        settings: The settings of training.
        versions: Packages that made it.
        inputs: Fingerprints of the files it was trained on.
        scan: Scan backend used in training.
        created: Time in UTC, ISO 8601.
        licence: What the maker allows.
        embedding: How bands became images for the encoder: by weights that were trained, or by
            principal components.
        modality_dropout: By what chance training has silenced modalities; the network
            may do with fewer, see `coverage`.
        temperature: By which probabilities are tempered, see `model.confidence`; 1 where no
            validation pixels were held out to tell.
        format: Version of this manifest.
    """

    network: NetworkConfig
    modalities: tuple[TrainedModality, ...]
    scaling: tuple[Scaling, ...]
    legend: tuple[LandCover, ...]
    guide: GuideIdentity | None
    grids: tuple[GridRecord, ...]
    resolution: tuple[float, float]
    split: tuple[str, ...]
    scores: dict[str, float]
    settings: dict[str, Any]
    versions: dict[str, str]
    inputs: dict[str, str]
    scan: str
    created: str
    licence: str = ""
    embedding: Embedding = "learned"
    neighbourhoods: tuple[int, ...] = ()
    modality_dropout: float = 0.0
    temperature: float = 1.0
    format: int = FORMAT

    def __post_init__(self) -> None:
        bands = tuple(len(modality.bands) for modality in self.modalities)
        features = tuple(count * max(1, len(self.neighbourhoods)) for count in bands)
        counts = [
            tuple(len(scaling.mean) for scaling in self.scaling),
            tuple(len(scaling.deviation) for scaling in self.scaling),
        ]
        if (
            any(count != bands for count in counts)
            or features != self.network.bands
            or len(self.legend) != self.network.classes
        ):
            raise ValueError("Bands or classes differ in number from those of the network.")
        if not 1 <= self.temperature < math.inf:
            raise ValueError(f"Probabilities can't be tempered by {self.temperature}.")

    @property
    def coverage(self) -> Coverage:
        """Which pixels the model maps."""
        return Coverage.of([modality.name for modality in self.modalities], self.modality_dropout)


@dataclass(frozen=True)
class Bundle:
    """A model in memory.

    Attributes:
        manifest: What is known of it.
        network: The network, on the CPU, in evaluation mode.
        guide_weights: Weights of the linear embeddings; empty without a guide.
        areas: The labelled pixels of its training.
        neighbourhoods: What the network sees of each modality; empty where that is its bands.
    """

    manifest: Manifest
    network: M3amba
    guide_weights: Mapping[str, Tensor] = field(default_factory=dict)
    areas: tuple[TrainingArea, ...] = ()
    neighbourhoods: tuple[tuple[Neighbourhood, ...], ...] = ()

    @property
    def features(self) -> list[Features]:
        """What the network sees of each modality."""
        scaling = self.manifest.scaling
        around = self.neighbourhoods or ((),) * len(scaling)
        return [Features(s.statistics(), n) for s, n in zip(scaling, around, strict=True)]


_ADAPTER = TypeAdapter(Manifest)


def save_bundle(path: Path, bundle: Bundle) -> None:
    """Writes a model file that is whole or absent.

    Raises:
        OutputError: It can't be written.
    """
    tensors = {f"network.{k}": v for k, v in bundle.network.state_dict().items()}
    tensors |= {f"guide.{k}": v for k, v in bundle.guide_weights.items()}
    for n, own in enumerate(bundle.neighbourhoods):
        for around in own:
            tensors[f"features.{n}.{around.side}.center"] = torch.from_numpy(around.center)
            tensors[f"features.{n}.{around.side}.matrix"] = torch.from_numpy(around.matrix)
    for n, area in enumerate(bundle.areas):
        tensors[f"area.{n}.train"] = torch.from_numpy(area.train.numbers(area.shape))
        tensors[f"area.{n}.validation"] = torch.from_numpy(area.validation.numbers(area.shape))
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    manifest = _ADAPTER.dump_json(bundle.manifest).decode()
    content = save(tensors, {_KEY: manifest, "sha256": _digest(manifest, tensors)})
    with whole(path) as scratch:
        scratch.write_bytes(content)


def load_bundle(path: Path) -> Bundle:
    """Opens a model file.

    Raises:
        FileMissingError: It is not there.
        NotAModelError: It is something else.
        ModelDamagedError: It is ours but altered, truncated or too new.
    """
    manifest = read_manifest(path)
    try:
        tensors = load(path.read_bytes())
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error
    header = _header(path)
    if _digest(header[_KEY], tensors) != header.get("sha256"):
        raise _damaged(path, "its checksum does not fit its content")
    try:
        weights = _under(tensors, "network.")
        _check_shapes(weights, manifest.network)  # a few words can ask for any amount of memory
        network = build(manifest.network).eval()
        network.load_state_dict(weights)
        neighbourhoods = tuple(
            _neighbourhoods(tensors, n, manifest) for n in range(len(manifest.scaling))
        )
        areas = tuple(_area(tensors, n, record) for n, record in enumerate(manifest.grids))
    except (RuntimeError, ValueError, KeyError) as error:
        raise _damaged(path, f"tensors do not fit the manifest ({error})") from error
    return Bundle(manifest, network, _under(tensors, "guide."), areas, neighbourhoods)


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A model file that has been read.

    Attributes:
        path: Where it lies.
        digest: SHA-256 of the file, by which maps know it.
        bundle: Its content.
    """

    path: Path
    digest: str
    bundle: Bundle

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads it; raises what `load_bundle` raises."""
        bundle = load_bundle(path)
        return cls(path, checksum(path), bundle)


def _check_shapes(weights: Mapping[str, Tensor], config: NetworkConfig) -> None:
    """Raises ValueError where weights are not those of such a network, without making one."""
    with torch.device("meta"):
        wanted = build(config).state_dict()
    if {n: w.shape for n, w in weights.items()} != {n: w.shape for n, w in wanted.items()}:
        raise ValueError("names or shapes of the network's weights")


def read_manifest(path: Path) -> Manifest:
    """Returns the manifest alone, without reading weights.

    Raises:
        FileMissingError: It is not there.
        NotAModelError: It is something else.
        ModelDamagedError: The manifest is damaged or of a newer format.
    """
    try:
        manifest = json.loads(_header(path)[_KEY])
        if manifest.get("format") != FORMAT:
            raise _damaged(path, f"its format {manifest.get('format')} is not {FORMAT}")
        return _ADAPTER.validate_python(manifest)
    except (ValidationError, AttributeError, TypeError, json.JSONDecodeError) as error:
        raise _damaged(path, "its manifest does not fit") from error


def _header(path: Path) -> dict[str, str]:
    """Returns the text part of a safetensors file, read by its documented layout."""
    try:
        with path.open("rb") as handle:
            start = handle.read(8)
            size = struct.unpack("<Q", start)[0] if len(start) == 8 else _MOST_HEADER + 1
            raw = handle.read(size) if size <= _MOST_HEADER else b""
    except FileNotFoundError as error:
        raise FileMissingError(f"{path} is missing.", "Check the path of the model.") from error
    except OSError as error:
        raise NotAModelError(f"{path} can't be read: {error.strerror}.", _MODEL_HINT) from error
    if not raw.startswith(b"{"):
        raise NotAModelError(f"{path} is not a m3amba-geo model.", _MODEL_HINT)
    if len(raw) < size:
        raise _damaged(path, "it ends early")
    try:
        metadata = json.loads(raw)["__metadata__"]
        return {_KEY: metadata[_KEY], "sha256": metadata["sha256"]}
    except (ValueError, KeyError, TypeError) as error:
        raise NotAModelError(f"{path} is not a m3amba-geo model.", _MODEL_HINT) from error


_MODEL_HINT = "Give a .m3amba file that `m3amba-geo train` has written."


def _damaged(path: Path, reason: str) -> ModelDamagedError:
    return ModelDamagedError(
        f"The model {path} is damaged or of another version: {reason}.",
        "Copy it again, train it again, or update m3amba-geo.",
    )


def _digest(manifest: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(manifest.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _neighbourhoods(
    tensors: Mapping[str, Tensor], n: int, manifest: Manifest
) -> tuple[Neighbourhood, ...]:
    count = len(manifest.scaling[n].mean)
    found = []
    for side in manifest.neighbourhoods:
        center, matrix = (tensors[f"features.{n}.{side}.{x}"].numpy() for x in ("center", "matrix"))
        if center.shape != (count,) or matrix.shape != (count, count):
            raise ValueError(f"neighbourhoods of {count} bands do not fit")
        found.append(Neighbourhood(side, center, matrix))
    return tuple(found)


def _area(tensors: Mapping[str, Tensor], n: int, record: GridRecord) -> TrainingArea:
    train, validation = (
        Runs.checked(tensors[f"area.{n}.{side}"].numpy(), record.shape)
        for side in ("train", "validation")
    )
    return TrainingArea(record.grid(), train, validation)
