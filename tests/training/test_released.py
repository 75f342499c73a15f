"""The baseline that speed is compared with computes the same network."""

import torch

from m3amba_geo.config import NetworkConfig
from m3amba_geo.model import build
from training.bench.released import Released


def test_the_released_arrangement_gives_the_same_logits():
    torch.manual_seed(0)
    config = NetworkConfig(bands=(5, 2), classes=3, width=8, depth=2, embedding=0, patch=8)
    network = build(config).eval()
    patches = [torch.randn(2, bands, 8, 8) for bands in config.bands]
    with torch.no_grad():
        ours, released = network(patches, None), Released(network).eval()(patches)
    torch.testing.assert_close(released[1], ours[1], rtol=1e-4, atol=1e-5)
    for found, expected in zip(released[0], ours[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
