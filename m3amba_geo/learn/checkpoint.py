"""The state of a training run on disk: safetensors and JSON, like everything else of ours."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from m3amba_geo.errors import CheckpointError
from m3amba_geo.files import library_error, whole


@dataclass(frozen=True)
class Position:
    """Where a run stands.

    Attributes:
        run: Digest of data, labels and settings; a run goes on only with the same.
        step: Steps done.
        best_step: Step of the weights that are kept.
        best_score: Best score of a validation so far, 0..1; -1 before the first.
        misses: Validations since those weights, which were clearly worse.
    """

    run: str
    step: int = 0
    best_step: int = 0
    best_score: float = -1.0
    misses: int = 0


def save_checkpoint(
    path: Path,
    position: Position,
    groups: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """Writes a checkpoint that is whole or absent; tensors are named `group/name`.

    Raises:
        OutputError: It can't be written.
    """
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous()
        for group, members in groups.items()
        for name, tensor in members.items()
    }
    with whole(path) as scratch:
        try:
            save_file(tensors, scratch, {"position": json.dumps(asdict(position))})
        except SafetensorError as error:
            raise library_error(error, path) from error


def load_checkpoint(path: Path, run: str) -> tuple[Position, dict[str, dict[str, Tensor]]]:
    """Returns position and tensors by group.

    Args:
        path: The file.
        run: Digest of the run that wants to go on.

    Raises:
        CheckpointError: There is none, it is damaged, or it belongs to another run.
    """
    if not path.exists():
        raise CheckpointError(
            f"There is no unfinished training at {path}.", "Leave out --resume to start anew."
        )
    groups: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(path, "pt") as file:
            position = Position(**json.loads(file.metadata()["position"]))
            for key in file.keys():  # noqa: SIM118 - not a mapping
                group, _, name = key.partition("/")
                groups.setdefault(group, {})[name] = file.get_tensor(key)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"The checkpoint {path} is damaged: {error}", "Delete it and start anew."
        ) from error
    if position.run != run:
        raise CheckpointError(
            f"The checkpoint {path} belongs to other data, labels or settings.",
            "Give the same inputs and options as before, or leave out --resume.",
        )
    return position, groups
