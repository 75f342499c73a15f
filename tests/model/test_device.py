"""Which device and which precision: asked for, had or refused, never swapped in silence."""

import pytest
import torch

from m3amba_geo.errors import DeviceUnavailableError
from m3amba_geo.events import ignore
from m3amba_geo.model import NetworkConfig, build
from m3amba_geo.model.device import (
    autocast,
    choose_device,
    choose_precision,
    encoder_precision,
)

CPU = torch.device("cpu")


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceUnavailableError, match="cuda") as caught:
        choose_device("cuda", ignore)
    assert caught.value.code == "device-unavailable"
    assert "doctor" in caught.value.hint
    assert choose_device("auto", ignore) == CPU


def test_auto_precision_is_float32_on_a_cpu():
    assert choose_precision("auto", CPU, ignore) is torch.float32
    assert choose_precision("fp32", CPU, ignore) is torch.float32


@pytest.mark.parametrize("native", [True, False])
def test_bf16_needs_a_cpu_that_has_it(monkeypatch, native):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: native)
    if native:
        assert choose_precision("bf16", CPU, ignore) is torch.bfloat16
    else:
        with pytest.raises(DeviceUnavailableError, match="bfloat16") as caught:
            choose_precision("bf16", CPU, ignore)
        assert "fp32" in caught.value.hint


def test_autocast_changes_matrix_products_only_when_asked():
    a = torch.ones(2, 2)
    with autocast(CPU, torch.bfloat16):
        assert (a @ a).dtype is torch.bfloat16
    with autocast(CPU, torch.float32):
        assert (a @ a).dtype is torch.float32


def test_recomputing_changes_no_gradient():
    torch.manual_seed(0)
    network = build(
        NetworkConfig(bands=(3, 1), classes=2, width=16, depth=2, patch=8, embedding=0)
    ).train()
    patches = [torch.randn(2, 3, 8, 8), torch.randn(2, 1, 8, 8)]
    gradients = []
    for recompute in (False, True):
        network.recompute = recompute
        network.zero_grad()
        torch.manual_seed(1)  # the same paths dropped
        logits, fused = network(patches, None)
        (fused.square().sum() + sum(x.square().sum() for x in logits)).backward()
        gradients.append([p.grad.clone() for p in network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("native", [True, False])
def test_what_is_emulated_is_no_arithmetic_of_a_gpu(monkeypatch, native):
    def supported(including_emulation=True):
        return including_emulation or native

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    gpu, wanted = torch.device("cuda"), torch.bfloat16 if native else torch.float32
    assert choose_precision("auto", gpu, ignore) is wanted
    assert encoder_precision(gpu, gradients=True) is wanted
    assert encoder_precision(gpu, gradients=False) is torch.float16
    if not native:
        with pytest.raises(DeviceUnavailableError):
            choose_precision("bf16", gpu, ignore)
