"""Bands decorrelated for training, and models that need none of it afterwards."""

import numpy as np
import pytest
import torch
from small import as_they_are
from torch import nn

from m3amba_geo.config import NetworkConfig
from m3amba_geo.geo.stats import _Moments
from m3amba_geo.learn.decorrelate import decorrelation, fold
from m3amba_geo.model import build
from m3amba_geo.model.guided import GuidedM3amba


def statistics(bands, seed=0):
    """Of bands that are nearly alike, and their pixels `(C, n)`."""
    rng = np.random.default_rng(seed)
    common = rng.normal(0, 10, (1, 5000))
    pixels = (common + rng.normal(0, 3, (bands, 5000))).astype(np.float32)
    moments = _Moments(bands)
    moments.add(pixels)
    return moments.statistics(), pixels


def test_mixed_bands_are_uncorrelated_and_of_like_variance():
    found, pixels = statistics(4)
    scaled = found.scale(pixels[:, None], np.ones((1, 5000), bool))[:, 0]
    before, after = np.cov(scaled), np.cov(decorrelation(found) @ scaled)
    assert before[~np.eye(4, dtype=bool)].min() > 0.8
    assert after == pytest.approx(np.eye(4), abs=0.3)  # the floor keeps a little correlation
    assert decorrelation(found) == pytest.approx(decorrelation(found).T)


def test_directions_without_variance_are_not_blown_up():
    twice = np.random.default_rng(0).normal(0, 1, (1, 100)).repeat(2, axis=0).astype(np.float32)
    moments = _Moments(2)
    moments.add(twice)
    assert np.linalg.norm(decorrelation(moments.statistics()), 2) <= 5.78  # 0.03^-0.5


def test_bands_of_unknown_correlation_are_left_alone():
    (unknown,) = as_they_are(3)
    assert np.array_equal(decorrelation(unknown), np.eye(3))


class Guide(nn.Module):
    """Embeds the mean colour of each modality; stands for the guide and its encoder."""

    def __init__(self, bands, width):
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Conv2d(count, 3, 1) for count in bands)
        self.linear = nn.Linear(3, width)

    def forward(self, patches):
        pairs = zip(self.embeddings, patches, strict=True)
        return [self.linear(embed(p).mean((2, 3))) for embed, p in pairs]


@pytest.mark.parametrize("embedding", [0, 6])
def test_a_folded_model_makes_of_the_bands_what_it_made_of_mixed_ones(embedding):
    torch.manual_seed(0)
    bands = (4, 2)
    mixings = [decorrelation(statistics(count)[0]) for count in bands]
    network = build(
        NetworkConfig(bands, 3, width=8, depth=1, states=2, patch=8, embedding=embedding)
    )
    model = GuidedM3amba(network, Guide(bands, embedding) if embedding else None).eval()
    patches = [torch.randn(2, count, 8, 8) for count in bands]
    mixed = [
        torch.einsum("dc,bchw->bdhw", torch.from_numpy(m), p)
        for m, p in zip(mixings, patches, strict=True)
    ]
    with torch.no_grad():
        logits, fused = model(mixed)
        fold(model, mixings)
        folded, fused_again = model(patches)
    torch.testing.assert_close([*folded, fused_again], [*logits, fused], rtol=1e-4, atol=1e-5)
