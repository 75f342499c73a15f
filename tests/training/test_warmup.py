"""A warm-up without labels blanks out squares, and turned copies are averaged the right way up."""

import numpy as np
import torch

from m3amba_geo.config import NetworkConfig
from m3amba_geo.model import build
from m3amba_geo.model.guided import GuidedM3amba
from training.bench.ensemble import every_way
from training.warmup import _missed, _squares


def test_squares_are_blanked_whole_and_alike_in_all_bands():
    blank = _squares(torch.zeros(3, 5, 18, 18), np.random.default_rng(0))
    assert blank.shape == (3, 1, 18, 18)
    first = blank[:, :, :4, :4].flatten(1)
    assert (first.all(1) == first.any(1)).all()
    assert 0.3 < blank.float().mean() < 0.7


def test_only_blanked_pixels_count():
    pixels, blank = torch.ones(1, 2, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    blank[..., 0] = True
    filled = torch.where(blank, pixels, 9)
    assert _missed(filled, pixels, blank) == 0
    assert _missed(torch.where(blank, 3, pixels), pixels, blank) == 1.5  # Huber: |3 - 1| - 0.5


def test_the_mean_of_every_way_turns_with_the_patch():
    torch.manual_seed(0)
    model = GuidedM3amba(build(NetworkConfig((3, 2), 4, patch=8, embedding=0)), None).eval()
    patches = [torch.randn(2, 3, 8, 8), torch.randn(2, 2, 8, 8)]
    turned = [p.rot90(1, (-2, -1)).flip(-1) for p in patches]
    with torch.no_grad(), every_way():
        plain, other = model(patches)[1], model(turned)[1]
    assert torch.allclose(plain.rot90(1, (-2, -1)).flip(-1), other, atol=1e-5)
    with torch.no_grad():
        one, two = model(patches)[1], model(turned)[1]
    assert not torch.allclose(one.rot90(1, (-2, -1)).flip(-1), two, atol=1e-3)
