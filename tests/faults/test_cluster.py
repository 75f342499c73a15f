"""Real workers: however many there are, and whichever are killed, the map is the same."""

import socket
from types import SimpleNamespace

import dask
import numpy as np
import psutil
import pytest
from distributed import LocalCluster
from small import bundle_of, with_manifest

from m3amba_geo.bundle import save_bundle
from m3amba_geo.config import ClassifyConfig, ModalityConfig, SceneConfig
from m3amba_geo.errors import ClusterError, WorkerLostError
from m3amba_geo.events import Progress, Warned, ignore
from m3amba_geo.geo.region import Region
from m3amba_geo.infer.journal import Journal, State, work_folder
from m3amba_geo.jobs import classify, mapper
from m3amba_geo.jobs.workshop import Order, Workshop
from tests.conftest import write_raster

pytestmark = [
    pytest.mark.slow,
    # The loops and sockets of a cluster in this process are collected when they are.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ROWS = 1300  # seven blocks


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A model, a scene that lacks a modality, and the map that one process makes of it."""
    folder = tmp_path_factory.mktemp("inputs")
    model = folder / "m.m3amba"
    bundle = bundle_of({"missing": 2, "bands": 3}, patch=8)
    save_bundle(model, with_manifest(bundle, modality_dropout=0.3))
    noise = np.random.default_rng(0).normal(0, 1, (3, ROWS, 64)).astype(np.float32)
    scene = SceneConfig((ModalityConfig("bands", (write_raster(folder / "bands.tif", noise),)),))
    return model, scene, contents(make(model, scene, folder / "map.tif"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and workers that stand for those of other machines."""
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        memory_limit=0,
        dashboard_address="127.0.0.1:0",
        local_directory=tmp_path_factory.mktemp("dask"),
    ) as cluster:
        yield cluster


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "map.tif"


def make(model, scene, out, emit=ignore, **options):
    options = {"confidence": out.with_name("sure.tif")} | options
    classify.run(model, scene, ClassifyConfig(out=out, **options), emit)
    return out


def contents(out):
    names = ("map.tif", "map.modalities.tif", "sure.tif", "map.qml")
    return [out.with_name(name).read_bytes() for name in names]


def workers():
    """The processes of workers below this one."""
    children = psutil.Process().children(recursive=True)
    return [p for p in children if "spawn_main" in " ".join(p.cmdline())]


class Killing:
    """A listener that kills workers once so many rows are done, and again whenever some come."""

    def __init__(self, rows, most):
        self.events, self.rows, self.killed, self.most = [], rows, [], most

    def __call__(self, event):
        self.events.append(event)
        if isinstance(event, Progress) and event.phase == "mapping" and event.done >= self.rows:
            for process in workers()[: self.most - len(self.killed)]:
                process.kill()
                self.killed.append(process.pid)

    @property
    def warnings(self):
        return [event.code for event in self.events if isinstance(event, Warned)]


def test_one_of_two_workers_killed_midway(inputs, out):
    model, scene, expected = inputs
    emit = Killing(rows=300, most=1)
    make(model, scene, out, emit, workers=2)
    assert len(emit.killed) == 1
    assert "worker-lost" in emit.warnings
    assert contents(out) == expected
    assert not work_folder(out).exists()
    assert not workers()


def test_a_worker_that_dies_again_and_again_has_its_own_error(inputs, out):
    model, scene, expected = inputs
    emit = Killing(rows=1, most=1)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        pytest.raises(WorkerLostError, match="again and again") as caught,
    ):
        make(model, scene, out, emit, workers=1)
    assert caught.value.code == "worker-lost"
    assert "--memory" in caught.value.hint
    assert not [path for path in out.parent.iterdir() if not path.name.startswith(".")]
    assert list(work_folder(out).glob("*.block"))
    assert contents(make(model, scene, out)) == expected  # alone, and from what was done


@pytest.mark.parametrize("count", [1, 2, 3])
def test_however_many_workers_there_are_the_map_is_the_same(inputs, out, cluster, count):
    model, scene, expected = inputs
    cluster.scale(count)
    cluster.wait_for_workers(count)
    emit = Killing(rows=0, most=0)
    make(model, scene, out, emit, scheduler=cluster.scheduler_address)
    assert contents(out) == expected
    rows = [e.done for e in emit.events if isinstance(e, Progress) and e.phase == "mapping"]
    assert rows == sorted(rows)
    assert (len(rows), rows[-1]) == (6, ROWS)


def test_a_worker_with_other_software_is_refused(inputs, out, cluster, monkeypatch):
    model, scene, _ = inputs
    versions = mapper.versions
    monkeypatch.setattr(mapper, "versions", lambda: versions() | {"torch": "0.1"})
    with pytest.raises(ClusterError, match=r"differs from the client: torch \(") as caught:
        make(model, scene, out, scheduler=cluster.scheduler_address)
    assert caught.value.code == "cluster"
    assert not list(out.parent.iterdir())


def test_a_scheduler_that_goes_away_has_its_own_error(inputs, out, cluster):
    """The last test with the cluster, which is gone after it."""
    model, scene, expected = inputs

    def close(event):
        if isinstance(event, Progress) and event.phase == "mapping":
            cluster.close()

    with pytest.raises(ClusterError, match="lost"):
        make(model, scene, out, close, scheduler=cluster.scheduler_address)
    assert contents(make(model, scene, out)) == expected


def test_a_scheduler_that_is_not_there_has_its_own_error(inputs, out):
    model, scene, _ = inputs
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    for wrong in (address, "nonsense://1:2"):
        with pytest.raises(ClusterError, match="No dask scheduler answers") as caught:
            make(model, scene, out, scheduler=wrong)
        assert "dask scheduler" in caught.value.hint
        assert not list(out.parent.iterdir())


def test_a_worker_that_does_not_see_the_folder_says_so(inputs, tmp_path):
    model, scene, _ = inputs
    journal = Journal(tmp_path / "elsewhere", State({}), (), np.dtype([("map", "u1", (1, 64))]))
    workshop = Workshop("name", Order(model, scene, ClassifyConfig(), journal, network=False))
    workshop.setup(SimpleNamespace(state=SimpleNamespace(nthreads=1)))
    with pytest.raises(ClusterError, match="does not find the work folder"):
        workshop.make(Region(0, 0, 10, 64))


def test_a_workshop_closes_what_it_opened(inputs, out, monkeypatch):
    """From another thread than the one that made blocks, as a worker's loop does."""
    model, scene, expected = inputs
    opened = []

    def make_all(model, scene, config, mapper, journal, _):
        workshop = Workshop("name", Order(model.path, scene, config, journal, network=False))
        workshop.setup(SimpleNamespace(state=SimpleNamespace(nthreads=1)))
        for block in journal.missing():
            assert journal.holds(block, workshop.make(block))
        opened.extend(r for m in workshop._mapper.stack.modalities for r in m.rasters)
        assert not opened[0]._file.closed
        workshop.teardown(None)
        workshop._bench.shutdown(wait=True)

    monkeypatch.setattr(classify, "maker", lambda *_: make_all)
    assert contents(make(model, scene, out)) == expected
    assert opened[0]._file.closed
