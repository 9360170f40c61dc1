"""Networks of nnU-Net as debride's, methods as nnU-Net's network, and what the lower scales learn."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("nnunetv2", reason="nnU-Net is not installed: `make test-nnunet` runs this test")

from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from tests.two_networks import run_at

from debride.batch import Batch, View
from debride.methods.co_teaching import CoTeaching
from debride.methods.jocor import JoCoR
from debride.methods.meta_dcseg import MetaDCSeg
from debride.methods.self_cleansing import SelfCleansing
from debride.nnunet import lower_scales
from debride.nnunet.adapter import LEAST, MethodNetwork, as_network, lower_logits
from debride.nnunet.lower_scales import CoTeachingScales, GSDNetScales, JoCoRScales, SelfCleansingScales, scale_weights
from debride.training.look_ahead import LookAhead
from debride.types import IGNORE, DataError
from debride.warp import Warp


def unet(kind: str = "plain", dims: int = 2, seed: int = 0) -> Any:
    """A small network of nnU-Net's that gives all its scales."""
    torch.manual_seed(seed)
    parts: dict[str, Any] = {
        "n_stages": 4,
        "features_per_stage": (4, 6, 8, 8),
        "conv_op": nn.Conv2d if dims == 2 else nn.Conv3d,
        "kernel_sizes": 3,
        "strides": [1, 2, 2, 2] if dims == 2 else [(1, 1, 1), (1, 2, 2), (2, 2, 2), (1, 2, 2)],
        "n_conv_per_stage_decoder": 1,
        "conv_bias": True,
        "norm_op": nn.InstanceNorm2d if dims == 2 else nn.InstanceNorm3d,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
        "deep_supervision": True,
    }
    if kind == "plain":
        return PlainConvUNet(1, num_classes=3, n_conv_per_stage=1, **parts)
    return ResidualEncoderUNet(1, num_classes=3, n_blocks_per_stage=1, **parts)


@pytest.mark.parametrize("kind", ["plain", "residual"])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_network_gives_what_nnunet_gives(kind: str, dims: int) -> None:
    """The same numbers on all scales, from shared weights."""
    theirs = unet(kind, dims)
    ours = as_network(theirs)
    image = torch.randn(2, 1, 16, 24) if dims == 2 else torch.randn(2, 1, 4, 16, 24)
    with lower_logits(ours) as (passes,):
        logits = ours(image)
        expected = theirs(image)
    assert torch.equal(logits, expected[0])
    assert len(expected) == 3
    assert all(torch.equal(a, b) for a, b in zip(passes[0], expected[1:], strict=True))
    assert torch.equal(ours.head(ours.features(image)), logits)  # type: ignore[misc]
    assert ours.channels == 4
    assert {id(p) for p in ours.parameters()} == {id(p) for p in theirs.parameters()}
    assert {name.split(".")[0] for name in ours.part("decoder")} == {"trunk", "head"}
    assert len(ours.part("head")) == 2
    assert ours.trunk.passes is None


def test_sizes_that_the_strides_do_not_divide_are_padded() -> None:
    """By border values, and cut back: the same as an image that was padded before."""
    network = as_network(unet("plain", 3)).eval()
    image = torch.randn(1, 1, 3, 13, 16)
    padded = nn.functional.pad(image, (0, 0, 0, 3, 0, 1), mode="replicate")
    assert torch.equal(network(image), network(padded)[:, :, :3, :13])


def test_networks_that_cannot_be_cut_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"^Conv2d: has no encoder and decoder .* PlainConvUNet or ResidualEncoderUNet"):
        as_network(nn.Conv2d(1, 1, 1))


def made(method: type, seed: int = 0, dims: int = 2) -> MethodNetwork:
    """A method on networks with seeds of their own."""
    seeds = iter(range(seed, seed + 9))
    return MethodNetwork(method, lambda: unet(dims=dims, seed=next(seeds)), 3)


def test_what_is_saved_predicts_with_its_settings() -> None:
    """A module with other settings and weights takes both from the state of one that was trained."""
    trained, loaded = made(GSDNetScales), made(GSDNetScales, seed=5)
    trained.configure(GSDNetScales.Config(variant="code", noise_rate=0.1))
    state = trained.state_dict()
    assert {name.split(".")[0] for name in state} == {"networks", "_extra_state"}
    assert {name.split(".")[1] for name in state if name != "_extra_state"} == {"first", "second"}
    loaded.load_state_dict(state)
    image = torch.randn(1, 1, 16, 16)
    assert loaded.method.config == trained.method.config
    first, second = trained.networks.values()
    logits = (first(image)[0] + second(image)[0]).softmax(dim=1)  # the code adds logits
    assert torch.allclose(loaded.method.predict(image), logits, atol=1e-6)
    assert torch.allclose(loaded(image).softmax(dim=1), logits, atol=3 * LEAST)
    assert loaded(image).min() >= np.log(LEAST) - 1e-5
    assert {id(p) for p in loaded.parameters()} == {id(p) for p in loaded.method.parameters()}


def batch_of(seed: int = 0) -> Batch:
    """Two images with labels of three classes, some pixels without."""
    torch.manual_seed(seed)
    label = torch.randint(0, 3, (2, 16, 16))
    label[0, :3, :5] = IGNORE
    views = [View(torch.randn(2, 1, 16, 16), label, Warp.identity(2, (16, 16)), None, {}) for _ in range(2)]
    none = torch.zeros(2, dtype=torch.bool)
    return Batch(tuple(views), torch.arange(2), torch.zeros(2, dtype=torch.int64), none, {})


