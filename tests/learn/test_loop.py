"""The training loop: it learns, keeps the best, stops, and goes on as if never interrupted."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small import Interrupted, as_they_are, stop_after, two_sides

from m3amba_geo.config import NetworkConfig, TrainConfig
from m3amba_geo.errors import CheckpointError
from m3amba_geo.events import Metric, Note, Progress, ignore
from m3amba_geo.learn import loop, teachers
from m3amba_geo.learn.checkpoint import Position, load_checkpoint, save_checkpoint
from m3amba_geo.learn.loop import fit, total_steps
from m3amba_geo.learn.patches import UNLABELLED, Patches
from m3amba_geo.learn.world import ALONE
from m3amba_geo.model import build
from m3amba_geo.model.guided import GuidedM3amba

CPU = torch.device("cpu")
SIDE = 32


@pytest.fixture(autouse=True)
def few_validations(monkeypatch):
    monkeypatch.setattr(loop, "_VALIDATIONS", 4)


@pytest.fixture
def patches():
    return make_patches()


def make_patches(validation=True):
    return Patches([two_sides(SIDE, validation=validation)], as_they_are(3, 1), 8)


def make_model(**changes):
    torch.manual_seed(0)
    config = NetworkConfig((3, 1), 2, width=8, depth=2, states=1, patch=8, embedding=0, **changes)
    return GuidedM3amba(build(config), None)


def settings(**changes):
    usual = {"patch": 8, "batch": 3, "epochs": 3, "seed": 1, "class_balance": 0.5}
    return TrainConfig(**usual | changes)


def train(patches, folder, config=None, *, emit=ignore, resume=False, run="run", model=None):
    model = model or make_model()
    return fit(
        model,
        patches,
        config or settings(),
        CPU,
        emit,
        run=run,
        checkpoint=folder / "checkpoint",
        resume=resume,
    )


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def taught(run, batch, step):
    return run.teachers.teach(batch, step, partial(run._shares, run.average)).taught


def run_of(model, patches, config, checkpoint, emit=ignore):
    return loop._Run(model, patches, config, CPU, emit, "run", checkpoint, None, ALONE)


def test_it_learns_what_can_be_learnt(patches, tmp_path):
    events = []
    config = settings(epochs=6, learning_rate=0.02, ema=0.9)
    fitted = train(patches, tmp_path, config, emit=events.append)
    assert fitted.scores["validation_overall_accuracy"] > 0.95
    assert fitted.scores["validation_average_accuracy"] > 0.95
    assert fitted.scores["validation_kappa"] > 0.9
    assert fitted.scores["validation_pixels"] == SIDE * SIDE // 4  # each counted once
    steps = [e.done for e in events if isinstance(e, Progress)]
    assert steps == list(range(1, fitted.steps + 1))
    assert {e.total for e in events if isinstance(e, Progress)} == {total_steps(12, config)}
    assert any(isinstance(e, Note) and "s a step" in e.message for e in events)
    scores = [e for e in events if isinstance(e, Metric)]
    assert {e.metric for e in scores} == {"validation_overall_accuracy"}
    assert fitted.best_step in {e.step for e in scores}


@pytest.mark.parametrize("stops", [(7,), (1, 12), (3, 11)])
def test_a_run_that_is_taken_up_ends_as_if_it_had_not_been_interrupted(patches, tmp_path, stops):
    whole_model, model = make_model(), make_model()
    (tmp_path / "whole").mkdir()
    whole = train(patches, tmp_path / "whole", model=whole_model)
    for n, stop in enumerate(stops):
        # The first checkpoint is not there yet after a single step.
        resume = n > 0 and (tmp_path / "checkpoint").exists()
        with pytest.raises(Interrupted):
            train(
                make_patches(), tmp_path, emit=stop_after(stop), resume=resume, model=make_model()
            )
    torch.manual_seed(99)
    taken_up = train(make_patches(), tmp_path, resume=True, model=model)
    assert same(taken_up.weights, whole.weights)
    assert same(model.state_dict(), whole_model.state_dict())
    assert (taken_up.scores, taken_up.steps, taken_up.best_step, taken_up.temperature) == (
        whole.scores, whole.steps, whole.best_step, whole.temperature,
    )  # fmt: skip


def test_a_run_that_was_killed_after_its_last_step_is_only_scored(patches, tmp_path):
    whole = train(patches, tmp_path)
    events = []
    again = train(patches, tmp_path, resume=True, emit=events.append)
    assert same(again.weights, whole.weights)
    assert again.scores == whole.scores
    assert not any(isinstance(event, Progress) for event in events)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(patches, tmp_path):
    one, two, other = (train(patches, tmp_path, settings(epochs=1, seed=s)) for s in (1, 1, 2))
    assert same(one.weights, two.weights)
    assert not same(one.weights, other.weights)


def test_recomputing_for_less_memory_changes_nothing(patches, tmp_path):
    one, two = (train(patches, tmp_path, settings(epochs=1, recompute=r)) for r in (False, True))
    assert same(one.weights, two.weights)


def scripted(monkeypatch, scores):
    """Validations that go by a script; returns the weights that each of them looked at."""
    seen = []

    def predict(_self, weights, _windows):
        seen.append({name: tensor.clone() for name, tensor in weights.items()})
        score = scores[min(len(seen), len(scores)) - 1]
        return np.zeros(100, np.int64), np.eye(2)[(np.arange(100) >= score).astype(np.int64)]

    monkeypatch.setattr(loop._Run, "_predict", predict)
    return seen


def test_it_stops_early_and_keeps_the_weights_of_the_best_validation(
    patches, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "_VALIDATIONS", 5)
    seen = scripted(monkeypatch, [50, 90, 80, 75, 95])
    config = settings(epochs=5, patience=2)
    fitted = train(patches, tmp_path, config)
    assert (fitted.best_step, fitted.steps, total_steps(12, config)) == (8, 16, 20)
    assert same(fitted.weights, seen[1])
    assert not same(fitted.weights, seen[-2])
    position, _ = load_checkpoint(tmp_path / "checkpoint", "run")
    assert (position.misses, position.best_score, position.best_step) == (2, 0.9, 8)
    # Taken up again, it knows that it has stopped.
    assert train(patches, tmp_path, config, resume=True).steps == 16


@pytest.mark.parametrize("scores", [[50], [50, 90, 88], [0], [100, 100, 99]])
def test_of_validations_that_differ_by_chance_the_later_counts_and_none_is_a_miss(
    patches, tmp_path, monkeypatch, scores
):
    seen = scripted(monkeypatch, scores)
    fitted = train(patches, tmp_path, settings(patience=1))
    assert fitted.best_step == fitted.steps == total_steps(len(patches), settings())
    assert same(fitted.weights, seen[-2])


def test_who_is_sure_and_often_wrong_is_taken_at_what_is_right(patches, tmp_path, monkeypatch):
    truth = (np.arange(100) >= 60).astype(np.int64)
    votes = np.tile([1.8, 0.2], (100, 1))  # of two windows: 0.9 for the first class, everywhere
    monkeypatch.setattr(loop._Run, "_predict", lambda *_: (truth, votes))
    fitted = train(patches, tmp_path, settings(epochs=1))
    assert fitted.scores["validation_overall_accuracy"] == 0.6
    assert fitted.temperature == pytest.approx(np.log(9) / np.log(1.5), rel=1e-3)  # makes it 0.6


def test_without_validation_pixels_the_last_weights_are_kept(tmp_path):
    model = make_model()
    fitted = train(make_patches(validation=False), tmp_path, settings(ema=0.0), model=model)
    assert (fitted.scores, fitted.temperature) == ({}, 1)
    assert fitted.best_step == fitted.steps
    assert same(fitted.weights, model.state_dict())  # an average of no memory is the weights


def test_the_weights_kept_are_averaged(tmp_path):
    model = make_model()
    fitted = train(make_patches(validation=False), tmp_path, settings(ema=0.99), model=model)
    assert not same(fitted.weights, model.state_dict())


def test_steps():
    assert total_steps(20, settings(batch=5, epochs=3)) == 12
    assert total_steps(21, settings(batch=5, epochs=3)) == 15
    assert total_steps(1, settings(epochs=1)) == 1
    assert total_steps(8, settings(batch=8, epochs=None)) == 400  # a small scene
    assert total_steps(8_000, settings(batch=8, epochs=None)) == 10_000  # ten epochs


def test_there_must_be_something_to_take_up(patches, tmp_path):
    with pytest.raises(CheckpointError, match="no unfinished") as caught:
        train(patches, tmp_path, resume=True)
    assert "--resume" in caught.value.hint


def test_another_run_is_not_taken_up(patches, tmp_path):
    train(patches, tmp_path, settings(epochs=1))
    with pytest.raises(CheckpointError, match="other data, labels or settings"):
        train(patches, tmp_path, settings(epochs=1), resume=True, run="another")


def checkpoint(folder):
    path = folder / "checkpoint"
    save_checkpoint(path, Position("run", 3, 2, 0.5, 1), {"weights": {"a/b": torch.arange(3)}})
    return path


def test_checkpoints_come_back(tmp_path):
    position, groups = load_checkpoint(checkpoint(tmp_path), "run")
    assert position == Position("run", 3, 2, 0.5, 1)
    assert groups.keys() == {"weights"}
    assert torch.equal(groups["weights"]["a/b"], torch.arange(3))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        {"position": "{"},
        {"position": "{}"},
        {"position": "[1]"},
        {"position": '{"run": 1, "x": 2}'},
    ],
)
def test_checkpoints_of_others_are_refused(tmp_path, metadata):
    path = tmp_path / "checkpoint"
    save_file({"a": torch.ones(1)}, path, metadata)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path, "run")


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_a_cut_checkpoint_is_refused(tmp_path, keep):
    path = checkpoint(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path, "run")


def test_a_checkpoint_that_lacks_weights_is_damaged(patches, tmp_path):
    with pytest.raises(Interrupted):
        train(patches, tmp_path, emit=stop_after(7))
    path = tmp_path / "checkpoint"
    position, groups = load_checkpoint(path, "run")
    groups["average"].popitem()
    save_checkpoint(path, position, groups)
    with pytest.raises(CheckpointError, match="damaged") as caught:
        train(make_patches(), tmp_path, resume=True)
    assert "anew" in caught.value.hint


def test_one_teacher_follows_the_other_on_unlabelled_pixels(patches, tmp_path, monkeypatch):
    run = run_of(make_model(linear_head=True), patches, settings(epochs=60), tmp_path / "c")
    run.fit(resume=False)
    batch = patches.batch(0, run.config)
    batch.classes[:, ::2] = UNLABELLED
    free = ((batch.classes == UNLABELLED) & batch.valid)[:, None]
    averaged = run._shares(run.average, replace(batch, patches=batch.clean))
    monkeypatch.setattr(teachers, "_SURE", float(averaged.amax(1).median()))
    assert torch.equal(taught(run, batch, 0), run.teachers.linear(batch.clean).softmax(1) * free)
    sure = taught(run, batch, run.steps - 1)
    assert torch.equal(sure, (averaged > teachers._SURE) * free.float())
    assert 0 < sure.sum() < free.sum()


@pytest.mark.parametrize("doubtful", [False, True])
def test_where_labels_are_in_doubt_the_first_teacher_stays(
    patches, tmp_path, monkeypatch, doubtful
):
    fitted = teachers.fit_linear(patches, 2, 1, borders=True)._replace(doubtful=doubtful)
    monkeypatch.setattr(teachers, "fit_linear", lambda *_, **__: fitted)
    said = []
    run = run_of(make_model(), patches, settings(), tmp_path / "c", said.append)
    batch = patches.batch(0, run.config)
    batch.classes[:] = UNLABELLED
    told = run.teachers.linear(batch.clean).softmax(1) * batch.valid[:, None]
    stays = torch.equal(taught(run, batch, run.steps - 1), told)
    assert stays == any("in doubt" in event.message for event in said) == doubtful


def test_the_linear_head_teaches_only_where_every_modality_is(patches, tmp_path):
    run = run_of(make_model(), patches, settings(), tmp_path / "c")
    batch = patches.batch(0, run.config)
    batch.classes[:] = UNLABELLED
    batch.clean[1][:, :, :3] = 0
    shares = taught(run, batch, 0).sum(1)
    assert not shares[:, :3].any()
    assert torch.allclose(shares[:, 3:], batch.valid[:, 3:].float())


def test_the_linear_head_is_fitted_and_takes_part(patches, tmp_path):
    model = make_model(linear_head=True)
    run = run_of(model, patches, settings(), tmp_path / "c")
    linear = run.teachers.linear
    assert same(model.network.linear_head.state_dict(), linear.state_dict())
    batch = patches.batch(0, run.config)
    logits, alone = run._logits(run.average, batch), run._shares(run.average, batch)
    shares = model.network.with_linear(logits, batch.patches).softmax(1)
    product = alone**linear.others * linear(batch.patches).softmax(1)
    torch.testing.assert_close(shares, product / product.sum(1, keepdim=True))
    assert not torch.allclose(shares, alone, atol=0.01)


def test_without_self_training_nothing_is_taught(patches, tmp_path, monkeypatch):
    monkeypatch.setattr(teachers.Teachers, "teach", None)
    for head in (False, True):
        model = make_model(linear_head=head)
        run = run_of(model, patches, settings(self_training=0.0), tmp_path / "c")
        assert (run.teachers is not None) == head
        for step in (0, run.steps - 1):
            assert run._gradients(step) > 0
