"""What a worker of a cluster does: it opens model and rasters once, and makes blocks.

It is sent paths and settings, opens the files itself, and makes sure that they are those of the
client, with the same versions under it: all that the journal knows a run by must be equal. It
writes its blocks where the client's journal is, and returns their checksums.
"""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from distributed import Worker, WorkerPlugin, get_worker

from m3amba_geo.bundle import ModelFile
from m3amba_geo.config import ClassifyConfig, SceneConfig
from m3amba_geo.errors import CancelledError, ClusterError
from m3amba_geo.events import ignore
from m3amba_geo.geo.access import reach
from m3amba_geo.geo.region import Region
from m3amba_geo.infer.blocks import RowRecords
from m3amba_geo.infer.journal import Journal, unlike
from m3amba_geo.jobs.mapper import Mapper, open_mapper


@dataclass(frozen=True)
class Order:
    """What a worker needs to know of a map; paths do not depend on the current folder.

    Attributes:
        model: Model file.
        scene: Rasters.
        config: Options, with all that may be chosen chosen.
        journal: A copy of the client's.
        network: Whether inputs may lie on servers.
    """

    model: Path
    scene: SceneConfig
    config: ClassifyConfig
    journal: Journal
    network: bool


class Workshop(WorkerPlugin):
    """A worker's hold on a map, for as long as its client wants blocks of it.

    Blocks are made one at a time, with all threads of the worker. One thread of the workshop's own
    opens the files, makes all blocks and closes the files: GDAL's settings hold for the thread that
    made them, and for those that are given them (`geo.raster.as_here`).
    """

    def __init__(self, name: str, order: Order) -> None:
        self.name = name
        self._order = order

    def setup(self, worker: Worker) -> None:
        """Begins; the files are opened with the first block, not to keep the worker waiting."""
        self._threads: int = worker.state.nthreads
        self._bench = ThreadPoolExecutor(1, "workshop")
        self._handles = ExitStack()
        self._mapper: Mapper | None = None
        self._closed = False

    def teardown(self, worker: Worker) -> None:
        """Ends the block in progress, if any, and closes all files."""
        self._closed = True
        self._bench.submit(self._handles.close)
        self._bench.shutdown(wait=False)  # the worker itself must not wait for it

    def make(self, block: Region) -> bytes:
        """Makes and writes a block, and returns its checksum.

        Raises:
            M3ambaError: Inputs or outputs are not fit, or not those of the client.
        """
        return self._bench.submit(self._make, block).result()

    def _make(self, block: Region) -> bytes:
        self._mapper = self._mapper or self._open()
        with closing(self._rows(self._mapper, block)) as rows:
            return self._order.journal.write(block, rows)

    def _rows(self, mapper: Mapper, block: Region) -> Generator[RowRecords]:
        for records in mapper.rows(block):
            if self._closed:
                raise CancelledError("The client wants no more blocks.")
            yield records

    def _open(self) -> Mapper:
        order = self._order
        if not order.journal.is_shared():
            raise ClusterError(
                f"A worker does not find the work folder {order.journal.folder} of this run.",
                "Let all machines see outputs and inputs under the same paths.",
            )
        model = ModelFile.read(order.model)
        with ExitStack() as handles:
            handles.enter_context(reach(network=order.network))
            mapper = handles.enter_context(
                open_mapper(model, order.scene, order.config, self._threads, ignore)
            )
            if changed := unlike(order.journal.state.identity, mapper.identity):
                found = ", ".join(f"{key} ({mapper.identity.get(key)})" for key in changed)
                raise ClusterError(
                    f"On a worker this differs from the client: {found}.",
                    "Install the same versions on all machines, and let them see the same files.",
                )
            self._handles.push(handles.pop_all())
        return mapper


def make_block(name: str, block: Region) -> bytes:
    """Makes a block in the workshop of that name; see `Workshop.make`."""
    workshop = get_worker().plugins[name]
    assert isinstance(workshop, Workshop)
    return workshop.make(block)
