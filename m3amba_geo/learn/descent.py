"""The way down: AdamW, a rate that rises and falls, clipped gradients."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from m3amba_geo.config import TrainConfig

_WARM_UP = 0.05  # of all steps
_LONGEST = 1.0  # of the gradients' norm


class Descent:
    """Moves a model's parameters along their gradients, in a known number of steps.

    Attributes:
        parameters: Those of the model that are trained, by name.
    """

    def __init__(self, model: nn.Module, config: TrainConfig, steps: int) -> None:
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._steps, self._peak = steps, config.learning_rate
        self._optimizer = torch.optim.AdamW(
            _decay_groups(self.parameters, config.weight_decay), lr=config.learning_rate
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self.rate)

    def rate(self, step: int) -> float:
        """Returns the rate of a step, as a share of its peak: a warm-up, then half a cosine."""
        warm = max(1, round(_WARM_UP * self._steps))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self._steps - warm)))

    def step(self) -> None:
        """Goes one step along the gradients that are there."""
        nn.utils.clip_grad_norm_(self.parameters.values(), _LONGEST)
        self._optimizer.step()
        self._schedule.step()

    def moments(self) -> dict[str, Tensor]:
        """Returns what the optimiser remembers, as `parameter|moment` -> tensor."""
        return {
            f"{name}|{key}": value
            for name, parameter in self.parameters.items()
            for key, value in self._optimizer.state[parameter].items()
        }

    def take_up(self, step: int, moments: Mapping[str, Tensor]) -> None:
        """Goes on after some steps, with what the optimiser remembered then.

        Raises:
            KeyError: These are moments of other parameters.
        """
        for key, value in moments.items():
            name, _, moment = key.rpartition("|")
            parameter = self.parameters[name]
            # Adam keeps its step counter on the CPU wherever the parameter is.
            device = "cpu" if moment == "step" else parameter.device
            self._optimizer.state[parameter][moment] = value.to(device)
        self._schedule.last_epoch = step
        for group in self._optimizer.param_groups:
            group["lr"] = self._peak * self.rate(step)


def _decay_groups(parameters: Mapping[str, nn.Parameter], decay: float) -> list[dict[str, object]]:
    """Parts parameters by whether weight decay is usual for them (network.md, section 7)."""
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in parameters.items():
        last = name.rpartition(".")[2]
        spare = parameter.ndim == 1 or last in ("bias", "D") or last.startswith("A_log")
        (spared if spare else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": decay},
        {"params": spared, "weight_decay": 0.0},
    ]
