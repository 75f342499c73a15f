"""Linear layers that keep the sources of their input give what plain ones give."""

import pytest
import torch
from torch.nn import functional as F

from m3amba_geo.model.lean import linear_of


def gate(x, y):
    return F.silu(x) * y


def gradients(function, tensors, precision):
    tensors = [x.detach().requires_grad_(w) for x, w in tensors]
    with torch.autocast("cpu", precision, enabled=precision is not torch.float32):
        out = function(*tensors)
    asked = [x for x in tensors if x.requires_grad]
    return [out.detach(), *torch.autograd.grad(out.square().sum(), asked)]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("frozen", [None, 0, 1, 2, 3])
def test_as_a_plain_linear_layer(precision, frozen):
    torch.manual_seed(0)
    shapes = (2, 3, 5), (2, 3, 5), (4, 5), (4,)
    tensors = [(torch.randn(shape), n != frozen) for n, shape in enumerate(shapes)]
    lean = gradients(lambda x, y, w, b: linear_of(gate, (x, y), w, b), tensors, precision)
    plain = gradients(lambda x, y, w, b: F.linear(gate(x, y), w, b), tensors, precision)
    error = 1e-6 if precision is torch.float32 else 2e-2
    for found, expected in zip(lean, plain, strict=True):
        assert found.dtype == expected.dtype
        assert (found - expected).norm() <= error * expected.norm()


def test_the_input_of_the_product_is_not_kept():
    kept = []
    x, weight = torch.randn(7, 5, requires_grad=True), torch.randn(4, 5, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        linear_of(F.gelu, (x,), weight, None)
    assert {t.data_ptr() for t in kept} == {x.data_ptr(), weight.data_ptr()}
