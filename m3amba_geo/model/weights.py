"""Where the weights of CLIP image encoders lie, and which file is which.

What a file holds is the business of `tower.py`. `open_clip` and `huggingface_hub` are imported
inside functions, because they take seconds.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

from platformdirs import user_data_dir

from m3amba_geo.errors import FileMissingError, UsageError, WeightsUnavailableError
from m3amba_geo.events import Listener, Note
from m3amba_geo.files import checksum
from m3amba_geo.model.tower import SUFFIXES

TIMEOUT = 10.0  # seconds until the hub counts as out of reach


@dataclass(frozen=True)
class Place:
    """A file that may hold the weights.

    Attributes:
        path: The file.
        source: Where it came from, without folders of this machine: fit for a model's manifest.
        chosen: Whether the user put it there; what lies in a cache by chance may be passed over.
    """

    path: Path
    source: str
    chosen: bool = True


def weights_folder() -> Path:
    """Returns the folder where users keep encoder weights (`M3AMBA_WEIGHTS` overrides it)."""
    return Path(os.environ.get("M3AMBA_WEIGHTS") or Path(user_data_dir("m3amba-geo")) / "weights")


def remedies(architecture: str) -> str:
    """Returns the three ways out when weights can't be had."""
    return (
        "Name a local file (`--guide-weights FILE`), put the file into the weights folder as "
        f"{weights_folder() / architecture}.safetensors (or .pt), or go without (`--guide none`)."
    )


def check_architecture(architecture: str) -> None:
    """Makes sure that open_clip knows the architecture by this very name.

    Raises:
        UsageError: It does not; near matches are listed.
    """
    import open_clip

    names = open_clip.list_models()
    if architecture not in names:
        lowered = {name.lower(): name for name in names}
        near = [lowered[n] for n in get_close_matches(architecture.lower(), lowered, 5, 0.4)]
        raise UsageError(
            f"open_clip {open_clip.__version__} knows no architecture {architecture!r}.",
            f"Near matches: {', '.join(near) or 'none'}; all: `open_clip.list_models()`.",
        )


def local_places(architecture: str, weights: Path | None) -> Iterator[Place]:
    """Yields files on this machine that may hold the weights, best first; opens no connection.

    Args:
        architecture: Name in open_clip.
        weights: The file that the user named; then nothing else is looked at.

    Raises:
        FileMissingError: The named file is not there.
    """
    if weights is not None:
        if not weights.is_file():
            raise FileMissingError(f"{weights} is missing.", "Check `--guide-weights`.")
        yield Place(weights, f"file:{weights.name}")
        return
    for suffix in SUFFIXES:
        path = weights_folder() / f"{architecture}{suffix}"
        if path.is_file():
            yield Place(path, f"folder:{path.name}")
    yield from _cached_places(architecture)


def _cached_places(architecture: str) -> Iterator[Place]:
    from huggingface_hub import try_to_load_from_cache

    for published in _published(architecture):
        repo, names = _hub_files(published["hf_hub"])
        for name in names:
            hit = try_to_load_from_cache(repo, name)
            if isinstance(hit, str):
                yield Place(Path(hit), f"hub:{repo}/{name}", chosen=False)
        path = Path.home() / ".cache" / "clip" / PurePosixPath(published["url"]).name
        if published["url"] and path.is_file():
            yield Place(path, f"cache:{path.name}", chosen=False)


def download(architecture: str, emit: Listener) -> Place:
    """Fetches the first published weights of the architecture into the hub's own cache.

    Raises:
        WeightsUnavailableError: There are none, or the hub can't be reached.
    """
    from huggingface_hub import hf_hub_download, model_info

    files = [_hub_files(entry["hf_hub"]) for entry in _published(architecture)]
    if not files:
        raise WeightsUnavailableError(
            f"open_clip lists no published weights for {architecture}, its activation included.",
            remedies(architecture),
        )
    repo, names = files[0]
    emit(Note(f"Downloading weights of {architecture} from {repo}."))
    try:
        # Asked first, because this fails at once where a download is retried for half a minute.
        held = {sibling.rfilename for sibling in model_info(repo, timeout=TIMEOUT).siblings or ()}
        if not held.intersection(names):
            raise FileNotFoundError(f"no {' or '.join(names)} there")
        name = next(name for name in names if name in held)
        return Place(Path(hf_hub_download(repo, name)), f"hub:{repo}/{name}")
    except Exception as error:  # network, disk and hub errors share no base class
        raise WeightsUnavailableError(
            f"Weights of {architecture} could not be downloaded from {repo} "
            f"({type(error).__name__}: {error}).",
            remedies(architecture),
        ) from error


def _published(architecture: str) -> Iterator[dict[str, Any]]:
    """Yields open_clip's entries of weights trained with the architecture's own activation."""
    import open_clip

    config = open_clip.get_model_config(architecture)
    for tag in open_clip.list_pretrained_tags_by_model(architecture):
        entry: dict[str, Any] = open_clip.get_pretrained_cfg(architecture, tag)
        # OpenAI's weights are also listed under the name without QuickGELU: not the same network.
        if entry["hf_hub"] and bool(entry.get("quick_gelu")) == bool(config.get("quick_gelu")):
            yield entry


def _hub_files(entry: str) -> tuple[str, tuple[str, ...]]:
    """Splits `owner/repo/[file]` into the repository and its files, safetensors first."""
    repo, _, name = entry.rpartition("/")
    if not name:
        return repo, ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    return repo, tuple(dict.fromkeys((str(PurePosixPath(name).with_suffix(".safetensors")), name)))


def sha256(path: Path) -> str:
    """Returns the file's SHA-256 in hexadecimal digits.

    Raises:
        WeightsUnavailableError: The file can't be read.
    """
    try:
        return checksum(path)
    except OSError as error:
        raise WeightsUnavailableError(f"{path} can't be read: {error}", "Check it.") from error


def known_architectures(digest: str) -> list[str]:
    """Returns the architectures of a published file by its SHA-256; empty if it is not known.

    The checksums are those in open_clip's download addresses: whole ones for OpenAI's files, the
    first eight digits for open_clip's own.
    """
    import open_clip

    known = []
    for architecture in dict(open_clip.list_pretrained()):
        for entry in _published(architecture):
            url = PurePosixPath(entry["url"])
            published = url.parent.name if "openaipublic" in entry["url"] else ""
            if "mlfoundations" in entry["url"]:
                published = url.stem.rpartition("-")[2]
            if published and digest.startswith(published):
                known.append(architecture)
    return known
