from collections.abc import Callable

import numpy as np
import pytest

from m3amba_geo.assess.accuracy import Accuracy
from m3amba_geo.assess.evaluation import Evaluation
from m3amba_geo.geo.legend import LandCover, Legend

COLORS = ("#2a6f97", "#2d6a4f", "#e9c46a", "#9d4e4e")


def legend_of(*names: str) -> Legend:
    return tuple(
        LandCover(place + 1, name, COLORS[place % 4], name) for place, name in enumerate(names)
    )


@pytest.fixture
def legend() -> Legend:
    return legend_of("water", "forest", "urban")


@pytest.fixture
def accuracy(legend: Legend) -> Accuracy:
    """Of 95 pixels, 74 agree; the measures are worked out by hand in test_accuracy."""
    return Accuracy(legend, np.array([[21, 6, 0], [5, 31, 1], [7, 2, 22]]), unmapped=4)


@pytest.fixture
def evaluation(accuracy: Accuracy, legend: Legend) -> Evaluation:
    apart = Accuracy(legend, np.array([[10, 3, 0], [0, 0, 0], [2, 0, 5]]))
    settings = {"map": "map.tif", "labels": "roi.gpkg", "checksum": "sha256:9f86d081"}
    notes = ("forest has no pixels far from training.",)
    return Evaluation(accuracy, 120, 21, settings, apart, 16, notes)


@pytest.fixture
def named() -> Callable[..., Evaluation]:
    """Makes an evaluation of classes with the names given, `pixels` of each right."""

    def make(*names: str, pixels: int = 5) -> Evaluation:
        matrix = np.eye(len(names), dtype=np.int64) * pixels
        return Evaluation(Accuracy(legend_of(*names), matrix), len(names) * pixels)

    return make
