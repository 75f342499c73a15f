"""The network against the golden tensors of the authors' code (golden/README.md)."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from m3amba_geo.errors import NotAModelError, ScanUnavailableError
from m3amba_geo.events import ignore
from m3amba_geo.model import scan
from m3amba_geo.model.device import choose_device
from m3amba_geo.model.published import load_published

GOLDEN = Path(__file__).with_name("golden")
RANK, STATES = 2, 16
HEADS = ("logits_1", "logits_2", "logits_fused")


@pytest.fixture(scope="module")
def weights():
    files = ("small_weights_1", "small_weights_2")
    tensors = [load_file(GOLDEN / f"{name}.safetensors") for name in files]
    return {k.removeprefix("model_dict."): v for part in tensors for k, v in part.items()}


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN / "small_io.safetensors")


@pytest.fixture(params=["cpu", pytest.param("reference", marks=pytest.mark.slow)])
def backend(request):
    try:
        yield scan.choose(request.param, torch.device("cpu"))
    except ScanUnavailableError as error:
        pytest.skip(str(error))
    finally:
        scan.choose("auto", torch.device("cpu"))


def distance(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


def run(network, golden):
    """Returns the inputs, as leaves, and the logits of the three heads by name."""
    names = ("modality_1", "modality_2", "clip_1", "clip_2")
    inputs = {name: golden[name].clone().requires_grad_() for name in names}
    logits, fused = network(
        [inputs["modality_1"], inputs["modality_2"]], [inputs["clip_1"], inputs["clip_2"]]
    )
    return inputs, dict(zip(HEADS, [*logits, fused], strict=True))


def test_logits_and_gradients_are_those_of_the_authors(weights, golden, backend):
    network = load_published(weights).eval()
    inputs, logits = run(network, golden)
    for name in HEADS:
        assert distance(logits[name].detach(), golden[name]) < 1e-5, name
    total = sum(
        (golden[name.replace("logits", "cotangent")] * logits[name]).sum() for name in HEADS
    )
    total.backward()
    ours = {f"grad_{name}": leaf.grad for name, leaf in inputs.items()} | gradients(network)
    wanted = {name for name in golden if name.startswith("grad_")}
    assert set(ours) == wanted
    for name in wanted:
        expected = golden[name]
        if "x_proj_weight" in name:  # the dead rows have no place in our network
            part = slice(RANK, RANK + STATES)
            rest = torch.cat([expected[:, :RANK], expected[:, RANK + STATES :]], 1)
            expected, dead = (expected[:, part], rest)[:: 1 if "lidar" in name else -1]
            assert not dead.any(), name
        assert distance(ours[name], expected) < 1e-4, name


@pytest.mark.gpu
def test_a_gpu_gives_the_logits_of_the_authors(weights, golden):
    device = choose_device("cuda", ignore)
    assert scan.choose("triton", device) == "triton"
    network = load_published(weights).eval().cuda()
    _, logits = run(network, {name: tensor.cuda() for name, tensor in golden.items()})
    for name in HEADS:
        assert distance(logits[name].detach().cpu(), golden[name]) < 1e-4, name


def gradients(network):
    """Gradients of our parameters, found by hand, under the authors' names."""
    crossed, late = network.streams[0][0].scan, network.streams[1][1].scan
    found = {
        "classifier_add.head.weight": network.fused_head.conv.weight,
        "linear_hsi.weight": network.adapters[0].linear.weight,
        "layers_x.0.0.op.x_proj_weight_hsi": crossed.x_proj.weight,
        "layers_x.0.0.op.x_proj_weight_lidar": crossed.z_proj.weight,
        "layers_x.0.1.op.conv2d.weight": network.streams[0][1].scan.conv.weight,
        "layers_y.0.1.op.A_logs_hsi": late.A_log_x,
        "layers_y.0.1.op.A_logs_lidar": late.A_log_z,
        "layers_z.0.0.op.A_logs": network.fusion[0].scan.A_log,
        "layers_z.0.1.op.dt_projs_weight": network.fusion[1].scan.step.weight,
    }
    flat = {name for name in found if "A_logs" in name}
    return {
        f"grad_param.{name}": p.grad.flatten(0, 1) if name in flat else p.grad
        for name, p in found.items()
    }


def test_shapes_are_read_from_the_weights(weights):
    config = load_published(weights).config
    assert (config.bands, config.classes) == ((12, 3), 6)
    assert (config.width, config.depth, config.states) == (32, 2, STATES)
    assert (config.patch, config.embedding) == (32, 512)


def test_dead_parameters_are_dropped(weights):
    inner, blocks = 64, 4
    # For each direction: z's step weight, step bias, skip, dt and C projections; x's B projection.
    dead = blocks * 4 * inner * (RANK + 1 + 1 + (RANK + STATES) + STATES)
    held = sum(p.numel() for p in load_published(weights).parameters())
    assert held == sum(tensor.numel() for tensor in weights.values()) - dead


def test_dead_parameters_do_not_matter(weights, golden):
    changed = dict(weights)
    for name, tensor in weights.items():
        if name.endswith(("dt_projs_weight_lidar", "dt_projs_bias_lidar", "Ds_lidar")):
            changed[name] = tensor + 1
    with torch.no_grad():
        _, before = run(load_published(weights).eval(), golden)
        _, after = run(load_published(changed).eval(), golden)
    assert all(torch.equal(before[name], after[name]) for name in HEADS)


def test_the_weights_given_are_not_changed_or_shared(weights):
    before = {name: tensor.clone() for name, tensor in weights.items()}
    network = load_published(weights)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert weights.keys() == before.keys()
    assert all(torch.equal(weights[name], before[name]) for name in before)


def without(name):
    return lambda weights: {k: v for k, v in weights.items() if k != name}


def changed(name, change):
    return lambda weights: weights | {name: change(weights[name])}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda _: {}, "not the weights"),
        (without("patch_embed_hsi.0.weight"), r"patch_embed_hsi\.0\.weight"),
        (without("classifier_add.head.bias"), "fused_head.conv.bias"),
        (without("layers_z.0.1.op.Ds"), r"layers_z\.0\.1\.op\.Ds"),
        (lambda w: {k: v for k, v in w.items() if not k.startswith("layers_z")}, "not the weights"),
        (lambda w: w | {"text.weight": torch.ones(1)}, "without a place.*text.weight"),
        (lambda w: {f"model_dict.{k}": v for k, v in w.items()}, "not the weights"),
        (lambda w: {"model_dict": w, "conv_hsi": {}}, "not the weights"),
        (changed("patch_embed_hsi.0.weight", lambda t: t.flatten()), "not the weights"),
        (changed("linear_hsi.weight", lambda t: t[:, :3]), "not the weights"),
        (changed("classifier_hsi.head.weight", lambda t: t[:2]), "heads.0.conv.weight"),
        (changed("layers_x.0.0.op.x_proj_weight_hsi", lambda t: t.flatten()), "not the weights"),
        (changed("layers_x.0.0.op.A_logs_hsi", lambda t: t[:3]), "not the weights"),
        (changed("layers_x.0.0.op.A_logs_hsi", lambda t: t[:, :3]), "not the weights"),
    ],
)
def test_other_weights_are_refused(weights, damage, message):
    with pytest.raises(NotAModelError, match=message) as caught:
        load_published(damage(weights))
    assert "model_dict" in caught.value.hint
