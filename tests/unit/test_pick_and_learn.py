"""Pick-and-Learn: what the quality awareness module sees, what it makes of a batch, and what it says after training."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.meta_stubs import batch_of, slow_dice
from tests.two_networks import probabilities, random_labels
from torch import Tensor, nn

from debride.batch import Batch
from debride.methods.pick_and_learn import PickAndLearn, weights
from debride.settings import check_bounds
from debride.state import LabelState
from debride.types import IGNORE, DataError

CHANNELS, CLASSES = 2, 3


class Given(nn.Module):
    """Raw qualities that do not depend on anything."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        return self.values


class Foreground(nn.Module):
    """The share of a label's pixels in the foreground as its raw quality."""

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        return (label > 0).float().flatten(1).mean(dim=1)


def made_with(network: Any, **config: Any) -> Any:
    return PickAndLearn(PickAndLearn.Config(**config), lambda: network, CLASSES)


def method(ndim: int = 2, **config: Any) -> Any:
    """A segmentation network of one layer, and a small quality awareness module."""
    torch.manual_seed(ndim)
    return made_with((nn.Conv2d, nn.Conv3d)[ndim - 2](CHANNELS, CLASSES, 1), **{"quality_width": 4, **config})


def cases(*size: int, seed: int = 0, hidden: bool = True) -> Batch:
    """Random images and labels (B, *S), some of whose pixels have no label."""
    label = random_labels(*size, classes=CLASSES, seed=seed)
    label = label if hidden else label.where(label != IGNORE, 0)
    image = torch.randn((size[0], CHANNELS, *size[1:]), generator=torch.Generator().manual_seed(seed))
    return batch_of(label, image=image)


def training(learner: Any) -> Any:
    """All that a step of the method asks of a training, of four cases."""
    return SimpleNamespace(cases=4, store=LabelState(learner.fields(), [(1, 1)] * 4, None))


def slow_loss(learner: Any, batch: Batch, qualities: list[float], control: float) -> float:
    """sum w Dice loss with w = exp(lambda tanh(q)) / sum exp(lambda tanh(q)), case by case."""
    p = probabilities(learner.network(batch.image).double())
    powers = [math.exp(control * math.tanh(quality)) for quality in qualities]
    each = [slow_dice(p[case : case + 1], batch.label[case : case + 1]) for case in range(len(batch))]
    return sum(power / sum(powers) * loss for power, loss in zip(powers, each, strict=True))


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("control", [0.5, 2.0])
def test_the_loss_is_the_mean_dice_loss_weighted_by_bounded_qualities(ndim: int, control: float) -> None:
    learner, batch = method(ndim, control=control), cases(3, *(5, 4, 6)[:ndim])
    qualities = [0.3, -1.2, 4.0]
    learner.quality = Given(*qualities)
    (loss,) = learner.loss(batch, training(learner)).values()
    assert loss.item() == pytest.approx(slow_loss(learner, batch, qualities, control), rel=1e-5)


def test_the_loss_is_made_of_the_modules_own_qualities() -> None:
    learner, batch = method(), cases(3, 8, 9)
    qualities = learner.quality(batch.image, batch.label).tolist()
    assert len(set(qualities)) == 3
    (loss,) = learner.loss(batch, training(learner)).values()
    assert loss.item() == pytest.approx(slow_loss(learner, batch, qualities, 2.0), rel=1e-5)


@pytest.mark.parametrize("control", [0.5, 2.0, 20.0])
def test_weights_sum_to_one_and_differ_by_at_most_exp_of_twice_lambda(control: float) -> None:
    learner, batch = method(control=control), cases(3, 4, 4)
    learner.quality = Given(-1e6, 0.0, 1e6)
    found = weights(learner.scores(batch.image, batch.label), batch.label).double()
    assert found.sum().item() == pytest.approx(1, abs=1e-6)
    assert (found[2] / found[0]).log().item() == pytest.approx(2 * control, rel=1e-5)
    assert (found[1] / found[0]).log().item() == pytest.approx(control, rel=1e-5)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_module_sees_image_and_one_hot_label_and_nothing_where_there_is_no_label(ndim: int) -> None:
    learner, batch = method(ndim), cases(2, *(5, 4, 6)[:ndim])
    seen: list[Tensor] = []
    first = next(layer for layer in learner.quality.modules() if isinstance(layer, nn.Conv2d | nn.Conv3d))
    first.register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0]))
    learner.quality(batch.image, batch.label)
    assert torch.equal(seen[0][:, :CHANNELS], batch.image)
    label = batch.label.numpy()
    assert (label == IGNORE).any()
    for case, kind, *pixel in np.ndindex(2, CLASSES, *label.shape[1:]):
        assert seen[0][(case, CHANNELS + kind, *pixel)] == float(label[(case, *pixel)] == kind)


