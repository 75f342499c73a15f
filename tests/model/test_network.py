"""The network's shape, size and behaviour; its numbers are held by test_published.py."""

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from m3amba_geo.config import NetworkConfig
from m3amba_geo.model import M3amba, build
from m3amba_geo.model.blocks import DropPath

BANDS = (5, 2, 1)
CLASSES = 3
EMBEDDING = 7


def small(modalities=2, patch=8, **settings):
    torch.manual_seed(0)
    settings = {"width": 16, "depth": 2, "states": 4, "embedding": EMBEDDING} | settings
    return build(NetworkConfig(BANDS[:modalities], CLASSES, patch=patch, **settings))


def inputs(modalities=2, patch=8, batch=2):
    generator = torch.Generator().manual_seed(1)
    patches = [torch.randn(batch, c, patch, patch, generator=generator) for c in BANDS[:modalities]]
    embeddings = [torch.randn(batch, EMBEDDING, generator=generator) for _ in range(modalities)]
    return patches, embeddings


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("guided", [True, False])
def test_any_number_of_modalities(modalities, guided):
    network = small(modalities, embedding=EMBEDDING if guided else 0)
    patches, embeddings = inputs(modalities)
    logits, fused = network(patches, embeddings if guided else None)
    assert len(logits) == modalities
    assert {tuple(x.shape) for x in (*logits, fused)} == {(2, CLASSES, 8, 8)}
    sum(x.square().sum() for x in (*logits, fused)).backward()
    # With all heads in the loss every parameter matters: none is dead.
    for name, parameter in network.named_parameters():
        assert parameter.grad.any(), name


@pytest.mark.parametrize("others", [1.0, 0.25])
def test_the_linear_head_adds_its_logits_where_all_modalities_are(others):
    network, plain = small(linear_head=True), small()
    assert network.state_dict().keys() - plain.state_dict().keys() == {
        "linear_head.weight",
        "linear_head.bias",
        "linear_head.others",
    }
    network.load_state_dict(network.state_dict() | plain.state_dict())
    network.linear_head.weight.normal_()
    network.linear_head.bias[0] = -torch.inf
    network.linear_head.others.fill_(others)
    patches, embeddings = inputs()
    patches[0][:, :, :2] = patches[1][:, :, 3] = 0
    with torch.no_grad():
        alone = plain.eval()(patches, embeddings)[1]
        torch.testing.assert_close(network.eval()(patches, embeddings)[1], alone)
        both = network.with_linear(alone, patches)
        features = torch.cat(patches, 1)
    wanted = torch.einsum("qc,bchw->bqhw", network.linear_head.weight, features)
    wanted += network.linear_head.bias[:, None, None] + others * alone
    missing = torch.zeros(8, 8, dtype=torch.bool)
    missing[:2] = missing[3] = True
    torch.testing.assert_close(both, torch.where(missing, alone, wanted))
    assert plain.with_linear(alone, patches) is alone
    assert not any("linear_head" in n for n, _ in network.named_parameters())


@pytest.mark.parametrize("patch", [4, 12, 32])
def test_other_patch_sizes(patch):
    logits, fused = small(patch=patch)(*inputs(patch=patch))
    assert {tuple(x.shape) for x in (*logits, fused)} == {(2, CLASSES, patch, patch)}


def test_a_modality_reaches_the_fused_output_and_through_it_the_others():
    network = small().eval()
    patches, embeddings = inputs()
    with torch.no_grad():
        (_, other), fused = network(patches, embeddings)
        patches[0] = patches[0] + 1
        (_, other_now), fused_now = network(patches, embeddings)
    assert not torch.equal(fused, fused_now)
    assert not torch.equal(other, other_now)  # through z, from the second step on


def test_without_embeddings_the_fusion_starts_from_the_sum_of_the_streams():
    network = small(embedding=0, depth=1).eval()
    assert len(network.adapters) == 0
    patches, _ = inputs()
    with torch.no_grad():
        streams = [embed(x) for embed, x in zip(network.embeddings, patches, strict=True)]
        crossed = [b[0](s, sum(streams)) for b, s in zip(network.streams, streams, strict=True)]
        expected = network.fused_head(network.fusion[0](sum(crossed)))
        _, fused = network(patches, None)
    assert torch.allclose(fused, expected, atol=1e-6)


def test_a_network_with_adapters_runs_without_embeddings_too():
    network = small().eval()
    patches, embeddings = inputs()
    with torch.no_grad():
        assert not torch.equal(network(patches, None)[1], network(patches, embeddings)[1])


def test_the_fusion_starts_from_the_sum_of_the_adapted_embeddings():
    network = small(depth=1).eval()
    patches, embeddings = inputs()
    with torch.no_grad():
        streams = [embed(x) for embed, x in zip(network.embeddings, patches, strict=True)]
        guide = sum(adapt(e) for adapt, e in zip(network.adapters, embeddings, strict=True))
        crossed = [b[0](s, guide) for b, s in zip(network.streams, streams, strict=True)]
        expected = network.fused_head(network.fusion[0](sum(crossed)))
        _, fused = network(patches, embeddings)
    assert torch.allclose(fused, expected, atol=1e-6)


