"""Which pixels are mapped, and from which modalities: the one place that decides it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from m3amba_geo.geo.colors import fill_in
from m3amba_geo.geo.legend import LandCover, Legend
from m3amba_geo.geo.raster import Mask

Used = NDArray[np.uint8]
"""`(h, w)` what each pixel is made from: a code of `Coverage`, 0 where it is not mapped."""

ENOUGH = 0.2  # modality dropout from which on a network is trusted to do with fewer
COMPLETE = 1  # the code of all modalities
_MOST = 8  # modalities whose subsets fit into a byte
_COMPLETE_COLOR = "#b5bdb9"


@dataclass(frozen=True)
class Coverage:
    """What a pixel needs to be mapped, and codes for what it has.

    The code of a subset of the modalities is 1, and a bit for each that is missing: the first one
    counts 1, the second 2, the third 4. So 1 is all of them, however many there are.

    Attributes:
        names: Modalities, in the network's order.
        fewer: Whether one valid modality is enough; else all are needed.
    """

    names: tuple[str, ...]
    fewer: bool

    @classmethod
    def of(cls, names: Sequence[str], dropout: float) -> Self:
        """Returns what a network needs whose training has silenced modalities by this chance."""
        return cls(tuple(names), dropout >= ENOUGH and 1 < len(names) <= _MOST)

    def used(self, valid: Sequence[Mask]) -> Used:
        """Returns what each pixel is made from, by where the modalities are valid."""
        enough = (np.logical_or if self.fewer else np.logical_and).reduce(valid)
        codes: Used = enough.astype(np.uint8)  # COMPLETE
        for n, there in enumerate(valid if self.fewer else ()):
            codes[enough & ~there] += 1 << n
        return codes

    def legend(self) -> Legend:
        """Returns the subsets that are enough, as classes of a raster."""
        count = len(self.names)
        codes = range(COMPLETE, 2**count) if self.fewer else (COMPLETE,)
        names = [
            ", ".join(name for n, name in enumerate(self.names) if not (code - COMPLETE) >> n & 1)
            for code in codes
        ]
        colors = fill_in(names, [_COMPLETE_COLOR, *[""] * (len(names) - 1)])
        return tuple(
            LandCover(*entry, entry[1]) for entry in zip(codes, names, colors, strict=True)
        )
