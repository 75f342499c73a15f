"""Embeddings of windows: each encoded once, found again, and never the reason for an end."""

import numpy as np
import pytest
import torch
from disks import read_only, small_disk
from small import Interrupted, as_they_are, stop_after, two_sides
from torch import nn

from m3amba_geo.config import NetworkConfig, TrainConfig
from m3amba_geo.events import Note, Progress, Warned, ignore
from m3amba_geo.learn import embeddings as module
from m3amba_geo.learn.embeddings import embed
from m3amba_geo.learn.loop import fit
from m3amba_geo.learn.patches import CELL, Patches
from m3amba_geo.learn.world import World
from m3amba_geo.model import build
from m3amba_geo.model.guide import ClipGuide, Encoder, GuideIdentity
from m3amba_geo.model.guided import GuidedM3amba

CPU = torch.device("cpu")
SIDE, PATCH, WIDTH = 32, 16, 6


class Tower(nn.Module):
    """A small encoder that counts what it sees."""

    image_size = 16

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 8, 8), nn.GELU(), nn.Flatten(), nn.Linear(16, 6)
        )
        self.images = 0

    def forward(self, images):
        self.images += len(images)
        return self.layers(images)


def make_guide():
    guide = ClipGuide(Encoder(Tower(), GuideIdentity("tower", "0" * 64, "", WIDTH)), (3, 1))
    torch.manual_seed(2)
    for parameter in guide.parameters():
        nn.init.normal_(parameter, 0, 0.5)
    return guide.requires_grad_(False)