@pytest.mark.parametrize(("scaled", "plain"), [(CoTeachingScales, CoTeaching), (JoCoRScales, JoCoR)])
def test_without_lower_scales_the_loss_is_that_of_the_method(scaled: Any, plain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same terms and gradients as debride's own method on the same networks and tensors."""
    config, run, batch = scaled.Config(noise_rate=0.3), run_at(5, 10), batch_of()
    monkeypatch.setattr(lower_scales, "scale_weights", lambda number: [1.0] + [0.0] * (number - 1))
    gradients = []
    for kind in (scaled, plain):
        network = made(kind)
        network.configure(config)
        terms = network.method.loss(batch, run)
        torch.stack(list(terms.values())).sum().backward()
        gradients.append((terms, [p.grad for p in network.parameters()]))
    assert gradients[0][0].keys() == gradients[1][0].keys()
    assert all(torch.equal(gradients[0][0][name], gradients[1][0][name]) for name in gradients[0][0])
    pairs = list(zip(gradients[0][1], gradients[1][1], strict=True))
    assert sum(p is not None for p, _ in pairs) > 20
    assert all(torch.equal(a, b) if a is not None else b is None for a, b in pairs)


def nearest(values: Tensor, size: int) -> Tensor:
    """The nearest pixel of each of a smaller square image, whose pixels are 16 / size wide, written down one by one."""
    out = torch.zeros(len(values), size, size, dtype=values.dtype)
    for b in range(len(values)):
        for i in range(size):
            for j in range(size):
                out[b, i, j] = values[b, int((i + 0.5) * 16 / size), int((j + 0.5) * 16 / size)]
    return out


def slow_cross_entropies(logits: Tensor, label: Tensor, kept: Tensor) -> Tensor:
    """The mean of -log p_y over kept pixels with a label, pixel by pixel."""
    values = []
    for b, i, j in np.ndindex(*label.shape):
        if kept[b, i, j] and label[b, i, j] != IGNORE:
            values.append(-logits[b, :, i, j].log_softmax(dim=0)[label[b, i, j]])
    return torch.stack(values).mean()


def test_lower_scales_learn_where_the_other_network_selects() -> None:
    """Co-teaching: the term is the weighted sum over scales of both networks' cross-entropies, on the other's pixels."""
    network, run, batch = made(CoTeachingScales), run_at(20, 40), batch_of()
    network.configure(CoTeachingScales.Config(noise_rate=0.4, per_class=False))
    method = network.method
    terms = method.loss(batch, run)
    first, second = ([output.detach() for output in net(batch.image)] for net in network.networks.values())
    kept = [method.small_loss(out[0], out[0], batch.label, batch.trusted, run)[1] for out in (first, second)]
    assert not torch.equal(*kept)
    weights = [1 / 1.5, 0.5 / 1.5, 0]
    assert scale_weights(3) == pytest.approx(weights)
    size = 8
    label = nearest(batch.label, size)
    expected = slow_cross_entropies(first[1], label, nearest(kept[1], size))
    expected = expected + slow_cross_entropies(second[1], label, nearest(kept[0], size))
    assert torch.allclose(terms["lower_scales"], weights[1] * expected, atol=1e-6)
    plain = slow_cross_entropies(first[0], batch.label, kept[1])
    assert torch.allclose(terms["first"], weights[0] * plain, atol=1e-6)


def test_self_cleansing_fits_all_scales() -> None:
    """Each part of L_hybrid is the weighted sum of the method's own over scales, of labels at their size."""
    network, batch = made(SelfCleansingScales), batch_of()
    method: Any = network.method
    method.train()
    pseudo = torch.randint(0, 3, (2, 16, 16))
    batch.views[0].fields["pseudo"] = pseudo
    batch = Batch(batch.views, batch.index, batch.stream, batch.trusted, {"source": torch.tensor([1.0, 2.0])})
    terms = method.loss(batch, run_at(3, 10))
    plain: Any = SelfCleansing(method.config, lambda: as_network(network.networks["network"]), 3)
    scales = network.networks["network"](batch.image)
    target = torch.stack((batch.label[0], pseudo[1].where(batch.label[1] != IGNORE, IGNORE)))
    for name, label, part in (("given", batch.label, 0.5), ("pseudo", target, 0.5)):
        fits = [plain._fit(scales[0], label), plain._fit(scales[1], nearest(label, 8))]
        assert torch.allclose(terms[name], part * (fits[0] / 1.5 + fits[1] * 0.5 / 1.5), atol=1e-6), name


def test_few_scales_have_weights_too() -> None:
    assert scale_weights(1) == [1.0]
    assert scale_weights(2) == [1.0, 0.0]
    assert scale_weights(5) == pytest.approx([8 / 15, 4 / 15, 2 / 15, 1 / 15, 0])


def test_methods_that_keep_networks_are_built_of_nnunets() -> None:
    """MetaDCSeg finds features and decoder, and looks ahead in them."""
    network = made(MetaDCSeg)
    method: Any = network.method
    ahead = LookAhead(method.network, torch.randn(2, 1, 16, 16), "decoder")
    target = torch.randn(2, 3, 16, 16)
    tangent = ahead.tangent(torch.randn(2, 1, 16, 16), lambda logits: (logits * target).mean(), 0.1, None)
    assert tangent.shape == target.shape
    assert tangent.abs().max() > 0
    assert len(method.network.part("decoder")) < len(method.network.part("full"))