@pytest.mark.parametrize("ndim", [2, 3])
def test_gradients_reach_all_of_both_networks(ndim: int) -> None:
    learner, batch = method(ndim), cases(3, *(8, 16, 10)[:ndim])
    (loss,) = learner.loss(batch, training(learner)).values()
    loss.backward()
    for name, parameter in learner.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_a_step_raises_the_quality_of_the_case_with_the_smaller_loss() -> None:
    learner, batch = method(), cases(2, 4, 4)
    learner.quality = Given(0.1, 0.1)
    dice = [slow_dice(probabilities(learner.network(batch.image).double())[n : n + 1], batch.label[n : n + 1]) for n in (0, 1)]
    learner.loss(batch, training(learner))["dice"].backward()
    # d/dq_i of sum w L = w_i (L_i - sum w L) lambda (1 - tanh(q_i)^2)
    expected = [0.5 * (loss - sum(dice) / 2) * 2 * (1 - math.tanh(0.1) ** 2) for loss in dice]
    assert learner.quality.values.grad.tolist() == pytest.approx(expected, rel=1e-4)


def test_a_case_without_a_label_takes_no_part() -> None:
    learner, batch = method(), cases(3, 6, 5)
    batch.label[1] = IGNORE
    learner.quality = Given(0.0, 3.0, 1.0)
    found = weights(learner.scores(batch.image, batch.label), batch.label)
    e = math.exp(2 * math.tanh(1.0))
    assert found.tolist() == pytest.approx([1 / (1 + e), 0, e / (1 + e)], rel=1e-5)
    batch.label[:] = IGNORE
    loss = learner.loss(batch, training(learner))["dice"]
    loss.backward()
    assert loss.item() == 0
    assert learner.quality.values.grad.tolist() == [0, 0, 0]


def test_a_batch_of_one_case_is_plain_dice() -> None:
    learner, batch = method(), cases(1, 6, 5)
    assert weights(learner.scores(batch.image, batch.label), batch.label).tolist() == [1]
    loss = learner.loss(batch, training(learner))["dice"]
    loss.backward()
    assert loss.item() == pytest.approx(slow_dice(probabilities(learner.network(batch.image).double()), batch.label), rel=1e-5)
    assert all((p.grad == 0).all() for p in learner.quality.parameters())


@pytest.mark.parametrize("size", [(1, 2), (1, 40), (3, 3), (7, 64), (33, 18), (2, 1, 1), (5, 16, 16), (16, 16, 16)])
def test_images_of_any_size_are_rated_each_on_its_own(size: tuple[int, ...]) -> None:
    learner, batch = method(len(size)), cases(3, *size, hidden=False)
    scores = learner.scores(batch.image, batch.label)
    assert scores.shape == (3,)
    assert torch.isfinite(scores).all()
    assert (scores.abs() <= 2).all()
    alone = [learner.scores(batch.image[n : n + 1], batch.label[n : n + 1]).item() for n in range(3)]
    assert scores.tolist() == pytest.approx(alone, abs=1e-3)  # two pixels that are almost alike are told apart by rounding


def test_doubt_is_minus_the_score_of_every_case_when_it_was_last_seen() -> None:
    learner, run = method(), training(method())
    learner.quality = Foreground()
    assert not learner.doubt(run).any()
    for count in (3, 8):
        label = (torch.arange(16).reshape(4, 4)[None] < torch.tensor([count, 0])[:, None, None]).long()
        batch = batch_of(label, image=torch.zeros(2, CHANNELS, 4, 4))
        learner.loss(batch, run)
    assert batch.index.tolist() == [0, 1]
    assert learner.doubt(run).tolist() == pytest.approx([-2 * math.tanh(8 / 16), 0, 0, 0], rel=1e-5)


def test_initial_weights_follow_from_the_networks_and_leave_torchs_generator_alone() -> None:
    def start(seed: int, then: int) -> tuple[dict[str, Tensor], float]:
        torch.manual_seed(seed)
        network = nn.Conv2d(CHANNELS, CLASSES, 1)
        torch.manual_seed(then)
        made = made_with(network, quality_width=2)
        return made.quality.state_dict(), torch.rand(()).item()

    one, draw = start(1, then=7)
    again, other_draw = start(1, then=8)
    other, _ = start(2, then=7)
    torch.manual_seed(7)
    assert draw == torch.rand(()).item() != other_draw
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["last.weight"], other["last.weight"])


def test_a_network_that_does_not_say_its_channels_is_refused() -> None:
    with pytest.raises(DataError, match="`network`: Linear has no convolution"):
        made_with(nn.Linear(2, 3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"control": 0.0}, "control: is 0.0"),
        ({"control": math.inf}, "control: is inf"),
        ({"quality_width": 0}, "quality_width: is 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_bounds(PickAndLearn.Config(**settings))