def make_patches(step=CELL):
    holes = {1: np.indices((SIDE, SIDE))[1] < SIDE // 2}  # windows at the left see no height
    return Patches([two_sides(SIDE, invalid=holes)], as_they_are(3, 1), PATCH, step)


def images_of(guide):
    return guide.encoder.visual.images


def train(folder, guide, table, *, emit=ignore, resume=False, epochs=4, seed=1):
    torch.manual_seed(0)
    config = NetworkConfig((3, 1), 2, width=8, depth=1, states=1, patch=PATCH, embedding=WIDTH)
    model = GuidedM3amba(build(config), guide)
    settings = TrainConfig(
        patch=PATCH, batch=3, epochs=epochs, seed=seed, modality_dropout=0.4, class_balance=0.5
    )
    (folder / "run").mkdir(exist_ok=True)
    return fit(
        model, make_patches(), settings, CPU, emit,
        run="run", checkpoint=folder / "run" / "checkpoint", resume=resume, embeddings=table,
    )  # fmt: skip


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_each_window_is_encoded_once_in_all_epochs_and_never_again(tmp_path):
    guide, path, events = make_guide(), tmp_path / "cache" / "a.safetensors", []
    table = embed(guide, make_patches(), path, events.append)
    windows = len(table.windows)
    assert images_of(guide) == 2 * (windows + 1)  # and the patch without data
    assert len(set(map(tuple, table.windows.tolist()))) == windows
    told = [(e.phase, e.done, e.total) for e in events if isinstance(e, Progress)]
    assert told == [("embedding", n + 1, windows) for n in range(windows)]
    train(tmp_path, guide, table)  # every window that it comes to is there
    assert images_of(guide) == 2 * (windows + 1)
    again, events = make_guide(), []
    found = embed(again, make_patches(), path, events.append)
    assert images_of(again) == 0
    assert not any(isinstance(event, Progress) for event in events)
    for name in ("windows", "values", "empty"):
        assert np.array_equal(getattr(found, name), getattr(table, name))
    train(tmp_path, again, found, seed=7)  # another seed comes to other windows of the same set
    assert images_of(again) == 0


class Pair(World):
    """One of two processes; what the other has made is added as it will have been."""

    others = None

    def same(self, what):
        return True

    def sum(self, tensor):
        if self.others is not None:
            tensor += torch.from_numpy(self.others)
        return tensor


def test_processes_share_the_windows_out(tmp_path):
    whole = embed(make_guide(), make_patches(), tmp_path / "alone", ignore)
    parts = [
        embed(make_guide(), make_patches(), tmp_path / f"{rank}", ignore, Pair(rank, 2))
        for rank in (0, 1)
    ]
    made = [(part.values != 0).any((1, 2)) for part in parts]
    assert not (made[0] & made[1]).any()
    assert abs(int(made[0].sum()) - int(made[1].sum())) <= 1
    assert np.array_equal(parts[0].values + parts[1].values, whole.values)
    both = Pair(0, 2)
    object.__setattr__(both, "others", parts[1].values)
    assert np.array_equal(
        embed(make_guide(), make_patches(), tmp_path / "both", ignore, both).values, whole.values
    )
    assert (tmp_path / "both").exists()
    assert not (tmp_path / "1").exists()


def test_they_are_what_the_guide_makes_of_the_patch_as_it_lies_there(tmp_path):
    guide, patches = make_guide(), make_patches()
    table = embed(guide, patches, tmp_path / "a", ignore)
    windows = patches.validation_windows(np.random.default_rng(0), None)
    for batch in patches.validation_batches(windows, 5):  # as a map is made: undisturbed
        for known, made in zip(table.of(batch), guide(batch.patches), strict=True):
            torch.testing.assert_close(known, made, rtol=1e-5, atol=1e-6)
    calm = TrainConfig(patch=PATCH, batch=4, noise=0, band_dropout=0, modality_dropout=0)
    other = TrainConfig(patch=PATCH, batch=4, noise=1, band_dropout=0.5, modality_dropout=0)
    for step in range(5):
        one, two = (table.of(patches.batch(step, config)) for config in (calm, other))
        windows = patches.batch(step, calm).windows
        if windows == patches.batch(step, other).windows:  # noise draws numbers between windows
            assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
        cut = [np.stack(parts) for parts in zip(*map(patches.patch_at, windows), strict=True)]
        for known, made in zip(one, guide([torch.from_numpy(p) for p in cut]), strict=True):
            torch.testing.assert_close(known, made, rtol=1e-5, atol=1e-6)


def test_a_silenced_modality_is_a_patch_without_data(tmp_path):
    guide, patches = make_guide(), make_patches()
    table = embed(guide, patches, tmp_path / "a", ignore)
    config = TrainConfig(patch=PATCH, batch=8, modality_dropout=0.9)
    blank = guide([torch.zeros(1, c, PATCH, PATCH) for c in (3, 1)])
    silenced = 0
    for step in range(4):
        batch = patches.batch(step, config)
        for n, known in enumerate(table.of(batch)):
            quiet = ~batch.patches[n].flatten(1).any(1)
            silenced += int(quiet.sum())
            torch.testing.assert_close(known[quiet], blank[n].expand(int(quiet.sum()), -1))
            # Where the raster has data, other embeddings than that of nothing.
            assert (known[~quiet] != torch.from_numpy(table.empty[n])).any(1).all()
    assert silenced > 10


def test_a_run_that_is_taken_up_ends_as_if_it_had_not_been_interrupted(tmp_path, monkeypatch):
    (tmp_path / "whole").mkdir()
    guide = make_guide()
    table = embed(guide, make_patches(), tmp_path / "whole" / "a", ignore)
    whole = train(tmp_path / "whole", guide, table)
    monkeypatch.setattr(module, "_KEEP_EVERY", 0.0)
    path, guide = tmp_path / "a", make_guide()
    with pytest.raises(Interrupted):
        embed(guide, make_patches(), path, stop_after(4, "embedding"))
    guide = make_guide()
    table = embed(guide, make_patches(), path, ignore)
    assert images_of(guide) == 2 * (len(table.windows) - 3)  # three were kept
    with pytest.raises(Interrupted):
        train(tmp_path, guide, table, emit=stop_after(7))
    guide = make_guide()
    table = embed(guide, make_patches(), path, ignore)
    assert images_of(guide) == 0
    taken_up = train(tmp_path, guide, table, resume=True)
    assert same(taken_up.weights, whole.weights)
    assert taken_up.scores == whole.scores


def test_what_a_fixed_guide_does_not_train_is_not_among_the_weights(tmp_path):
    guide = make_guide()
    before = {name: tensor.clone() for name, tensor in guide.state_dict().items()}
    table = embed(guide, make_patches(), tmp_path / "a", ignore)
    fitted = train(tmp_path, guide, table, epochs=1)
    assert not any(name.startswith("guide.") for name in fitted.weights)
    assert any(name.startswith("network.adapters.") for name in fitted.weights)
    assert same(guide.state_dict(), before)


def damaged(path, how):
    content = bytearray(path.read_bytes())
    if how == "cut":
        del content[-5:]
    elif how == "flipped":
        content[-5] ^= 1
    elif how == "empty":
        content.clear()
    else:
        content[:] = b"something else"
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "foreign"])
def test_a_damaged_file_is_made_again_with_a_note(tmp_path, how):
    path = tmp_path / "a"
    table = embed(make_guide(), make_patches(), path, ignore)
    damaged(path, how)
    events, guide = [], make_guide()
    again = embed(guide, make_patches(), path, events.append)
    assert images_of(guide) == 2 * (len(table.windows) + 1)
    assert np.array_equal(again.values, table.values)
    assert any(isinstance(e, Note) and "damaged" in e.message for e in events)
    assert not any(isinstance(e, Warned) for e in events)
    guide = make_guide()
    embed(guide, make_patches(), path, ignore)
    assert images_of(guide) == 0


