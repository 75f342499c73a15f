"""All that is told about a map; reports render it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from m3amba_geo.assess.accuracy import Accuracy
from m3amba_geo.assess.estimates import Estimates


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All that a report says about a map.

    Attributes:
        accuracy: Of all pixels scored.
        labelled: Labelled pixels on the map's grid, before any were left out.
        training: Those left out because training or validation saw them.
        settings: What was compared and how (map, labels, model, checksum, split, date), to show.
        separated: Accuracy of the scored pixels at least `gap` pixels from any training pixel.
        gap: That distance in pixels.
        notes: What a reader must know before believing the numbers.
        subsets: Accuracy of the scored pixels that are made from each subset of the modalities, by
            its name; empty for a map that tells nothing of that.
        estimates: Of the whole map, where the labels are a probability sample of it.
    """

    accuracy: Accuracy
    labelled: int
    training: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)
    separated: Accuracy | None = None
    gap: int = 0
    notes: tuple[str, ...] = ()
    subsets: Mapping[str, Accuracy] = field(default_factory=dict)
    estimates: Estimates | None = None

    @property
    def counts(self) -> dict[str, int]:
        """What became of the labelled pixels."""
        return {
            "labelled": self.labelled,
            "training": self.training,
            "unmapped": self.accuracy.unmapped,
            "scored": self.accuracy.pixels,
        }
