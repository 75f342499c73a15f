"""The selective scan: reference against a loop over tokens, compiled backend against reference."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3amba_geo.errors import ScanUnavailableError
from m3amba_geo.model import scan
from m3amba_geo.model.scan import cpu, reference

NAMES = ("u", "dt", "weight", "bias", "A", "B", "C", "D")
K = 4

compiled = pytest.mark.skipif(bool(cpu.why_not()), reason=cpu.why_not() or "usable")
sizes = st.tuples(
    st.integers(1, 3),  # batch
    st.integers(1, 9),  # H
    st.integers(1, 9),  # W
    st.sampled_from([1, 5, 16, 19, 48, 150]),  # I: below, at and above one vector; two groups
    st.sampled_from([1, 2, 7, 16]),  # S
    st.sampled_from([1, 3, 24]),  # R
)


@pytest.fixture(autouse=True)
def _auto():
    yield
    scan.choose("auto", torch.device("cpu"))


def inputs(size, seed=0, dtype=torch.float32):
    batch, height, width, channels, states, rank = size
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    return [
        normal(batch, height, width, channels),
        normal(batch, height, width, K, rank),
        normal(K, channels, rank) * 2 * rank**-0.5,
        normal(K, channels) - 2,
        -torch.exp(normal(K, channels, states)),
        normal(batch, height, width, K, states),
        normal(batch, height, width, K, states),
        normal(K, channels),
    ]


def naive(u, dt, weight, bias, A, B, C, D):
    """Token by token, position by position, straight from the equations."""
    batch, height, width, channels = u.shape
    rows = [(i, j) for i in range(height) for j in range(width)]
    columns = [(i, j) for j in range(width) for i in range(height)]
    y = torch.zeros_like(u)
    for k, places in enumerate((rows, columns, rows[::-1], columns[::-1])):
        h = torch.zeros(batch, channels, A.shape[-1], dtype=u.dtype)
        for i, j in places:
            step = dt[:, i, j, k] @ weight[k].T + bias[k]
            delta = torch.logaddexp(step, torch.zeros((), dtype=u.dtype))[..., None]
            inflow = delta * B[:, i, j, k, None, :] * u[:, i, j, :, None]
            h = torch.exp(delta * A[k]) * h + inflow
            y[:, i, j] += (h * C[:, i, j, k, None, :]).sum(-1) + D[k] * u[:, i, j]
    return y


def value_and_gradients(function, tensors, weight):
    tensors = [x.detach().requires_grad_() for x in tensors]
    y = function(*tensors)
    return [y.detach(), *torch.autograd.grad((y * weight.to(y.dtype)).sum(), tensors)]


def distance(found, expected):
    return ((found.double() - expected).norm() / expected.norm().clamp_min(1e-30)).item()


def assert_agrees(tensors):
    weight = torch.randn(tensors[0].shape, generator=torch.Generator().manual_seed(1))
    found = value_and_gradients(cpu.cross_scan, tensors, weight)
    expected = value_and_gradients(reference.cross_scan, [x.double() for x in tensors], weight)
    for name, x, truth in zip(("y", *NAMES), found, expected, strict=True):
        assert distance(x, truth) <= (1e-5 if name == "y" else 1e-4), name


@pytest.mark.parametrize("size", [(2, 3, 5, 4, 3, 2), (1, 7, 6, 2, 1, 1), (1, 1, 40, 3, 2, 4)])
def test_reference_is_the_recurrence(size):
    tensors = inputs(size, dtype=torch.float64)
    weight = torch.randn(tensors[0].shape, dtype=torch.float64)
    found = value_and_gradients(reference.cross_scan, tensors, weight)
    expected = value_and_gradients(naive, tensors, weight)
    for x, truth in zip(found, expected, strict=True):
        torch.testing.assert_close(x, truth, rtol=1e-7, atol=1e-9)


@compiled
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(size=sizes, seed=st.integers(0, 99))
def test_compiled_agrees(size, seed):
    assert_agrees(inputs(size, seed))


@compiled
def test_long_memory_over_many_blocks():
    tensors = inputs((1, 37, 41, 16, 3, 2))
    tensors[3] -= 4
    tensors[4] *= 0.01
    assert_agrees(tensors)


@compiled
def test_strided_views():
    tensors = inputs((2, 5, 6, 20, 4, 3))
    packed = torch.randn(2, 5, 6, K, 11)
    tensors[1], tensors[5], tensors[6] = packed.split([3, 4, 4], -1)
    tensors[0] = tensors[0].transpose(1, 2).contiguous().transpose(1, 2)
    assert_agrees(tensors)


@compiled
def test_extreme_inputs_stay_finite_and_right():
    tensors = inputs((1, 4, 5, 16, 2, 1))
    tensors[1][:, ::2] = 80.0
    tensors[1][:, 1::2] = -80.0
    tensors[2][:] = 1.0
    tensors[4][:, ::2] = -1e4
    tensors[4][:, 1::2] = -1e-4
    tensors[4][:, 0] = -0.0
    weight = torch.ones_like(tensors[0])
    assert all(x.isfinite().all() for x in value_and_gradients(cpu.cross_scan, tensors, weight))
    assert_agrees(tensors)


@compiled
@pytest.mark.parametrize("which", range(8))
def test_nan_is_not_swallowed(which):
    tensors = inputs((1, 3, 3, 16, 2, 2))
    tensors[which].view(-1)[0] = torch.nan
    assert cpu.cross_scan(*tensors).isnan().any()


@compiled
def test_bitwise_the_same_for_any_number_of_threads():
    tensors = inputs((2, 9, 7, 200, 5, 3))
    weight = torch.randn(tensors[0].shape)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(value_and_gradients(cpu.cross_scan, tensors, weight))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_dtype_comes_back(dtype):
    tensors = inputs((1, 3, 4, 8, 2, 3), dtype=dtype)
    y = scan.cross_scan(*tensors)
    assert y.dtype == dtype
    expected = reference.cross_scan(*(x.double() for x in tensors))
    assert distance(y, expected) < {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 1e-2)


@compiled
def test_bf16_is_read_and_written_and_only_rounded():
    tensors = inputs((2, 5, 7, 40, 3, 2))
    tensors[0] = tensors[0].bfloat16()
    weight = torch.randn(tensors[0].shape).bfloat16().float()
    found = value_and_gradients(cpu.cross_scan, tensors, weight)
    tensors[0] = tensors[0].float()
    expected = value_and_gradients(cpu.cross_scan, tensors, weight)
    assert torch.equal(found[0], expected[0].bfloat16())
    assert torch.equal(found[1], expected[1].bfloat16())
    for x, truth in zip(found[2:], expected[2:], strict=True):
        torch.testing.assert_close(x, truth)
    tensors[0][0, 0, 0, :3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    extreme = cpu.cross_scan(tensors[0].bfloat16(), *tensors[1:])
    assert torch.equal(extreme.isnan(), cpu.cross_scan(*tensors).bfloat16().isnan())


def test_autocast_leaves_the_states_alone():
    tensors = inputs((1, 3, 4, 8, 2, 3))
    with torch.autocast("cpu", torch.bfloat16):
        inside = reference.cross_scan(*tensors), scan.cross_scan(*tensors)
    assert distance(inside[1], reference.cross_scan(*(x.double() for x in tensors))) < 1e-5


@compiled
def test_choice_is_installed(monkeypatch):
    used = []

    def noted(name, backend):
        def cross_scan(*tensors):
            used.append(name)
            return backend.cross_scan(*tensors)

        return SimpleNamespace(cross_scan=cross_scan, why_not=backend.why_not)

    for name, backend in list(scan._BACKENDS.items()):
        monkeypatch.setitem(scan._BACKENDS, name, noted(name, backend))
    tensors = inputs((1, 2, 2, 3, 1, 1))
    for name in ("auto", "reference", "cpu"):
        assert scan.choose(name, torch.device("cpu")) == {"auto": "cpu"}.get(name, name)
        scan.cross_scan(*tensors)
    scan.cross_scan(*(x.double() for x in tensors))
    assert used == ["cpu", "reference", "cpu", "reference"]


def test_auto_off_the_cpu_is_the_reference():
    assert scan.choose("auto", torch.device("meta")) == "reference"


def test_what_is_not_there_can_not_be_chosen(monkeypatch):
    with pytest.raises(ScanUnavailableError) as caught:
        scan.choose("cpu", torch.device("cuda"))
    assert "auto" in caught.value.hint
    monkeypatch.setattr(cpu, "why_not", lambda: "numba is missing")
    said = scan.availability()
    assert (said["cpu"], said["reference"]) == ("numba is missing", "")
    with pytest.raises(ScanUnavailableError, match="numba is missing"):
        scan.choose("cpu", torch.device("cpu"))
    assert scan.choose("auto", torch.device("cpu")) == "reference"
