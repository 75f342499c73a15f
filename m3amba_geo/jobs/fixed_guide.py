"""A guide that training leaves as it is, and the embeddings that can therefore be kept on disk."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from platformdirs import user_cache_dir

from m3amba_geo.config import SceneConfig
from m3amba_geo.geo.align import Stack
from m3amba_geo.geo.components import Components
from m3amba_geo.geo.features import Features
from m3amba_geo.jobs.contents import content
from m3amba_geo.model.guide import ClipGuide


def set_components(guide: ClipGuide, components: Sequence[Components]) -> None:
    """Makes principal components the linear embeddings of a guide."""
    guide.load_state_dict(
        {
            f"embeddings.{n}.{end}": torch.from_numpy(array).float()
            for n, found in enumerate(components)
            for end, array in (
                ("weight", found.weights[:, :, None, None]),  # (3, C, 1, 1)
                ("bias", found.offset),
            )
        }
    )


def cache_folder() -> Path:
    """Returns where embeddings are kept (`M3AMBA_CACHE` names another folder)."""
    return Path(os.environ.get("M3AMBA_CACHE") or user_cache_dir("m3amba-geo")) / "embeddings"


def cache_file(
    guide: ClipGuide,
    scenes: Sequence[tuple[SceneConfig, Stack]],
    features: Sequence[Features],
    patch: int,
) -> Path:
    """Returns the file for all that the embeddings of windows depend on, by a digest of it."""
    weights = guide.state_dict()
    what = {
        "encoder": [guide.encoder.identity.architecture, guide.encoder.identity.sha256],
        "device": next(guide.parameters()).device.type,  # CUDA encodes in half precision
        "linear": {name: tensor.tolist() for name, tensor in weights.items()},
        "features": [_digest(modality) for modality in features],
        "patch": patch,
        "scenes": [
            {
                "grid": f"{stack.grid.shape} {stack.grid.affine} {stack.grid.crs}",
                "resampling": config.resampling,
                "modalities": [
                    [modality.chosen, [content(raster) for raster in modality.rasters]]
                    for modality in stack.modalities
                ],
            }
            for config, stack in scenes
        ],
    }
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    return cache_folder() / f"{digest}.safetensors"


def _digest(features: Features) -> str:
    numbers = [features.statistics.mean, features.statistics.deviation]
    for around in features.neighbourhoods:
        numbers += [np.array(around.side), around.center, around.matrix]
    return hashlib.sha256(b"".join(array.tobytes() for array in numbers)).hexdigest()
