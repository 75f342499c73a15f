"""The image tower of a CLIP model: read from a file of weights, built, filled.

Nothing here runs code from a file: pickles are read by torch's restricted reader, and TorchScript
archives, which are programs, are refused. The text tower is never needed, so it is neither read
nor kept.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from m3amba_geo.errors import WeightsUnavailableError
from m3amba_geo.model.pickles import load_tensors

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")

# open_clip builds both towers; this stands in for the text tower, which is dropped at once.
_NO_TEXT = {"context_length": 2, "vocab_size": 2, "width": 8, "heads": 1, "layers": 1}


def read_tower(path: Path) -> dict[str, Tensor]:
    """Returns the weights of the image tower, named as in open_clip without `visual.`.

    OpenAI, open_clip and RemoteCLIP name them alike; a wrapping `state_dict` and the prefix
    `module.` of multi-process training are taken off.

    Raises:
        WeightsUnavailableError: The file is damaged, of another kind, or holds no image tower.
    """
    if path.suffix not in SUFFIXES:
        raise WeightsUnavailableError(
            f"{path} is none of {', '.join(SUFFIXES)}.", "Convert it, or mend the file's name."
        )
    tower = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    if not tower:
        raise WeightsUnavailableError(
            f"{path} holds no weights named `visual.*`.",
            "Give the state dict of a whole CLIP model in OpenAI, open_clip or RemoteCLIP naming.",
        )
    return tower


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())  # the file itself can't be iterated over
            return {short: file.get_tensor(name) for name in names if (short := _short(name))}
    except (SafetensorError, OSError) as error:
        raise _damaged(path) from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        script = _is_torchscript(path)
        content = None if script else load_tensors(path)
    except Exception as error:  # a damaged archive may raise anything
        raise _damaged(path) from error
    if script:
        raise WeightsUnavailableError(
            f"{path} is a TorchScript archive: a program, which is not run.",
            'Convert it, if you trust it: `python -c "import torch; torch.save(torch.jit.load('
            f"r'{path}', map_location='cpu').state_dict(), r'{path.stem}-weights.pt')\"`, then "
            f"`--guide-weights {path.stem}-weights.pt`.",
        )
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        return {}
    return {
        short: value
        for name, value in content.items()
        if isinstance(value, Tensor) and (short := _short(str(name)))
    }


def _short(name: str) -> str:
    """Returns the name inside the image tower; empty for weights of anything else."""
    name = name.removeprefix("module.")
    return name.removeprefix("visual.") if name.startswith("visual.") else ""


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(n.endswith("/constants.pkl") or "/code/" in n for n in archive.namelist())


def _damaged(path: Path) -> WeightsUnavailableError:
    return WeightsUnavailableError(
        f"{path} is damaged, or holds more than tensors (code in a pickle is never run).",
        "Fetch it again, or save its plain state dict, best as .safetensors.",
    )


def build_tower(architecture: str, weights: Mapping[str, Tensor], name: str) -> nn.Module:
    """Builds the image tower and fills it, every weight and no other.

    Args:
        architecture: Name in open_clip.
        weights: As from `read_tower`; any float type, made float32.
        name: The file, for the error.

    Raises:
        WeightsUnavailableError: The weights are those of another architecture.
    """
    import open_clip

    config = open_clip.get_model_config(architecture)
    vision = config["vision_cfg"] | {"output_tokens": False}
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False  # or timm would download
    with torch.random.fork_rng(devices=[]):  # a guide must not shift the seeds of training
        visual: nn.Module = open_clip.CustomTextCLIP(
            config["embed_dim"], vision, _NO_TEXT, quick_gelu=bool(config.get("quick_gelu"))
        ).visual
    misfits = _misfits(visual.state_dict(), weights)
    if misfits:
        raise WeightsUnavailableError(
            f"{name} does not fit {architecture}: {'; '.join(misfits)}.",
            "Most likely these are the weights of another architecture: state the right one "
            "(`architecture` of the guide's settings) or give another file.",
        )
    visual.load_state_dict(weights)
    return visual


def embedding_width(architecture: str) -> int:
    """Returns `F`, the width of the architecture's image embeddings."""
    import open_clip

    return int(open_clip.get_model_config(architecture)["embed_dim"])


def _misfits(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Returns what differs, an example each."""
    misfits = []
    if missing := sorted(expected.keys() - found.keys()):
        misfits.append(f"{len(missing)} weights are missing, such as {missing[0]}")
    if foreign := sorted(found.keys() - expected.keys()):
        misfits.append(f"{len(foreign)} do not belong there, such as {foreign[0]}")
    for key in sorted(expected.keys() & found.keys()):
        if expected[key].shape != found[key].shape:
            want, have = tuple(expected[key].shape), tuple(found[key].shape)
            misfits.append(f"{key} should be {want} and is {have}")
            break
    return misfits
