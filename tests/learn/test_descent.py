"""The way down: the rate of each step, what decays, and going on where it stopped."""

import pytest
import torch
from torch import nn

from m3amba_geo.config import NetworkConfig, TrainConfig
from m3amba_geo.learn.descent import Descent
from m3amba_geo.model import build

CONFIG = TrainConfig(learning_rate=0.01)


def test_the_rate_warms_up_and_falls_to_nothing():
    steps = 400
    descent = Descent(nn.Linear(1, 1), CONFIG, steps)
    rates = [descent.rate(step) for step in range(steps + 1)]
    warm = steps // 20
    assert rates[:warm] == pytest.approx([(n + 1) / warm for n in range(warm)])
    assert rates[warm] == 1 == max(rates)
    assert rates[warm:] == sorted(rates[warm:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert rates[(warm + steps) // 2] == pytest.approx(0.5, abs=0.01)


def test_norms_biases_decays_and_skips_are_spared_weight_decay():
    model = build(NetworkConfig((3, 1), 2, width=8, depth=2, states=1, patch=8, embedding=0))
    descent = Descent(model, CONFIG, 10)
    decay = {
        id(parameter): group["weight_decay"]
        for group in descent._optimizer.param_groups
        for parameter in group["params"]
    }
    decayed = {name for name, p in model.named_parameters() if decay[id(p)] > 0}
    spared = {name for name, p in model.named_parameters() if decay[id(p)] == 0}
    assert len(decayed) + len(spared) == len(decay)
    assert all(name.endswith("weight") and "norm" not in name for name in decayed)
    assert all(name.endswith((".bias", ".D", "A_log", "A_log_x", "A_log_z", "norm.weight",
                              "norm2.weight")) for name in spared)  # fmt: skip


def walk(descent, model, steps):
    for _ in range(steps):
        model.zero_grad()
        (10 * model(torch.ones(1, 3)).square().sum()).backward()
        descent.step()


def test_it_goes_on_as_if_it_had_not_stopped():
    torch.manual_seed(0)
    whole = nn.Linear(3, 2)
    model = nn.Linear(3, 2)
    model.load_state_dict(whole.state_dict())
    walk(Descent(whole, CONFIG, 40), whole, 20)
    first = Descent(model, CONFIG, 40)
    walk(first, model, 8)
    second = Descent(model, CONFIG, 40)
    second.take_up(8, {name: tensor.clone() for name, tensor in first.moments().items()})
    walk(second, model, 12)
    assert torch.equal(model.weight, whole.weight)


def test_steps_are_no_longer_for_steep_slopes():
    model = nn.Linear(3, 2)
    model(torch.full((1, 3), 1e6)).sum().backward()
    Descent(model, CONFIG, 10).step()
    assert torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]) < 1.001


def test_moments_of_other_parameters_are_refused():
    with pytest.raises(KeyError):
        Descent(nn.Linear(1, 1), CONFIG, 10).take_up(1, {"other|exp_avg": torch.zeros(1)})