@pytest.mark.parametrize("missing", ["patch", "embedding", "adapters"])
def test_wrong_numbers_of_inputs_are_not_passed_over(missing):
    network = small(embedding=0 if missing == "adapters" else EMBEDDING)
    patches, embeddings = inputs()
    if missing == "patch":
        patches.pop()
    elif missing == "embedding":
        embeddings.pop()
    with pytest.raises(ValueError, match="zip"):
        network(patches, embeddings)


def test_a_patch_is_classified_by_itself_alone():
    network = small().eval()
    patches, embeddings = inputs(batch=3)
    with torch.no_grad():
        _, together = network(patches, embeddings)
        _, alone = network([p[1:2] for p in patches], [e[1:2] for e in embeddings])
    assert torch.allclose(together[1:2], alone, atol=1e-5)


def test_drop_path_acts_in_training_alone():
    network = small(drop_path=0.9, depth=3)
    patches, embeddings = inputs()

    def fused():
        with torch.no_grad():
            return network(patches, embeddings)[1]

    network.train()
    torch.manual_seed(3)
    first, second = fused(), fused()
    torch.manual_seed(3)
    assert torch.equal(first, fused())
    assert not torch.equal(first, second)
    network.eval()
    state = torch.get_rng_state()
    assert torch.equal(fused(), fused())
    assert torch.equal(torch.get_rng_state(), state)


def test_drop_path_drops_whole_patches_and_keeps_the_mean():
    torch.manual_seed(0)
    drop = DropPath(0.25).train()
    kept = drop(torch.ones(4000, 2, 3))
    assert kept.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (kept == kept[:, :1, :1]).all()
    assert kept.mean().item() == pytest.approx(1, abs=0.05)


def test_parts_of_a_batch_drop_what_the_batch_drops():
    network = small(depth=2, drop_path=0.5).train()
    patches, embeddings = inputs(batch=5)

    def fused(own):
        torch.manual_seed(3)
        return network([p[own] for p in patches], [e[own] for e in embeddings])[1]

    whole = fused(slice(None))
    for own in (slice(0, 2), slice(2, 5)):
        network.take_part(5, own)
        assert torch.allclose(fused(own), whole[own], atol=1e-5)
    network.take_part(5, slice(0, 3))
    assert not torch.allclose(fused(slice(2, 5)), whole[2:5], atol=1e-2)


def test_drop_path_grows_over_the_depth_alike_in_both_kinds_of_block():
    network = small(depth=3, drop_path=0.2)
    rates = [block.drop_path.rate for block in network.fusion]
    assert rates == pytest.approx([0, 0.1, 0.2])
    for stream in network.streams:
        assert [block.drop_path.rate for block in stream] == rates
    assert small(depth=1).fusion[0].drop_path.rate == 0


def test_initial_values_are_those_of_the_release():
    torch.manual_seed(0)
    network = build(NetworkConfig((12, 3), 6, width=64, depth=1))
    for name, parameter in network.named_parameters():
        if "A_log" in name:
            row = torch.log(torch.arange(1.0, 17))
            assert torch.equal(parameter, row.expand_as(parameter)), name
        elif name.endswith((".D", "norm.weight", "norm2.weight", "embed.norm.weight")):
            assert (parameter == 1).all(), name
    scan = network.fusion[0].scan
    steps = functional.softplus(scan.step.bias)
    assert steps.min() >= 1e-3 * 0.999
    assert steps.max() <= 0.1 * 1.001
    assert scan.step.weight.abs().max() <= 4**-0.5  # R = 4
    assert scan.in_proj.bias is None
    assert scan.in_proj.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not network.fusion[0].mlp[0].bias.any()


def test_seeds_decide_the_weights():
    def state(seed):
        torch.manual_seed(seed)
        network = build(NetworkConfig((2,), 2, width=8, depth=1, embedding=0))
        return torch.cat([parameter.flatten() for parameter in network.parameters()])

    assert torch.equal(state(1), state(1))
    assert not torch.equal(state(1), state(2))


def test_the_published_size_has_the_published_live_parameters():
    with torch.device("meta"):  # shapes alone
        network = build(NetworkConfig(bands=(64, 2), classes=11, size="base"))
    assert isinstance(network, M3amba)
    assert count(network) == 66_214_821


@pytest.mark.parametrize(("size", "shape"), [("tiny", (48, 2)), ("small", (96, 4))])
def test_named_sizes(size, shape):
    config = NetworkConfig((4, 1), 3, size=size)
    assert (config.width, config.depth) == shape
    assert (config.states, config.patch) == (16, 32)
    assert len(build(config).fusion) == shape[1]


def test_width_and_depth_override_the_size():
    config = NetworkConfig((4,), 2, size="base", width=8)
    assert (config.width, config.depth) == (8, 9)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bands": ()},
        {"bands": (0,)},
        {"classes": 1},
        {"patch": 2},
        {"drop_path": 1.0},
        {"depht": 2},
    ],
)
def test_impossible_shapes_are_refused(wrong):
    with pytest.raises(ValidationError):
        NetworkConfig(**({"bands": (3,), "classes": 2} | wrong))
