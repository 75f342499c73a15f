"""Scan backends of CUDA: Triton's kernels under its interpreter, mamba-ssm's adapter, the dispatch.

Triton decides when a kernel is defined whether it interprets it. So those tests run in a process of
their own, this file again, which `test_under_the_interpreter` starts; to run them by hand:
`TRITON_INTERPRET=1 pytest tests/model/test_scan_triton.py`.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from m3amba_geo.errors import ScanUnavailableError
from m3amba_geo.model import scan
from m3amba_geo.model.scan import mamba_ssm, reference, triton

ROOT = Path(__file__).parents[2]
K = 4
NAMES = ("y", "u", "dt", "weight", "bias", "A", "B", "C", "D")
RANK = 3
INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"

has_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
interpreted = pytest.mark.skipif(not INTERPRETING, reason="runs in a process of its own")
compiled = pytest.mark.skipif(INTERPRETING, reason="runs beside the interpreter")


@pytest.fixture(autouse=True)
def _auto():
    yield
    scan.choose("auto", torch.device("cpu"))


@pytest.fixture
def small(monkeypatch):
    """Groups of two tokens, for the interpreter is slow, and one span unless a test says more."""
    monkeypatch.setattr(triton, "GROUP", 2)
    monkeypatch.setattr(triton, "GROUP_BACK", 2)
    monkeypatch.setattr(triton, "SHORTEST", 1)
    monkeypatch.setattr(triton, "FEW", 0)


def inputs(size, dtype=torch.float32, device="cpu"):
    """dt, B and C are strided views, as the network makes them."""
    batch, height, width, channels, states = size
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator).to(device)

    packed = normal(batch, height, width, K, RANK + 2 * states).to(dtype)
    dt, B, C = packed.split([RANK, states, states], -1)
    return [
        normal(batch, height, width, channels).to(dtype),
        dt,
        normal(K, channels, RANK),
        normal(K, channels) - 2,
        -torch.exp(normal(K, channels, states)),
        B,
        C,
        normal(K, channels),
    ]


def value_and_gradients(function, tensors):
    tensors = [x.detach().requires_grad_() for x in tensors]
    y = function(*tensors)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.device, y.dtype)
    return [y.detach(), *torch.autograd.grad(y, tensors, weight)]


def assert_agrees(tensors, function=triton.cross_scan, y_error=1e-5, error=1e-4):
    found = value_and_gradients(function, tensors)
    expected = value_and_gradients(reference.cross_scan, [x.double() for x in tensors])
    for name, x, truth, source in zip(NAMES, found, expected, (tensors[0], *tensors), strict=True):
        assert x.isfinite().all(), name
        assert x.dtype == source.dtype, name
        distance = (x.double() - truth).norm() / truth.norm().clamp_min(1e-30)
        assert distance <= (y_error if name == "y" else error), name


@compiled
@has_triton
def test_under_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    child = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert child.returncode == 0, child.stdout + child.stderr
    assert " passed" in child.stdout, child.stdout


@interpreted
@pytest.mark.parametrize(
    "size",
    [
        (1, 3, 5, 4, 3),  # sides and states that are no powers of two
        (1, 5, 1, 33, 1),  # one state, a channel more than a block, one column
        (1, 1, 1, 1, 1),
    ],
)
def test_one_span(small, size):
    assert_agrees(inputs(size))


@interpreted
@pytest.mark.parametrize("size", [(1, 3, 5, 4, 3), (2, 1, 7, 5, 2)])
def test_many_spans(small, monkeypatch, size):
    monkeypatch.setattr(triton, "FEW", 100)
    monkeypatch.setattr(triton, "ENOUGH", 4)
    assert triton._Plan(*size, processors=1).spans > 1
    assert_agrees(inputs(size))


@interpreted
def test_groups_and_spans_of_the_chip(monkeypatch):
    monkeypatch.setattr(triton, "ENOUGH", 100)
    monkeypatch.setattr(triton, "SHORTEST", 2)
    size = (1, 3, 6, 3, 2)
    assert triton._Plan(*size, processors=1).spans == 2
    assert_agrees(inputs(size))


@interpreted
def test_bf16_inputs(small):
    tensors = inputs((1, 3, 4, 5, 2), torch.bfloat16)
    # Its step sizes are rounded to bf16, by up to 1/512; float64 knows no such rounding.
    assert_agrees(tensors, y_error=1e-2, error=1e-2)


@interpreted
def test_extreme_inputs_stay_finite_and_right(small, monkeypatch):
    monkeypatch.setattr(triton, "FEW", 100)
    tensors = inputs((1, 2, 3, 6, 2))
    tensors[1][:, ::2] = 80.0
    tensors[1][:, 1::2] = -80.0
    tensors[2][:] = 1 / RANK
    tensors[4][:, ::2] = -1e4
    tensors[4][:, 1::2] = -1e-4
    tensors[4][:, 0] = -0.0
    assert_agrees(tensors)


@interpreted
@pytest.mark.parametrize("which", range(8))
def test_nan_is_not_swallowed(small, which):
    tensors = [x.clone() for x in inputs((1, 1, 2, 2, 1))]
    tensors[which].view(-1)[0] = torch.nan
    assert triton.cross_scan(*tensors).isnan().any()


@compiled
@has_triton
@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_without_a_gpu(capability):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from m3amba_geo.model.scan import triton_kernels as kernels

    floats = {"A2", "skip", "starts", "ends", "totals", "checks", "y_in", "gu_in", "states"}
    floats |= {"gA", "gB", "gC"}
    read = {"x", "u", "dt", "B", "C", "y", "gy", "gu", "gdt"}
    for kernel, constants in (
        (kernels.walk, {"starts": None, "checks": None, "y_in": None, "T": triton.GROUP}),
        (kernels.walk, {"y_in": None, "y": None, "T": triton.GROUP_BACK}),
        (kernels.summarise, {"BACK": True, "T": triton.GROUP}),
        (kernels.carry, {"BACK": True}),
        (kernels.reverse, {"T": triton.GROUP_BACK}),
    ):
        constants = constants | {"P": 16}
        signature = {
            name: "constexpr" if name in constants
            else "*fp32" if name in floats else "*bf16" if name in read else "i32"
            for name in kernel.arg_names
        }  # fmt: skip
        source = ASTSource(kernel, signature, constexprs=constants)
        options = {"num_warps": 1, "enable_fp_fusion": True}
        assert compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm["ptx"]


def selective_scan(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):
    """What mamba-ssm documents of its function, one token at a time."""
    assert z is None
    assert delta_bias is None
    assert u.dtype == delta.dtype == B.dtype == C.dtype
    assert A.dtype == D.dtype == torch.float32
    dtype, group = u.dtype, u.shape[1] // B.shape[1]
    u, delta, A, D = u.double(), delta.double(), A.double(), D.double()
    delta = functional.softplus(delta) if delta_softplus else delta
    B, C = (x.double().repeat_interleave(group, 1) for x in (B, C))  # (B, K*I, S, L)
    h, ys = torch.zeros_like(B[..., 0]), []
    for t in range(u.shape[2]):
        inflow = (delta[..., t] * u[..., t])[..., None] * B[..., t]
        h = torch.exp(delta[..., t, None] * A) * h + inflow
        ys.append((h * C[..., t]).sum(-1))
    return (torch.stack(ys, -1) + D[:, None] * u).to(dtype)


@compiled
@pytest.mark.parametrize("size", [(2, 3, 5, 4, 3), (1, 7, 2, 3, 1)])
def test_mamba_ssm_adapter(monkeypatch, size):
    monkeypatch.setattr(mamba_ssm, "_selective_scan", lambda: selective_scan)
    assert_agrees(inputs(size), mamba_ssm.cross_scan)
    tensors = inputs(size, torch.bfloat16)
    tensors[1] = tensors[1].float()  # the kernel wants the dtype of u
    assert_agrees(tensors, mamba_ssm.cross_scan, y_error=1e-2, error=2e-2)


CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def pretend(monkeypatch, **reasons):
    """Say of backends why they do not run; an empty string: they do."""
    for name, reason in reasons.items():
        module = {"triton": triton, "mamba_ssm": mamba_ssm}[name]
        monkeypatch.setattr(module, "why_not", lambda reason=reason: reason)


@compiled
def test_auto_on_cuda_takes_the_fastest_that_works(monkeypatch):
    pretend(monkeypatch, triton="", mamba_ssm="")
    assert scan.choose("auto", CUDA) == "triton"
    assert scan.passed_over(CUDA) == {}
    pretend(monkeypatch, triton="it can't compile")
    assert scan.choose("auto", CUDA) == "mamba_ssm"
    assert scan.passed_over(CUDA) == {"triton": "it can't compile"}
    pretend(monkeypatch, mamba_ssm="it is not installed")
    assert scan.choose("auto", CUDA) == "reference"
    assert list(scan.passed_over(CUDA)) == ["triton", "mamba_ssm"]
    assert scan.choose("reference", CUDA) == "reference"
    assert scan.passed_over(CUDA) == {}


@compiled
def test_explicit_choice_on_cuda(monkeypatch):
    pretend(monkeypatch, triton="", mamba_ssm="")
    assert scan.choose("mamba_ssm", CUDA) == "mamba_ssm"
    assert scan._resolve(CUDA, torch.bfloat16) == "mamba_ssm"
    assert scan._resolve(CUDA, torch.float64) == "reference"
    assert scan.choose("triton", CUDA) == "triton"
    with pytest.raises(ScanUnavailableError, match="can't run on cpu"):
        scan.choose("triton", CPU)


@compiled
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_it_is_said_and_nothing_is_imported():
    code = (
        "import sys, torch\n"
        "from m3amba_geo.model import scan\n"
        "said = scan.availability()\n"
        "assert said['triton'] == said['mamba_ssm'] == 'there is no CUDA device', said\n"
        "scan.choose('auto', torch.device('cpu'))\n"
        "names = ('mamba_ssm', 'm3amba_geo.model.scan.triton_kernels')\n"
        "assert not set(names) & set(sys.modules)\n"
        "assert not torch.cuda.is_initialized()\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    for name in ("triton", "mamba_ssm"):
        with pytest.raises(ScanUnavailableError, match="no CUDA device") as caught:
            scan.choose(name, CUDA)
        assert "auto" in caught.value.hint


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["triton", "mamba_ssm"])
@pytest.mark.parametrize(
    "size", [(1, 32, 32, 768, 16), (64, 8, 9, 96, 16), (2, 37, 41, 33, 5), (1, 1, 1, 1, 1)]
)
def test_on_a_gpu(name, size, dtype):
    if reason := scan.availability()[name]:
        pytest.skip(reason)
    assert scan.choose(name, CUDA) == name
    errors = {} if dtype == torch.float32 else {"y_error": 1e-2, "error": 2e-2}
    assert_agrees(inputs(size, dtype, "cuda"), scan.cross_scan, **errors)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_bits_twice():
    tensors = inputs((3, 32, 32, 96, 16), device="cuda")
    runs = [value_and_gradients(triton.cross_scan, tensors) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
