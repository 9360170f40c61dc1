"""PES: which part learns when and begins anew, who is confident, and one step of the published code on the same numbers."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from debride.methods.pes import PES, class_weights, mixed_terms, targets
from debride.networks.network import Network
from debride.settings import check_bounds
from debride.types import IGNORE, DataError

K = 3


def network(seed: int) -> Network:
    torch.manual_seed(seed)
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh())
    return Network(trunk, nn.Linear(4, K))


def method(**config: Any) -> PES:
    made = iter((network(1), network(2), network(3)))
    return PES(PES.Config(**{"whole": 0.2, "later": 0.1, "last": 0.1, **config}), lambda: next(made), K)


class Sized(SimpleNamespace):
    """A batch that knows its length."""

    def __len__(self) -> int:
        return len(self.index)


def batch_of(label: list[int]) -> Any:
    images = torch.randn(2, len(label), 4, generator=torch.Generator().manual_seed(1))
    views = tuple(SimpleNamespace(image=image) for image in images)
    return Sized(views=views, image=images[0], label=torch.tensor(label), index=torch.arange(len(label)))


def run_at(epoch: int, **more: Any) -> Any:
    kept: list[Any] = []
    return SimpleNamespace(
        epoch=epoch,
        epochs=20,
        cases=5,
        own=np.arange(5),
        kinds=(1, 7),
        kept=kept,
        generator=torch.Generator().manual_seed(7),
        optimise=lambda loss, networks=None: kept.append(networks),
        log=lambda **values: None,
        summed=lambda values: values,
        **more,
    )


def test_parts_begin_anew_and_learn_one_after_the_other() -> None:
    held = method()
    before = {name: value.clone() for name, value in held.network.state_dict().items()}
    later, last = network(2).state_dict(), network(3).state_dict()
    for epoch in range(8):
        held.start_epoch(run_at(epoch))
        if epoch == 4:
            before.update({name: value for name, value in later.items() if name.startswith(("trunk.3.", "head."))})
        if epoch == 6:
            before.update({name: value for name, value in last.items() if name.startswith("head.")})
        assert all(torch.equal(value, before[name]) for name, value in held.network.state_dict().items()), epoch
        run = run_at(epoch)
        held.step(batch_of([0, 1, 2, 0, IGNORE]), run)
        trunk = held.network.trunk[3]
        part = None if epoch < 4 else [trunk, held.network.head] if epoch < 6 else [held.network.head]
        assert run.kept == [part]
    assert held.stage(run_at(8)) == 3


def swept(held: PES, label: list[int], predicted: list[int]) -> Any:
    p = nn.functional.one_hot(torch.tensor(predicted), K).float()
    part = SimpleNamespace(rows=np.arange(5), label=torch.tensor(label), probability=p)
    run = run_at(8, sweep=lambda rows: [part])
    held.start_epoch(run)
    return run


def test_confident_are_those_whose_label_is_predicted() -> None:
    held = method()
    run = swept(held, [0, 1, 2, 0, IGNORE], [0, 2, 2, 0, 1])
    assert held.confident.tolist() == [True, False, True, True, False]
    assert held.balance.tolist() == pytest.approx([0.75, 0.0, 1.5])
    (phase,) = held.plan(run)
    assert [stream.cases.tolist() for stream in phase.streams] == [[0, 2, 3], [1, 4]]
    assert [stream.size for stream in phase.streams] == [5, 3] and phase.length == math.ceil(5 * 5 / 8)
    plain = method(semi=False)
    (phase,) = plain.plan(swept(plain, [0, 1, 2, 0, IGNORE], [0, 2, 2, 0, 1]))
    assert [stream.cases.tolist() for stream in phase.streams] == [[0, 2, 3]] and len(phase.looks) == 1


def test_with_nobody_confident_all_labels_are_learnt() -> None:
    held = method()
    run = swept(held, [0, 1, 2, 0, IGNORE], [1, 2, 0, 1, 1])
    assert held.plan(run)[0].streams[0].cases is None
    assert list(held.loss(batch_of([0, 1, 2, 0, IGNORE]), run)) == ["given"]


def test_classes_weigh_as_in_the_published_code() -> None:
    """``update_trainloader`` of PES_semi.py: the mean of the counts that are not 0 over each, at most 3."""
    assert class_weights(torch.tensor([10.0, 1.0, 0.0, 4.0]), 3.0).tolist() == pytest.approx([0.5, 3.0, 0.0, 1.25])
    assert class_weights(torch.tensor([10.0, 1.0, 0.0, 4.0]), math.inf).tolist() == pytest.approx([0.5, 5.0, 0.0, 1.25])


def test_confident_images_alone_are_a_weighted_mean() -> None:
    held = method(semi=False)
    run = swept(held, [0, 1, 2, 0, IGNORE], [0, 1, 2, 0, 1])
    batch = batch_of([0, 1, 2, 0])
    losses, weights = [], [2 / 3, 4 / 3, 4 / 3, 2 / 3]
    for logits, label in zip(held.network(batch.image).tolist(), [0, 1, 2, 0], strict=True):
        losses.append(math.log(sum(math.exp(value) for value in logits)) - logits[label])
    expected = sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)
    assert float(held.loss(batch, run)["confident"].detach()) == pytest.approx(expected, rel=1e-5)


def test_a_step_of_mixmatch_is_that_of_the_published_code() -> None:
    """``MixMatch_train`` of tmllab/PES at 5466238, PES_semi.py, was run on a linear network with these numbers: lambda_u 15,
    epoch 24 of T1 = 20, a share of 0.7 and the partners below. The order of the images is ours."""
    expected = [
        [-0.30104973912239075, -0.02213791385293007],
        [0.1435808688402176, 0.02809395082294941],
        [0.15746885538101196, -0.00595603184774518],
    ]
    linear = nn.Linear(2, K, bias=False)
    linear.weight.data = torch.tensor([[0.5, -0.2], [0.1, 0.7], [-0.4, 0.3]])
    views = [
        torch.tensor([[0.5, -1.0], [1.2, 0.3], [-0.6, 0.8], [0.2, 0.2]]),
        torch.tensor([[0.4, -0.7], [0.9, 0.1], [-0.3, 1.1], [0.1, -0.4]]),
    ]
    place = [0, 1, 4, 5, 2, 3, 6, 7]
    partner = torch.zeros(8, dtype=torch.int64)
    for number, other in enumerate([3, 0, 5, 1, 6, 7, 2, 4]):
        partner[place[number]] = place[other]
    selected = torch.tensor([True, True, False, False])
    target = targets(linear, views, torch.tensor([1, 0, 2, IGNORE]), selected, K, 0.5)
    weights = torch.tensor([1.5, 0.6, 3.0])
    supervised, others = mixed_terms(linear, torch.cat(views), target, selected, weights, 0.7, partner)
    (found,) = torch.autograd.grad(supervised + 15 * 0.25 * others, linear.weight)
    assert torch.allclose(found, torch.tensor(expected), atol=1e-6)


def test_the_weight_of_others_grows_from_the_first_confident_epoch() -> None:
    held = method(ramp=0.2, lambda_u=10.0)
    swept(held, [0, 1, 2, 0, IGNORE], [0, 2, 2, 0, 1])
    found = [float(held.loss(batch_of([0, 1, 2, 0, IGNORE]), run_at(epoch))["unsupervised"].detach()) for epoch in (8, 9)]
    assert found[0] == 0 < found[1]


def test_it_needs_a_last_layer_and_is_for_classification() -> None:
    with pytest.raises(DataError, match="has no features"):
        PES(PES.Config(), lambda: Network(nn.Flatten()), K)
    assert PES.tasks == {"classification"}


@pytest.mark.parametrize(("name", "value"), [("whole", 1.5), ("last", -0.1), ("temperature", 0.0), ("lambda_u", math.inf)])
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(DataError, match=f"{name}: is"):
        check_bounds(PES.Config(**{name: value}))
