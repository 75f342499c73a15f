"""The processes of one training: one alone, or several that `torchrun` started together.

All of them make the same run, step by step: each computes its own part of every batch, sums are
exchanged, and so all hold the same weights at all times. The first process leads: it alone writes
files.
"""

import hashlib
import importlib
import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from m3amba_geo.errors import (
    DeviceUnavailableError,
    ProcessLostError,
    RelayedError,
    UsageError,
    explain,
    first_line,
)

_PATIENCE = timedelta(minutes=30)  # of a process that waits for the others
_FAILURE = "failure"  # key under which the first error is told


@dataclass(frozen=True)
class World:
    """The place of this process among all.

    Attributes:
        rank: Its number, from 0.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """Returns which of `count` things are this process's own; parts differ by one at most."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def own_device(self, device: torch.device) -> torch.device:
        """Returns the device of this process: of several GPUs, one for each.

        Raises:
            DeviceUnavailableError: There are fewer GPUs than processes, or it can't be shared.
        """
        if self.size == 1 or device.type == "cpu":
            return device
        if device.type != "cuda":
            raise DeviceUnavailableError(
                f"Several processes can't train on the device '{device}'.",
                "Use --device cpu, or one process.",
            )
        local, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= there:
            raise DeviceUnavailableError(
                f"Process {self.rank} has no GPU of its own: this machine has {there}.",
                "Start no more processes than there are GPUs, or use --device cpu.",
            )
        torch.cuda.set_device(local)
        return torch.device("cuda", local)

    def sum(self, tensor: Tensor) -> Tensor:
        """Returns the tensor, summed over all processes in place.

        Raises:
            ProcessLostError: Another process has ended.
        """
        if self.size > 1:
            with _reached():
                dist.all_reduce(tensor)
        return tensor

    def sum_gradients(self, loss: Tensor, parameters: Collection[nn.Parameter]) -> Tensor:
        """Returns the loss, summed over all processes; gradients are summed in place.

        They travel as one vector, with the loss and with marks of those that are there: what no
        process has a gradient of keeps none, and so no decay, as in one process.

        Raises:
            ProcessLostError: Another process has ended.
        """
        loss = loss.detach()
        if self.size == 1:
            return loss
        found = [p.grad for p in parameters]
        marks = loss.new_tensor([gradient is not None for gradient in found])
        gradients = [
            torch.zeros_like(p) if gradient is None else gradient
            for p, gradient in zip(parameters, found, strict=True)
        ]
        vector = torch.cat([*(g.flatten() for g in gradients), marks, loss[None]])
        sums = self.sum(vector).split([*(g.numel() for g in gradients), len(marks), 1])
        *summed, marks, loss = sums
        for p, gradient, mark in zip(parameters, summed, marks.tolist(), strict=True):
            p.grad = gradient.view_as(p) if mark else None
        return loss[0]

    def agree(self, what: str) -> None:
        """Makes sure that all processes go on from the same.

        Raises:
            UsageError: Another process has something else.
            ProcessLostError: Another process has ended.
        """
        if not self._as_leading(what):
            raise UsageError(
                f"Process {self.rank} has other data, settings or unfinished training than "
                "process 0.",
                "Give all processes the same command, and all machines the same files.",
            )

    def same(self, what: str) -> bool:
        """Returns whether all processes have the same; all are told alike.

        Raises:
            ProcessLostError: Another process has ended.
        """
        apart = self.sum(torch.tensor([not self._as_leading(what)], dtype=torch.int64))
        return not apart.item()

    def _as_leading(self, what: str) -> bool:
        """Returns whether this process has the same as the first."""
        own = torch.tensor([*hashlib.sha256(what.encode()).digest()])
        return torch.equal(own, self.sum(own * self.leads))

    def wait(self) -> None:
        """Waits until all processes are here.

        Raises:
            ProcessLostError: Another process has ended.
        """
        self.sum(torch.zeros(1))


ALONE = World()


@contextmanager
def join() -> Iterator[World]:
    """Yields the world of this process; an error in one process ends all with the same error.

    Raises:
        RelayedError: Another process failed first.
        ProcessLostError: Another process has ended without a word.
    """
    together = dist.is_available() and dist.is_torchelastic_launched()
    if not together or os.environ["WORLD_SIZE"] == "1":
        yield ALONE
        return
    with _reached():
        from torch.distributed.rendezvous import rendezvous  # not in every build of torch

        store, rank, size = next(rendezvous("env://", timeout=_PATIENCE))
    world = World(rank, size)
    # The optimiser loads it, and a group of processes that it finds is never let go of: threads of
    # the group would then be there when the interpreter ends, and now and then abort the process.
    importlib.import_module("torch._dynamo")
    try:
        gpus = torch.cuda.is_available() and dist.is_nccl_available()
        with _reached():
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if gpus else "gloo",
                store=store,
                rank=rank,
                world_size=size,
                timeout=_PATIENCE,
            )
        world.wait()
        yield world
        world.wait()  # an error in the last steps of one is an error of all
    except BaseException as error:
        first = _first_failure(store, world, error)
        if first is None:
            raise
        raise first from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()  # those who wait for this process need not wait longer


@contextmanager
def _reached() -> Iterator[None]:
    """Turns the errors of torch on its way to other processes into ours."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLostError(
            f"Another process of this training has ended or can't be reached: {first_line(error)}",
            "See its own messages, and those of torchrun. A training that has saved its state goes "
            "on with --resume. If the system has killed it for want of memory, add --recompute or "
            "lower --memory; a lower --batch or --size is another training, without --resume.",
        ) from error


def _first_failure(
    store: Any,  # noqa: ANN401 - torch exports no type
    world: World,
    error: BaseException,
) -> RelayedError | None:
    """Tells the others of an error; returns that of another process if it came first."""
    known = explain(error)
    own = json.dumps([world.rank, known.code, known.exit_status, str(known), known.hint])
    try:
        first = store.compare_set(_FAILURE, "", own).decode()
    except RuntimeError:  # the store is gone with the process that kept it
        return None
    if first == own:
        return None
    rank, code, status, message, hint = json.loads(first)
    return RelayedError(code, status, f"Process {rank}: {message}", hint)
