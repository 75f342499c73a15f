"""Blocks of a map made by several processes, of this machine or of many (dask.distributed).

The journal lives with the client, here. Blocks of a worker that is lost go to another one; a few
blocks for each worker are under way at a time, so that workers may come and go.
"""

import logging
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError as FutureCancelledError
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import dask
import torch
from distributed import Client, Future, KilledWorker, LocalCluster, wait

from m3amba_geo.bundle import ModelFile
from m3amba_geo.config import ClassifyConfig, SceneConfig
from m3amba_geo.errors import ClusterError, WorkerLostError
from m3amba_geo.events import Listener, Note, Progress, Warned
from m3amba_geo.geo.access import network_is_on
from m3amba_geo.geo.region import Region
from m3amba_geo.infer.journal import Journal
from m3amba_geo.jobs.mapper import Mapper
from m3amba_geo.jobs.workshop import Order, Workshop, make_block
from m3amba_geo.sources import is_virtual

_REACH = 10.0  # seconds in which a scheduler must answer
_PATIENCE = 60.0  # seconds without any worker; a new one takes some to load torch
_ARRIVAL = 60.0  # seconds in which a file written elsewhere must be seen here
_CLOSING = 30.0  # seconds in which local workers are to end
_GLANCE = 1.0  # seconds between two looks at the workers
_AHEAD = 2  # blocks under way for each worker
_NO_PAGES: dict[str, list[str]] = {
    f"distributed.{role}.http.routes": [] for role in ("scheduler", "worker")
}
# A worker of ours keeps silent, and ends with its client, not by a Ctrl-C that is meant for that.
_MANNERS = (
    "import logging, signal\n"
    "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    "logging.getLogger('distributed').setLevel(logging.CRITICAL)\n"
)
_SAME_M3AMBA = "Install the same version of m3amba-geo, with its extra `cluster`, on all machines."
_GO_ON = "Start it and its workers again; the same command goes on from the finished blocks."


class Cluster:
    """The cluster that options name: reached, or started, when it is first needed."""

    def __init__(self, config: ClassifyConfig, handles: ExitStack) -> None:
        self._config, self._handles = config, handles
        self._client: Client | None = None

    def make_missing(
        self,
        model: ModelFile,
        scene: SceneConfig,
        config: ClassifyConfig,
        mapper: Mapper,
        journal: Journal,
        emit: Listener,
    ) -> None:
        """Makes the blocks that the journal lacks.

        Args:
            model: The model.
            scene: Rasters.
            config: Options.
            mapper: What the client would make them with itself.
            journal: Where they go.
            emit: Told of progress and of lost workers.

        Raises:
            ClusterError: The cluster can't be reached, or its machines do not see the same files.
            WorkerLostError: Workers end again and again, or none is left.
            M3ambaError: A worker met an error of its own.
        """
        todo = journal.missing()
        if not todo:
            return
        if self._client is None:
            self._client = self._handles.enter_context(_connected(self._config, emit))
        order = Order(
            _anywhere(model.path),
            _scene_anywhere(scene),
            _settled(config, mapper),
            journal,
            network_is_on(),
        )
        with self._client.as_current(), _workshops(self._client, order) as name:
            _make(self._client, name, journal, todo, emit)


def _make(client: Client, name: str, journal: Journal, todo: list[Region], emit: Listener) -> None:
    crew = _Crew(client, emit)
    total = sum(block.shape[0] for block in journal.blocks)
    done = total - sum(block.shape[0] for block in todo)
    waiting = iter(todo)
    running: dict[Future[bytes], Region] = {}
    while done < total:
        with _talking():
            room = max(0, _AHEAD * max(1, crew.count()) - len(running))
            for block in islice(waiting, room):
                running[client.submit(make_block, name, block, pure=False)] = block
            with suppress(TimeoutError):
                wait([*running], timeout=_GLANCE, return_when="FIRST_COMPLETED")
        for future in [future for future in running if future.done()]:
            block = running.pop(future)
            _await_file(journal, block, _checksum(future))
            done += block.shape[0]
            emit(Progress("mapping", done, total, "rows"))


class _Crew:
    """The workers there are, and when the last one was seen."""

    def __init__(self, client: Client, emit: Listener) -> None:
        self._client, self._emit = client, emit
        self._known: frozenset[str] = frozenset()
        self._seen = time.monotonic()

    def count(self) -> int:
        """Returns how many there are now, and tells of those that have gone.

        Raises:
            WorkerLostError: There has been none for too long.
        """
        now = frozenset(self._client.nthreads())
        for address in sorted(self._known - now):
            text = f"The worker {address} is gone; what it was making is made again."
            self._emit(Warned("worker-lost", text))
        self._known = now
        if now:
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > _PATIENCE:
            raise WorkerLostError(
                f"The cluster has had no worker for {_PATIENCE:.0f} seconds.",
                "Start workers (`dask worker ADDRESS`) and give the same command again: it goes on "
                "from the finished blocks.",
            )
        return len(now)


