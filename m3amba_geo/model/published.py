"""Reads weights under the names of the authors' release (network.md, section 9).

In a stream's blocks `*_hsi` belongs to the stream itself and `*_lidar` to the fusion stream, in
either modality. Parameters that reach no output are dropped: the fusion stream's step sizes and
skips in a crossing, its dt and C projections, and the modality's own B projection.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from m3amba_geo.config import NetworkConfig
from m3amba_geo.errors import NotAModelError
from m3amba_geo.model.m3amba import M3amba, build
from m3amba_geo.model.ss2d import DIRECTIONS

_MODALITIES = ("hsi", "lidar")
_STREAMS = ("layers_x", "layers_y")
_DEAD = ("dt_projs_weight_lidar", "dt_projs_bias_lidar", "Ds_lidar")


def load_published(state_dict: Mapping[str, Tensor]) -> M3amba:
    """Returns the network that holds the authors' weights.

    Args:
        state_dict: The content of `model_dict`, names without that prefix.

    Raises:
        NotAModelError: Names or shapes are not those of the release.
    """
    try:
        weights = {name: tensor.detach() for name, tensor in state_dict.items()}
        network = build(_config(weights))
        network.load_state_dict(_renamed(weights))
    except (AttributeError, LookupError, RuntimeError, ValueError) as error:
        raise NotAModelError(
            f"These are not the weights of a published M3amba: {error}",
            "Pass the content of `model_dict`, names without that prefix.",
        ) from error
    if weights:
        raise NotAModelError(
            f"Weights without a place in the network: {', '.join(sorted(weights)[:5])}.",
            "Pass the content of `model_dict` alone.",
        )
    return network


def _config(weights: Mapping[str, Tensor]) -> NetworkConfig:
    width = weights["patch_embed_hsi.0.weight"].shape[0]
    tokens, embedding = weights["linear_hsi.weight"].shape
    depth = 1 + max(int(n.split(".")[2]) for n in weights if n.startswith("layers_z.0."))
    return NetworkConfig(
        bands=tuple(weights[f"patch_embed_{m}.0.weight"].shape[1] for m in _MODALITIES),
        classes=weights["classifier_add.head.weight"].shape[0],
        width=width,
        depth=depth,
        states=weights["layers_z.0.0.op.A_logs"].shape[1],
        patch=round(tokens**0.5),
        embedding=embedding,
    )


def _renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Moves every tensor out of `weights` to its name in our network."""
    ours: dict[str, Tensor] = {}

    def move(theirs: str, name: str) -> None:
        for end in ("weight", "bias"):
            if f"{theirs}.{end}" in weights:
                ours[f"{name}.{end}"] = weights.pop(f"{theirs}.{end}")

    for n, modality in enumerate(_MODALITIES):
        move(f"linear_{modality}", f"adapters.{n}.linear")
        move(f"conv_{modality}", f"adapters.{n}.conv")
        move(f"patch_embed_{modality}_clip.0", f"adapters.{n}.embed.conv")
        move(f"patch_embed_{modality}_clip.2", f"adapters.{n}.embed.norm")
        move(f"patch_embed_{modality}.0", f"embeddings.{n}.conv")
        move(f"patch_embed_{modality}.2", f"embeddings.{n}.norm")
        move(f"classifier_{modality}.norm", f"heads.{n}.norm")
        move(f"classifier_{modality}.head", f"heads.{n}.conv")
    move("classifier_add.norm", "fused_head.norm")
    move("classifier_add.head", "fused_head.conv")

    depth = 1 + max(int(n.split(".")[2]) for n in weights if n.startswith("layers_z.0."))
    blocks = [(f"layers_z.0.{i}", f"fusion.{i}") for i in range(depth)]
    for n, stream in enumerate(_STREAMS):
        blocks += [(f"{stream}.0.{i}", f"streams.{n}.{i}") for i in range(depth)]
    for theirs, name in blocks:
        move(f"{theirs}.norm", f"{name}.norm")
        move(f"{theirs}.norm2", f"{name}.norm2")
        move(f"{theirs}.mlp.fc1", f"{name}.mlp.0")
        move(f"{theirs}.mlp.fc2", f"{name}.mlp.2")
        move(f"{theirs}.op.in_proj", f"{name}.scan.in_proj")
        move(f"{theirs}.op.conv2d", f"{name}.scan.conv")
        move(f"{theirs}.op.out_norm", f"{name}.scan.out_norm")
        move(f"{theirs}.op.out_proj", f"{name}.scan.out_proj")
        scan = _fused_scan if name.startswith("fusion") else _crossed_scan
        ours |= {f"{name}.scan.{k}": v for k, v in scan(weights, f"{theirs}.op").items()}
    return ours


def _by_direction(tensor: Tensor) -> Tensor:
    return tensor.unflatten(0, (DIRECTIONS, -1))  # (K*I, ...) -> (K, I, ...)


def _fused_scan(weights: dict[str, Tensor], op: str) -> dict[str, Tensor]:
    return {
        "x_proj.weight": weights.pop(f"{op}.x_proj_weight"),  # (K, R+2S, I)
        "step.weight": weights.pop(f"{op}.dt_projs_weight"),  # (K, I, R)
        "step.bias": weights.pop(f"{op}.dt_projs_bias"),  # (K, I)
        "A_log": _by_direction(weights.pop(f"{op}.A_logs")),  # (K, I, S)
        "D": _by_direction(weights.pop(f"{op}.Ds")),  # (K, I)
    }


def _crossed_scan(weights: dict[str, Tensor], op: str) -> dict[str, Tensor]:
    own, other = weights.pop(f"{op}.x_proj_weight_hsi"), weights.pop(f"{op}.x_proj_weight_lidar")
    decay = weights.pop(f"{op}.A_logs_hsi")
    states = decay.shape[1]
    rank = own.shape[1] - 2 * states
    for dead in _DEAD:
        weights.pop(f"{op}.{dead}")
    return {
        "x_proj.weight": torch.cat([own[:, :rank], own[:, rank + states :]], 1),  # (K, R+S, I)
        "z_proj.weight": other[:, rank : rank + states],  # (K, S, I)
        "step.weight": weights.pop(f"{op}.dt_projs_weight_hsi"),  # (K, I, R)
        "step.bias": weights.pop(f"{op}.dt_projs_bias_hsi"),  # (K, I)
        "A_log_x": _by_direction(decay),  # (K, I, S)
        "A_log_z": _by_direction(weights.pop(f"{op}.A_logs_lidar")),  # (K, I, S)
        "D": _by_direction(weights.pop(f"{op}.Ds_hsi")),  # (K, I)
    }
