"""The tiny place as a scene in memory, parted into polygons."""

import pytest

from m3amba_geo.events import ignore
from training.cases import cases, read_scene
from training.recipe import Protocol


@pytest.fixture
def scene(place):
    return read_scene(place.scene, ignore)


@pytest.fixture
def case(scene):
    (case,) = cases(scene, Protocol(methods=("forest",), part="polygon"), [0])
    return case