def _checksum(future: "Future[bytes]") -> bytes:
    """Returns what a block's worker said of it, and raises what it raised."""
    try:
        digest: bytes = future.result()
    except KilledWorker as error:
        raise WorkerLostError(
            f"Workers that made one block ended again and again, the last one {error.last_worker}.",
            "Most likely the system killed them because memory ran out: take fewer workers or "
            "lower --memory, and give the same command again. A lower --batch needs --restart.",
        ) from error
    except FutureCancelledError as error:
        raise _lost_scheduler() from error
    except ImportError as error:
        raise ClusterError(f"A worker can't make blocks: {error}.", _SAME_M3AMBA) from error
    return digest


def _await_file(journal: Journal, block: Region, digest: bytes) -> None:
    """Waits until the file of a block that a worker has written can be seen here.

    Raises:
        ClusterError: It can't, for too long.
    """
    end = time.monotonic() + _ARRIVAL
    while not journal.holds(block, digest):
        if time.monotonic() > end:
            raise ClusterError(
                f"What a worker has written into {journal.folder} can't be seen here.",
                "Let all machines see outputs and inputs under the same paths.",
            )
        time.sleep(_GLANCE / 10)


@contextmanager
def _connected(config: ClassifyConfig, emit: Listener) -> Iterator[Client]:
    """Yields a client of the scheduler that was named, or of a cluster on this machine."""
    with ExitStack() as handles:
        handles.enter_context(_silence())
        if config.scheduler is not None:
            cluster: LocalCluster | str = config.scheduler
            where = config.scheduler
        else:
            cluster = handles.enter_context(_local_cluster(config.workers or 1))
            where = f"this machine, {config.workers} workers"
        try:
            client = Client(cluster, timeout=_REACH, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"No dask scheduler answers at {where}: {error}.",
                "Start one with `dask scheduler`, check its address (tcp://HOST:8786) and that no "
                "firewall stands between.",
            ) from error
        emit(Note(f"Blocks are made on {where}."))
        yield handles.enter_context(client)


@contextmanager
def _silence() -> Iterator[None]:
    """Keeps dask from telling of what becomes an event or an error of ours."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def _local_cluster(workers: int) -> Iterator[LocalCluster]:
    """Yields workers in processes of their own, which share the threads of this one.

    They are spawned, not forked: OpenMP does not outlive a fork. The connection is encrypted with
    a key made for this run, since whoever reaches a scheduler may run code. Dask does not watch
    their memory: it would let a worker pause, and wait for ever.
    """
    with tempfile.TemporaryDirectory(prefix="m3amba-") as folder:
        try:
            with dask.config.set(_NO_PAGES):
                cluster = LocalCluster(
                    n_workers=workers,
                    threads_per_worker=max(1, torch.get_num_threads() // workers),
                    processes=True,
                    memory_limit=0,
                    dashboard_address=None,
                    scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # else a fixed port
                    local_directory=folder,
                    security=True,
                    preload=_MANNERS,
                )
        except (OSError, RuntimeError) as error:
            raise ClusterError(
                f"Workers can't be started here: {error}.",
                "Leave out --workers, or see standard error for the reason.",
            ) from error
        try:
            yield cluster
        finally:
            with suppress(TimeoutError):  # on a busy machine; what ended the work is to be heard of
                cluster.close(timeout=_CLOSING)


@contextmanager
def _workshops(client: Client, order: Order) -> Iterator[str]:
    """Sets up a workshop on each worker, those that come later too; yields the name of all."""
    # One run an output, as locks see to it: what a killed client has left is replaced.
    name = f"m3amba-geo {order.journal.folder}"
    try:
        with _talking():
            client.register_plugin(Workshop(name, order))
    except ImportError as error:
        raise ClusterError(f"A worker can't make blocks: {error}.", _SAME_M3AMBA) from error
    try:
        yield name
    finally:
        with suppress(Exception):  # whatever ended the work is to be heard of, not this
            client.unregister_worker_plugin(name)


@contextmanager
def _talking() -> Iterator[None]:
    """Explains what is raised where the connection to the scheduler breaks."""
    try:
        yield
    except (FutureCancelledError, OSError) as error:
        raise _lost_scheduler() from error


def _lost_scheduler() -> ClusterError:
    return ClusterError("The connection to the dask scheduler is lost.", _GO_ON)


def _settled(config: ClassifyConfig, mapper: Mapper) -> ClassifyConfig:
    """Returns options that leave a worker nothing to choose."""
    predictor = mapper.predictor
    changes: dict[str, Any] = {
        "out": _anywhere(config.out),
        "mask": config.mask and _anywhere(config.mask),
        "guide_weights": config.guide_weights and _anywhere(config.guide_weights),
        "batch": predictor.batch,
        "device": predictor.device.type,
        "scan": mapper.backend,
        "precision": "fp32" if predictor.precision is torch.float32 else "bf16",
    }
    return replace(config, **changes)


def _scene_anywhere(scene: SceneConfig) -> SceneConfig:
    modalities = tuple(
        replace(modality, files=tuple(map(_anywhere, modality.files)))
        for modality in scene.modalities
    )
    return replace(scene, modalities=modalities, grid=scene.grid and _anywhere(scene.grid))


def _anywhere(path: Path) -> Path:
    """Returns a path that does not depend on the current folder; what is no plain file is kept."""
    return path if is_virtual(path) else path.absolute()
