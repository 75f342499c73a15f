"""What jobs leave behind, as programs are told of it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Results:
    """A record of results: paths, numbers, words, and tables of them."""

    def to_json(self) -> dict[str, Any]:
        """Returns them as JSON can hold them."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}
