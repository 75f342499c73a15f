"""The training loop."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score
from torch import Tensor

from m3amba_geo.config import TrainConfig
from m3amba_geo.errors import CheckpointError
from m3amba_geo.events import Listener, Metric, Note, Progress
from m3amba_geo.geo.windows import blend_weights
from m3amba_geo.learn.checkpoint import Position, load_checkpoint, save_checkpoint
from m3amba_geo.learn.descent import Descent
from m3amba_geo.learn.embeddings import Embeddings
from m3amba_geo.learn.objective import Objective, class_weights
from m3amba_geo.learn.patches import UNLABELLED, Batch, Patches, Window
from m3amba_geo.learn.teachers import Teachers
from m3amba_geo.learn.world import ALONE, World
from m3amba_geo.model.confidence import fit_temperature
from m3amba_geo.model.device import autocast, choose_precision, return_memory
from m3amba_geo.model.guided import GuidedM3amba

_FEWEST_STEPS = 400  # below, a small scene has not converged
_FEWEST_EPOCHS = 10
_VALIDATIONS = 20  # a run
_VALIDATION_WINDOWS = 64  # while training; all of them at the end
_CLEARLY = 2  # standard errors below the best score: no longer chance
_REHEARSALS = 2  # the first one compiles and warms up, the last one is timed


@dataclass(frozen=True)
class Fitted:
    """What training came to.

    Attributes:
        weights: The averaged weights of the last validation that was not clearly worse than the
            best (of the end, without validation).
        scores: `validation_overall_accuracy` and the like; empty without validation.
        steps: Steps done.
        best_step: The step that the weights are from.
        temperature: What makes their probabilities as sure as validation pixels allow; 1 without.
    """

    weights: dict[str, Tensor]
    scores: dict[str, float]
    steps: int
    best_step: int
    temperature: float = 1.0


def fit(
    model: GuidedM3amba,
    patches: Patches,
    config: TrainConfig,
    device: torch.device,
    emit: Listener,
    *,
    run: str,
    checkpoint: Path,
    resume: bool,
    embeddings: Embeddings | None = None,
    world: World = ALONE,
) -> Fitted:
    """Trains a model and returns the best weights; the model itself ends at the last ones.

    Args:
        model: The model, on the device.
        patches: What to train on.
        config: How; its class balance is a number.
        device: Where.
        emit: Told of progress, loss and validation.
        run: Digest of data and settings, kept in the checkpoint.
        checkpoint: File of the unfinished run; it is removed by the caller.
        resume: Whether to go on from it.
        embeddings: Image embeddings of all windows; None where the guide is trained, or none.
        world: The processes that make this run together.

    Raises:
        CheckpointError: The run can't be taken up.
        UsageError: The processes do not make the same run.
        ProcessLostError: Another process has ended.
    """
    return _Run(model, patches, config, device, emit, run, checkpoint, embeddings, world).fit(
        resume
    )


class _Run:
    def __init__(
        self,
        model: GuidedM3amba,
        patches: Patches,
        config: TrainConfig,
        device: torch.device,
        emit: Listener,
        run: str,
        checkpoint: Path,
        embeddings: Embeddings | None,
        world: World,
    ) -> None:
        self.model, self.patches, self.config = model, patches, config
        self.embeddings, self.world = embeddings, world
        self.part = world.part(config.batch)
        if world.size > 1:
            model.network.take_part(config.batch, self.part)
        model.network.recompute = config.recompute
        if config.recompute:
            return_memory()
        self.device, self.emit, self.checkpoint = device, emit, checkpoint
        self.precision = choose_precision(config.precision, device, emit)
        self.steps = total_steps(len(patches), config)
        self.position = Position(run)
        self.descent = Descent(model, config, self.steps)
        self.parameters = self.descent.parameters
        self.average = {n: p.detach().clone() for n, p in self.parameters.items()}
        self.best = self.average
        assert config.class_balance is not None  # labels of other kinds call for other values
        pixels = _pixels(patches, model.network.config.classes)
        self.objective = Objective(
            class_weights(pixels, config.class_balance),
            config.supervised,
            config.unsupervised,
            config.self_training,
        ).to(device)
        self.teachers = Teachers.of(patches, model.network, config, self.steps, emit)
        rng = np.random.default_rng([config.seed, 3])
        self.every_window = patches.validation_windows(rng, None)
        self.windows = patches.validation_windows(rng, _VALIDATION_WINDOWS)

    def fit(self, resume: bool) -> Fitted:
        if resume:
            self._take_up()
        self.world.agree(f"{self.position}")
        self._foresee()
        interval = max(1, self.steps // _VALIDATIONS)
        while self.position.step < self.steps and self.position.misses < self.config.patience:
            step = self.position.step
            loss = self._step(step)
            self.position = replace(self.position, step=step + 1)
            if (step + 1) % interval == 0 or step + 1 == self.steps:
                self._validate()
                self._save()
            self._report(loss)
        step, best_step = self.position.step, self.position.best_step
        if not self.every_window:
            return Fitted(self.best, {}, step, best_step)
        truth, votes = self._predict(self.best, self.every_window)
        shares = votes.T / votes.sum(axis=1)
        temperature = fit_temperature(shares, truth)
        return Fitted(self.best, _scores(truth, votes), step, best_step, temperature)

    def _step(self, step: int) -> float:
        loss = self._gradients(step)
        self.descent.step()
        # The average follows closely at first: its memory must not be longer than the run.
        decay = min(self.config.ema, (step + 1) / (step + 10))
        torch._foreach_lerp_(
            list(self.average.values()), [p.detach() for p in self.parameters.values()], 1 - decay
        )
        return float(loss)

    def _gradients(self, step: int) -> Tensor:
        # Seeded by the step, so that a run that is taken up drops the same paths.
        torch.manual_seed(self.config.seed * 1_000_003 + step)
        batch = self.patches.batch(step, self.config, self.part)
        embeddings = self._known(batch)
        batch = batch.to(self.device)
        if self.teachers and self.config.self_training > 0:
            batch = self.teachers.teach(batch, step, partial(self._shares, self.average))
        counts = self.world.sum(batch.counts())
        self.model.train()
        with autocast(self.device, self.precision):
            logits, fused = self.model(batch.patches, embeddings)
        loss = self.objective(logits, fused, batch, counts)
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        return self.world.sum_gradients(loss, self.parameters.values())

    def _shares(self, weights: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Returns the network's probabilities `(B, Q, P, P)` by other weights than its own."""
        return self._logits(weights, batch).softmax(1)

    def _logits(self, weights: Mapping[str, Tensor], batch: Batch) -> Tensor:
        self.model.eval()
        inputs = (batch.patches, self._known(batch))
        with autocast(self.device, self.precision):
            _, fused = torch.func.functional_call(self.model, dict(weights), inputs)
        logits: Tensor = fused.float()
        return logits

    def _known(self, batch: Batch) -> list[Tensor] | None:
        """Returns the image embeddings of a batch, where they were made beforehand."""
        if self.embeddings is None:
            return None
        return [embedding.to(self.device) for embedding in self.embeddings.of(batch)]

    def _validate(self) -> None:
        if not self.windows:  # nothing to choose by: the latest is kept
            self._keep()
            return
        truth, votes = self._predict(self.average, self.windows)
        score = float((truth == votes.argmax(axis=1)).mean())
        self.emit(Metric("validation_overall_accuracy", score, self.position.step))
        best = max(score, self.position.best_score)
        if score >= best - _CLEARLY * _standard_error(best, len(truth)):
            self._keep()
            self.position = replace(self.position, best_score=best, misses=0)
        else:
            self.position = replace(self.position, misses=self.position.misses + 1)

    def _keep(self) -> None:
        self.best = {name: tensor.clone() for name, tensor in self.average.items()}
        self.position = replace(self.position, best_step=self.position.step)

    @torch.no_grad()
    def _predict(
        self, weights: Mapping[str, Tensor], windows: Sequence[Window]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Returns the true class `(n,)` of each validation pixel in the windows, once each.

        With it go its votes `(n, Q)`, the blended probabilities of the windows over it.
        """
        scenes = self.patches.scenes
        blend = torch.from_numpy(blend_weights(self.patches.patch)).to(self.device)
        windows = windows[self.world.part(len(windows))]
        # Rows of validation pixels in `votes` lie scene after scene.
        *firsts, count = np.cumsum([0, *(len(scene.validation.pixels) for scene in scenes)])
        votes = np.zeros((count, self.model.network.config.classes))
        truth = np.concatenate([scene.validation.values for scene in scenes])
        first = 0
        for batch in self.patches.validation_batches(windows, self.config.batch):
            batch = batch.to(self.device)
            logits = self._logits(weights, batch)
            found = self.model.network.with_linear(logits, batch.patches).softmax(1) * blend
            shares = found.permute(0, 2, 3, 1).cpu().numpy()
            for place, share in enumerate(shares):  # (P, P, Q)
                window = windows[first + place]
                classes = batch.classes[place].cpu().numpy()
                ys, xs = np.nonzero(classes != UNLABELLED)
                marks = scenes[window.scene].validation
                row = firsts[window.scene] + marks.places(window.top + ys, window.left + xs)
                votes[row] += share[ys, xs]
            first += len(shares)
        self.world.sum(torch.from_numpy(votes))
        seen = votes.any(axis=1)
        return truth[seen].astype(np.int64), votes[seen]

    def _report(self, loss: float) -> None:
        best = self.position.best_score
        scored = f", best validation accuracy {best:.1%}" if best >= 0 else ""
        self.emit(
            Progress(
                "training",
                self.position.step,
                self.steps,
                "steps",
                f"loss {loss:.3f}{scored}",
            )
        )

    def _foresee(self) -> None:
        """Tells time and memory before training starts, from gradients that change nothing."""
        seconds = 0.0
        for _ in range(_REHEARSALS):
            started = time.monotonic()
            self._gradients(self.steps - 1)  # the last ones take longest
            seconds = time.monotonic() - started
        minutes = math.ceil(seconds * (self.steps - self.position.step) / 60)
        memory = psutil.Process().memory_info().rss / 2**30
        self.emit(
            Note(
                f"{seconds:.2f} s a step; the remaining {self.steps - self.position.step} steps "
                f"take about {minutes} min; {memory:.1f} GiB of memory in use."
            )
        )

    def _save(self) -> None:
        if not self.world.leads:
            return
        save_checkpoint(
            self.checkpoint,
            self.position,
            {
                "weights": self.parameters,
                "average": self.average,
                "best": self.best,
                "moments": self.descent.moments(),
            },
        )

    def _take_up(self) -> None:
        self.position, groups = load_checkpoint(self.checkpoint, self.position.run)
        try:
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(groups["weights"][name])
                    self.average[name].copy_(groups["average"][name])
            self.best = {n: groups["best"][n].to(self.device) for n in self.parameters}
            self.descent.take_up(self.position.step, groups["moments"])
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(
                f"The checkpoint {self.checkpoint} is damaged: {error}",
                "Delete it and start anew.",
            ) from error
        self.emit(Note(f"Training goes on after step {self.position.step}."))


def total_steps(cells: int, config: TrainConfig) -> int:
    """Returns the steps of a whole run: enough for a small scene, ten epochs of a large one."""
    an_epoch = math.ceil(cells / config.batch)
    if config.epochs is not None:
        return config.epochs * an_epoch
    return max(_FEWEST_STEPS, _FEWEST_EPOCHS * an_epoch)


def _standard_error(share: float, count: int) -> float:
    """Returns that of a share of so many, which is never nothing (Agresti and Coull 1998).

    What differs by less is chance, and the later weights are kept: they have learnt more.
    """
    share = (share * count + 2) / (count + 4)
    return math.sqrt(share * (1 - share) / (count + 4))


def _scores(truth: NDArray[np.int64], votes: NDArray[np.float64]) -> dict[str, float]:
    predicted = votes.argmax(axis=1)
    hit = truth == predicted
    recalls = [float(hit[truth == c].mean()) for c in np.unique(truth)]
    kappa = cohen_kappa_score(truth, predicted) if len(set(truth) | set(predicted)) > 1 else 0.0
    return {
        "validation_overall_accuracy": float(hit.mean()),
        "validation_average_accuracy": float(np.mean(recalls)),
        "validation_kappa": float(kappa),
        "validation_pixels": float(len(truth)),
    }


def _pixels(patches: Patches, classes: int) -> NDArray[np.int64]:
    counts = np.zeros(classes, np.int64)
    for scene in patches.scenes:
        counts += np.bincount(scene.train.values, minlength=classes)
    return counts
