"""A model ready to predict patches, on the threads of its device.

Letters: B patches, P patch side, Q classes.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from m3amba_geo.errors import OutOfMemoryError
from m3amba_geo.geo.align import Stack
from m3amba_geo.geo.coverage import Used
from m3amba_geo.geo.features import Features, read_features
from m3amba_geo.geo.raster import Pixels
from m3amba_geo.model.device import autocast
from m3amba_geo.model.guided import GuidedM3amba

Shares = NDArray[np.float32]

CPU_BATCH, GPU_BATCH = 16, 64
# Windows that one thread of a CPU computes by itself. Small layers gain more from that than from
# sharing out every operation, and what is computed together does not depend on how many there are.
CPU_SHARE = 2
# Places of the windows that things are tried on, as shares of the raster's height and width.
_PROBES = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))


class Predictor:
    """A model ready to predict patches on its device."""

    def __init__(
        self,
        model: GuidedM3amba,
        features: Sequence[Features],
        device: torch.device,
        batch: int | None = None,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.model = model.to(device).eval()
        self.features = features
        self.device = device
        self.precision = precision
        self.patch = model.network.config.patch
        self.classes = model.network.config.classes
        on_cpu = device.type == "cpu"
        self.batch = batch or (CPU_BATCH if on_cpu else GPU_BATCH)
        self.together = CPU_SHARE if on_cpu else self.batch  # windows computed at once
        self._threads = torch.get_num_threads() if on_cpu else 1

    @contextmanager
    def threads(self) -> Iterator[Executor]:
        """Yields the threads for `start`; in the end they drop what has not begun."""
        pool = ThreadPoolExecutor(
            self._threads, "predict", initializer=torch.set_num_threads, initargs=(1,)
        )
        with dropping(pool):
            yield pool

    def start(
        self, threads: Executor, patches: Sequence[NDArray[np.float32]]
    ) -> list[Future[Shares]]:
        """For each modality `(B, C_n, P, P)` returns what becomes `(b, Q, P, P)` probabilities.

        Where the device runs out of memory less is computed at once, from then on.

        Raises:
            OutOfMemoryError: By the futures: a single patch is too large for the device.
        """
        firsts = range(0, len(patches[0]), self.together)
        parts = [[p[n : n + self.together] for p in patches] for n in firsts]
        return [threads.submit(self._fitting, part) for part in parts]

    def shares(self, patches: Sequence[NDArray[np.float32]]) -> Shares:
        """For each modality `(B, C_n, P, P)` returns probabilities `(B, Q, P, P)`."""
        with self.threads() as threads:
            return joined(self.start(threads, patches))

    def _fitting(self, patches: Sequence[NDArray[np.float32]]) -> Shares:
        count, done, parts = len(patches[0]), 0, []
        while done < count:
            try:
                parts.append(self._part([p[done : done + self.together] for p in patches]))
                done += len(parts[-1])
            except torch.OutOfMemoryError as error:
                if self.together == 1:
                    raise OutOfMemoryError(
                        f"One patch of {self.patch} pixels does not fit the memory of "
                        f"{self.device}.",
                        "Use --device cpu, or a smaller model.",
                    ) from error
                self.together = max(1, self.together // 2)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    @torch.inference_mode()
    def _part(self, patches: Sequence[NDArray[np.float32]]) -> Shares:
        tensors = [torch.from_numpy(patch).to(self.device) for patch in patches]
        with autocast(self.device, self.precision):
            _, fused = self.model(tensors)
        logits = self.model.network.with_linear(fused.float(), tensors)
        shares: Shares = logits.softmax(dim=1).cpu().numpy()
        return shares

    def read(
        self, stack: Stack, top: int, left: int, height: int, width: int
    ) -> tuple[list[Pixels], Used]:
        """Returns a window of the rasters as the network wants it, and what is there of it."""
        pixels, valid = read_features(stack, self.features, top, left, height, width)
        return pixels, stack.coverage.used(valid)


def joined(parts: Sequence[Future[Shares]]) -> Shares:
    """Returns `(B, Q, P, P)` of what `Predictor.start` has started, once it is there."""
    return np.concatenate([part.result() for part in parts])


def probes(stack: Stack, patch: int) -> list[tuple[int, int]]:
    """Returns top and left of a few windows, spread over a raster, to try things on."""
    height, width = (max(0, side - patch) for side in stack.grid.shape)
    return [(int(down * height), int(right * width)) for down, right in _PROBES]


def agreement(stack: Stack, predictor: Predictor) -> float:
    """Returns the share of valid pixels whose class is the same in float32, from a few windows.

    The windows lie spread over the raster, wherever the map is wanted, so that two parts of one
    map are made in one precision. Without a valid pixel under them the share is 0.
    """
    patch, reduced = predictor.patch, predictor.precision
    windows = [predictor.read(stack, top, left, patch, patch) for top, left in probes(stack, patch)]
    pixels, used = zip(*windows, strict=True)
    patches = [np.stack(modality) for modality in zip(*pixels, strict=True)]
    classes = []
    for precision in (reduced, torch.float32):
        predictor.precision = precision
        classes.append(predictor.shares(patches).argmax(axis=1))
    predictor.precision = reduced
    tried = (classes[0] == classes[1])[np.stack(used) > 0]
    return float(tried.mean()) if tried.size else 0.0


@contextmanager
def dropping(pool: ThreadPoolExecutor) -> Iterator[None]:
    """Shuts a pool down in the end; what has not begun by then is not wanted any more."""
    try:
        yield
    finally:
        pool.shutdown(cancel_futures=True)
