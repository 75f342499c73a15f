"""The one place that opens files that `torch.save` wrote: tensors come out, no code runs."""

import zipfile
from pathlib import Path
from typing import Any

import torch


def load_tensors(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    """Returns what is in a file, tensors and plain containers alone, mapped where it can be.

    Raises:
        ValueError: It is damaged, or holds more than these.
    """
    try:
        mapped = zipfile.is_zipfile(path)  # what is not read stays on the disk
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a damaged pickle may raise anything
        raise ValueError(f"{path} is damaged, or holds more than tensors.") from error
