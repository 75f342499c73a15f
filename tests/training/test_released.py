"""The baseline that speed is compared with computes the same network."""

import pytest
import torch

from m3amba_geo.config import NetworkConfig
from m3amba_geo.model import build
from training.bench.released import Released, ReleasedOnOurs
from training.bench.step_gpu import flops, products_of


@pytest.mark.parametrize("arrangement", [Released, ReleasedOnOurs])
def test_the_released_arrangement_gives_the_same_logits(arrangement):
    torch.manual_seed(0)
    config = NetworkConfig(bands=(5, 2), classes=3, width=8, depth=2, embedding=0, patch=8)
    network = build(config).eval()
    patches = [torch.randn(2, bands, 8, 8) for bands in config.bands]
    with torch.no_grad():
        ours, released = network(patches, None), arrangement(network).eval()(patches)
    torch.testing.assert_close(released[1], ours[1], rtol=1e-4, atol=1e-5)
    for found, expected in zip(released[0], ours[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_products_of_a_step_are_counted():
    layer = torch.nn.Sequential(torch.nn.Linear(3, 5, bias=False), torch.nn.Linear(5, 2))

    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, patches):
            return [self.layer(patches[0])], self.layer(patches[0])

    products = products_of(Two(), [torch.randn(7, 3)], torch.bfloat16)
    # Forward, gradients of weights, and those of the hidden layer; the input needs none. Twice.
    assert flops(products) == 2 * 2 * 7 * (2 * 3 * 5 + 3 * 5 * 2)