def embed_and_hear(path):
    events, guide = [], make_guide()
    table = embed(guide, make_patches(), path, events.append)
    assert images_of(guide) == 2 * (len(table.windows) + 1)
    return table, [event for event in events if isinstance(event, Warned)]


def test_without_a_place_for_the_file_training_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_KEEP_EVERY", 0.0)
    expected = embed(make_guide(), make_patches(), tmp_path / "a", ignore)
    (tmp_path / "file").touch()
    table, warnings = embed_and_hear(tmp_path / "file" / "a")
    assert np.array_equal(table.values, expected.values)
    (warning,) = warnings  # once, however often it is tried
    assert warning.code == "embeddings-lost"
    assert "M3AMBA_CACHE" in warning.message


def test_a_folder_that_must_not_be_written_to_is_a_warning(tmp_path):
    (tmp_path / "closed").mkdir()
    with read_only(tmp_path / "closed"):
        _, warnings = embed_and_hear(tmp_path / "closed" / "a")
        assert [w.code for w in warnings] == ["embeddings-lost"]
        _, warnings = embed_and_hear(tmp_path / "closed" / "deeper" / "a")
        assert [w.code for w in warnings] == ["embeddings-lost"]


def test_a_full_disk_is_a_warning_and_leaves_nothing(tmp_path):
    with small_disk(tmp_path / "disk", 1) as folder:  # less than the file needs
        (folder / "filling").write_bytes(bytes(4000))
        _, (warning,) = embed_and_hear(folder / "a")
        assert "full" in warning.message
        assert [path.name for path in folder.iterdir()] == ["filling"]


def test_a_file_that_lacks_windows_gets_them(tmp_path):
    path, guide = tmp_path / "a", make_guide()
    some = make_patches()
    some.cells = some.cells[:1]
    few = embed(guide, some, path, ignore)
    before = images_of(guide)
    every = embed(guide, make_patches(), path, ignore)
    assert len(every.windows) > len(few.windows)
    assert images_of(guide) - before == 2 * (len(every.windows) - len(few.windows))
    assert np.array_equal(every.values[: len(few.windows)], few.values)
    assert len(embed(guide, some, path, ignore).windows) == len(every.windows)  # none is dropped
