"""What losses that are modules refuse, and where else they work: half precision, TorchScript, compiled, MONAI's tensors."""

from __future__ import annotations

import inspect
import io
import re
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from tests.loss_stubs import MAKERS, PIXEL, SIZES, called, numbers, soft
from torch import Tensor

from debride import losses
from debride.losses import (
    BootstrappingLoss,
    EarlyLearningRegularizationLoss,
    GeneralizedCrossEntropyLoss,
    NoiseRobustDiceLoss,
    ReverseCrossEntropyLoss,
    SpatiallyVaryingLabelSmoothingLoss,
    SymmetricCrossEntropyLoss,
    TLoss,
)
from debride.losses.loss_base import Options
from debride.types import IGNORE, DataError

NAMES = tuple(MAKERS)
LOSS = GeneralizedCrossEntropyLoss
LOGITS = torch.zeros(2, 3, 4, 5)
ONE = torch.zeros(2, 1, 4, 5)
IDS = torch.zeros(2, 4, 5, dtype=torch.long)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LOSS(q=0), "q = 0"),
        (lambda: LOSS(q=1.1), "at most 1"),
        (lambda: LOSS(q=float("nan")), "q = nan"),
        (lambda: LOSS(reduction="batch"), "mean, sum, none"),
        (lambda: LOSS(softmax=True, sigmoid=True), "both"),
        (lambda: LOSS(include_background=False), "ignore_index=0"),
        (lambda: LOSS(sigmoid=True, ignore_index=0), "cannot ignore 0"),
        (lambda: ReverseCrossEntropyLoss(log_zero=4.0), "Give one below 0"),
        (lambda: SymmetricCrossEntropyLoss(alpha=-1), "alpha"),
        (lambda: BootstrappingLoss("medium"), "soft or hard"),
        (lambda: SpatiallyVaryingLabelSmoothingLoss(0.3), "sigma"),
        (lambda: NoiseRobustDiceLoss(0.9), "gamma"),
        (lambda: NoiseRobustDiceLoss(smooth_dr=0), "smooth_dr"),
        (lambda: TLoss(0), "nu = 0"),
        (lambda: TLoss(include_background=False), "include_background"),
        (lambda: EarlyLearningRegularizationLoss(4, 3, sigmoid=True), "softmax"),
        (lambda: EarlyLearningRegularizationLoss(4, 3, beta=1.0), "beta = 1"),
    ],
)
def test_options_that_cannot_be_are_refused(make: Any, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    ("options", "input", "target", "message"),
    [
        ({}, LOGITS.long(), IDS, "floating-point"),
        ({}, ONE, IDS, "`sigmoid=True`, or two channels"),
        ({}, LOGITS, IDS[:1], "(2, 3, 4, 5)"),
        ({}, LOGITS, torch.zeros(2, 2, 4, 5), "(2, 1, 4, 5)"),
        ({}, LOGITS, torch.zeros(2, 3, 5, 4), "target"),
        ({}, LOGITS, IDS + 3, "class ids from 3 to 3 for 3 classes"),
        ({"ignore_index": -1}, LOGITS, IDS + IGNORE, "ids from 255"),
        ({}, LOGITS, IDS - 1, "ids from -1"),
        ({}, LOGITS, IDS[:, None] + 0.5, "nearest"),
        ({}, LOGITS, LOGITS - 1, "outside of 0 to 1"),
        ({}, LOGITS, LOGITS + 1, "do not sum to 1"),
        ({"to_onehot_y": True}, LOGITS, LOGITS, "target"),
        ({"sigmoid": True}, LOGITS, IDS, "`to_onehot_y=True`"),
        ({"sigmoid": True}, LOGITS, IDS[:, None], "`to_onehot_y=True`"),
        ({"softmax": False}, LOGITS - 1, IDS, "`softmax=True`"),
        ({"softmax": False}, LOGITS + 0.5, IDS, "`sigmoid=True`"),
        ({}, LOGITS.numpy(), IDS, "input: is a ndarray"),
        ({}, LOGITS, IDS.numpy(), "target: is a ndarray"),
        ({}, IDS, LOGITS, "floating-point"),
        ({"sigmoid": True}, LOGITS, LOGITS + 2, "outside of 0 to 1"),
        ({}, torch.zeros(2, 256, 3), torch.zeros(2, 3), "at most 255"),
        ({}, torch.zeros(4), torch.zeros(4), "(B, K, *S)"),
    ],
)
def test_targets_that_cannot_be_are_refused(options: dict[str, Any], input: Tensor, target: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        LOSS(**options)(input, target)


def test_weights_and_places_that_cannot_be_are_refused() -> None:
    with pytest.raises(DataError, match="a number for each pixel"):
        LOSS()(LOGITS, IDS, torch.ones(2))
    with pytest.raises(DataError, match="no spatial axes"):
        SpatiallyVaryingLabelSmoothingLoss()(LOGITS[..., 0, 0], IDS[:, 0, 0])
    memory = EarlyLearningRegularizationLoss(9, 3, (4, 5))
    with pytest.raises(DataError, match="2 places"):
        memory(LOGITS, IDS, torch.arange(3))
    for places in ([-1, 0], [3, 9]):
        with pytest.raises(DataError, match="Give 0 to 8"):
            memory(LOGITS, IDS, torch.tensor(places))
    with pytest.raises(DataError, match="is a list"):
        memory(LOGITS, IDS, [0, 1])
    assert not memory.remembered.any()
    with pytest.raises(DataError, match="the size that batches have"):
        memory(LOGITS[:, :, :3], IDS[:, :3], torch.arange(2))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int32", "uint16", "float16", "bfloat16", "float64"])
def test_every_type_of_target_does(dtype: str) -> None:
    logits, label = numbers(4)
    label = (label == 1).long()
    hard = torch.stack([label == k for k in range(3)], dim=1)
    expected = LOSS()(logits, label)
    for target in (label, label[:, None], hard):
        torch.testing.assert_close(LOSS()(logits, target.to(getattr(torch, dtype))), expected)


def test_one_region_needs_no_one_hot() -> None:
    logits, label = numbers(4, classes=2)
    found = LOSS(sigmoid=True, to_onehot_y=True)(logits[:, :1], label[:, None])
    torch.testing.assert_close(found, LOSS(sigmoid=True)(logits[:, :1], label[:, None]))


def test_a_class_may_be_ignored() -> None:
    logits, label = numbers(4)
    label = label.where(label != IGNORE, 0)
    found = LOSS(ignore_index=0)(logits, label)
    torch.testing.assert_close(found, LOSS()(logits, label.masked_fill(label == 0, IGNORE)))


@pytest.mark.parametrize("make", [getattr(losses, name) for name in losses.__all__ if not name.startswith("Early")])
def test_a_batch_without_images_costs_nothing(make: Any) -> None:
    for loss in [make(), *([make(batch=False)] if make is NoiseRobustDiceLoss else [])]:
        assert loss(LOGITS[:0].requires_grad_(), IDS[:0]) == 0


def test_the_first_of_several_regions_may_be_left_out_of_t_loss() -> None:
    logits, label = numbers(4)
    regions = (soft(label) > 0.3).double()
    found = TLoss(sigmoid=True, include_background=False)(logits, regions)
    torch.testing.assert_close(found, TLoss(sigmoid=True)(logits[:, 1:], regions[:, 1:]))
    one = TLoss(sigmoid=True, include_background=False)(logits[:, :1], regions[:, :1])
    torch.testing.assert_close(one, TLoss(sigmoid=True)(logits[:, :1], regions[:, :1]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["ids", "soft"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised(name: str, form: str, dtype: torch.dtype) -> None:
    logits, label = numbers(4)
    logits = (20 * logits).to(dtype)
    target = label if form == "ids" else soft(label).to(dtype).float()
    expected = called(MAKERS[name](), logits.float(), target)
    given = target if form == "ids" else target.to(dtype)
    torch.testing.assert_close(called(MAKERS[name](), logits, given), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = called(MAKERS[name](), logits, given)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, expected)


@pytest.mark.parametrize(
    ("name", "activation"),
    [(n, a) for n in NAMES for a in ("softmax", "sigmoid", "probabilities") if (n, a) != ("early learning", "sigmoid")],
)
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_slopes_are_finite_and_none_where_nothing_is_labelled(name: str, activation: str, scale: float) -> None:
    logits, label = numbers(4)
    options = {} if activation == "softmax" else {"softmax": False, "sigmoid": activation == "sigmoid"}
    one_hot = torch.stack([label == k for k in range(3)], dim=1).float()
    target = one_hot.masked_fill((label == IGNORE)[:, None], IGNORE) if activation == "sigmoid" else one_hot
    values = (scale * logits).float()
    values = (values.softmax(dim=1) if activation == "probabilities" else values).requires_grad_()
    loss = called(MAKERS[name](**options), values, target)
    (gradient,) = torch.autograd.grad(loss, values)
    assert loss.isfinite() and gradient.isfinite().all()
    assert (gradient.movedim(1, -1)[label == IGNORE] == 0).all()
    nothing = torch.full_like(target, IGNORE if activation == "sigmoid" else 0)
    loss = called(MAKERS[name](**options), values, nothing)
    (gradient,) = torch.autograd.grad(loss, values)
    assert loss.abs() < 1e-5 and (gradient == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_slopes_are_those_of_differences(name: str) -> None:
    logits, label = numbers(4)
    target = soft(label)
    loss = MAKERS[name]().double().eval()
    assert torch.autograd.gradcheck(lambda values: called(loss, values, target), logits.requires_grad_(), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "form"),
    [(n, f) for n in NAMES for f in ("ids", "soft", "regions") if (n, f) != ("early learning", "regions")],
)
def test_torchscript_gives_the_same(name: str, form: str) -> None:
    logits, label = numbers(4)
    target = label[:, None] if form == "ids" else soft(label)
    for reduction in ("mean", "none"):
        options = {"reduction": reduction, "sigmoid": form == "regions"}
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(MAKERS[name](**options)), buffer)
        buffer.seek(0)
        found, expected = (called(each, logits, target) for each in (torch.jit.load(buffer), MAKERS[name](**options)))
        assert torch.equal(found, expected)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", NAMES)
def test_traced_gives_the_same(name: str) -> None:
    logits, label = numbers(4)
    loss = MAKERS[name]().eval()
    places = (torch.tensor([3, 0]),) if hasattr(loss, "remembered") else ()
    for target in (label, soft(label)):
        traced = torch.jit.trace(loss, (logits, target, *places))
        assert torch.equal(called(traced, logits, target), called(loss, logits, target))


@pytest.mark.parametrize("name", NAMES)
def test_compiled_whole_gives_the_same(name: str) -> None:
    logits, label = numbers(4)
    for target in (label, soft(label)):
        torch._dynamo.reset()
        compiled = torch.compile(MAKERS[name](), backend="eager", fullgraph=True)
        assert torch.equal(called(compiled, logits, target), called(MAKERS[name](), logits, target))


@pytest.mark.parametrize("name", NAMES)
def test_monai_s_tensors_do(name: str) -> None:
    logits, label = numbers(4)
    target = MetaTensor(label[:, None].float())
    found = called(MAKERS[name](), MetaTensor(logits), target)
    torch.testing.assert_close(torch.as_tensor(found).as_subclass(Tensor), called(MAKERS[name](), logits, label))


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_shows_itself_and_goes_into_a_state(name: str) -> None:
    loss = MAKERS[name](reduction="sum")
    assert "ignore_index=255, reduction='sum'" in repr(loss)
    MAKERS[name]().load_state_dict(loss.state_dict())
    assert set(loss.state_dict()) == {"early learning": {"remembered"}, "t": {"log_nu"}}.get(name, set())


@pytest.mark.parametrize("name", losses.__all__)
def test_signatures_show_every_option(name: str) -> None:
    shown = inspect.signature(getattr(losses, name)).parameters
    assert set(Options.__annotations__) <= set(shown) and "options" not in shown and "self" not in shown


def test_every_size_is_tried() -> None:
    assert {len(size) for size in SIZES.values()} == {0, 1, 2, 3} and len(PIXEL) == 7
