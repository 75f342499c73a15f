"""Which band is which: matching the bands of new rasters to those a model was trained on."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from m3amba_geo.errors import BandMismatchError

WAVELENGTH_TOLERANCE = 10.0  # nm; sensors of one family differ by less, neighbouring bands by more


@dataclass(frozen=True)
class Band:
    """A band as its file describes it.

    Attributes:
        name: Description of the band; empty where the file gives none.
        wavelength: Centre in nanometres, where known.
    """

    name: str
    wavelength: float | None = None

    def __str__(self) -> str:
        label = self.name or "unnamed"
        return label if self.wavelength is None else f"{label} ({self.wavelength:g} nm)"


def match_bands(modality: str, trained: Sequence[Band], given: Sequence[Band]) -> list[int]:
    """Returns, for each trained band, the index of the given band that stands for it.

    Wavelengths decide where all bands have one; else names, where they are told apart by them;
    else the order, if the numbers are equal and no wavelength speaks against it. Anything else is
    refused rather than guessed.

    Raises:
        BandMismatchError: No reading is certain.
    """
    for match in (_by_wavelength, _by_name, _by_order):
        indices = match(trained, given)
        if indices is not None:
            return indices
    raise BandMismatchError(
        f"Modality '{modality}' has {len(given)} bands ({_listed(given)}); "
        f"the model was trained on {len(trained)} ({_listed(trained)}).",
        "Give the same bands in the same order, or files whose bands carry the names or "
        "wavelengths of the training bands.",
    )


def _by_wavelength(trained: Sequence[Band], given: Sequence[Band]) -> list[int] | None:
    offered = [band.wavelength for band in given if band.wavelength is not None]
    if len(offered) < len(given):
        return None
    indices = []
    for band in trained:
        if band.wavelength is None:
            return None
        distances = [abs(other - band.wavelength) for other in offered]
        if min(distances) > WAVELENGTH_TOLERANCE:
            return None
        indices.append(distances.index(min(distances)))
    return indices if len(set(indices)) == len(indices) else None


def _by_order(trained: Sequence[Band], given: Sequence[Band]) -> list[int] | None:
    if len(trained) != len(given) or any(map(_differ, trained, given)):
        return None
    return list(range(len(trained)))


def crossed_names(trained: Sequence[Band], given: Sequence[Band]) -> list[str]:
    """Returns what is taken for another band than the one of its name, where order has decided.

    Args:
        trained: Bands of the training.
        given: For each the band that stands for it.
    """
    if all(band.wavelength is not None for band in (*trained, *given)):
        return []
    names = {_plain(band.name) for band in trained} - {""}
    return [
        f"{new} for {old}"
        for old, new in zip(trained, given, strict=True)
        if _plain(new.name) != _plain(old.name) and _plain(new.name) in names
    ]


def _differ(one: Band, other: Band) -> bool:
    """Whether wavelengths say that two bands are not the same."""
    if one.wavelength is None or other.wavelength is None:
        return False
    return abs(one.wavelength - other.wavelength) > WAVELENGTH_TOLERANCE


def _by_name(trained: Sequence[Band], given: Sequence[Band]) -> list[int] | None:
    wanted, offered = [_plain(b.name) for b in trained], [_plain(b.name) for b in given]
    told_apart = all(offered) and len(set(offered)) == len(offered)
    if told_apart and set(wanted) <= set(offered) and len(set(wanted)) == len(wanted):
        return [offered.index(name) for name in wanted]
    return None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _listed(bands: Sequence[Band], most: int = 6) -> str:
    shown = [str(band) for band in bands[:most]]
    return ", ".join(shown) + (", ..." if len(bands) > most else "")
