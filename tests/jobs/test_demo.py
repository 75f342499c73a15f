"""The demo on its real scene, shortened to one epoch."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from m3amba_geo.events import Artifact, Event, Started
from m3amba_geo.jobs import demo

pytestmark = pytest.mark.slow


def test_demo_leaves_everything_it_names(tmp_path: Path) -> None:
    events: list[Event] = []
    results = demo.run(tmp_path / "demo", events.append, epochs=1)

    assert sum(isinstance(event, Started) for event in events) == 1
    roles = {e.role: Path(e.path) for e in events if isinstance(e, Artifact)}
    assert {"model", "map", "confidence", "report", "html", "picture"} <= set(roles)
    assert all(path.stat().st_size > 0 for path in roles.values())

    source = tmp_path / "demo" / "data" / "lsat7_2000_10.tif"
    with rasterio.open(results.map) as made, rasterio.open(source) as given:
        assert (made.crs, made.transform, made.shape) == (given.crs, given.transform, given.shape)
        codes = made.read(1)
    assert set(np.unique(codes)) <= {0, 2, 3, 4, 5, 6, 7}  # agriculture, 1, lies under nodata

    report = json.loads(results.report.read_text())
    assert report["pixels"] == results.points == sum(map(sum, report["confusion_matrix"]))
    assert report["counts"]["labelled"] == sum(
        report["counts"][part] for part in ("training", "unmapped", "scored")
    )
    assert results.picture.read_bytes().startswith(b"\x89PNG")
    page = results.page.read_text()
    assert "data:image/png;base64" in page
    assert "http" not in page
