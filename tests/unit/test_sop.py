"""SOP: the losses image by image, the steps of u and v, and one step of the published code on the same numbers."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from debride.losses.sparse_noise import EPS, label_noise, noisy_cross_entropy, noisy_distance, noisy_prediction
from debride.methods.base import Look
from debride.methods.sop import SOP
from debride.networks.network import Network
from debride.settings import check_bounds
from debride.state import LabelState
from debride.types import IGNORE, DataError

K = 3
LOGITS = [[0.5, -1.0, 0.3], [2.0, 0.1, -0.4], [-0.7, 0.6, 0.2], [0.0, 1.5, -1.2]]
SECOND = [[0.4, -0.8, 0.9], [1.0, 0.3, -0.1], [-0.2, 0.1, 0.6], [0.3, 1.1, -0.5]]
LABEL = [1, 0, 2, 0]
U = [0.3, 0.05, 0.7, 0.2]
V = [[0.4, 0.1, 0.2], [0.3, 0.2, 0.6], [0.1, 0.5, 0.3], [0.2, 0.8, 0.4]]


def method(**config: Any) -> SOP:
    """Its images are the logits."""
    return SOP(SOP.Config(**config), lambda: Network(nn.Identity()), K)


def run_of(held: SOP, count: int = 4) -> Any:
    store = LabelState(held.fields(), [(1, 1)] * count, None)
    return SimpleNamespace(epoch=0, epochs=10, store=store, cases=count, summed=lambda values: values)


class Sized(SimpleNamespace):
    """A batch that knows its length."""

    def __len__(self) -> int:
        return len(self.index)


def batch_of(run: Any, views: list[Any], label: list[int] | None = None, rows: list[int] | None = None) -> Any:
    index = torch.tensor(rows or range(len(views[0])))
    images = [torch.tensor(view, dtype=torch.float64).requires_grad_() for view in views]
    return Sized(
        views=[SimpleNamespace(image=image) for image in images],
        image=images[0],
        label=torch.tensor(LABEL if label is None else label),
        index=index,
        cases={name: run.store.read(name, index) for name in ("u", "v")},
    )


def prepared(held: SOP, views: list[Any], **more: Any) -> tuple[Any, Any]:
    run = run_of(held)
    run.store.write("u", range(4), torch.tensor(U))
    run.store.write("v", range(4), torch.tensor(V))
    return run, batch_of(run, views, **more)


def slow(logits: list[float], label: int, u: float, v: list[float]) -> tuple[float, float]:
    """The cross-entropy and the squared distance of one image."""
    total = sum(math.exp(value) for value in logits)
    s = [min(u**2, 1) if k == label else -min(v[k] ** 2, 1) for k in range(K)]
    shifted = [max(math.exp(value) / total + noise, EPS) for value, noise in zip(logits, s, strict=True)]
    hard = [float(value == max(logits)) for value in logits]
    distance = sum((h + noise - (k == label)) ** 2 for k, (h, noise) in enumerate(zip(hard, s, strict=True)))
    return -math.log(shifted[label] / sum(shifted)), distance


@pytest.mark.parametrize("large", [False, True])
def test_losses_equal_the_slow_version(large: bool) -> None:
    logits, given = torch.tensor(LOGITS).double(), nn.functional.one_hot(torch.tensor(LABEL), K).double()
    u, v = torch.tensor(U).double() * (3 if large else 1), torch.tensor(V).double() * (3 if large else 1)
    added, removed = label_noise(u, v, given)
    entropy = noisy_cross_entropy(noisy_prediction(logits, added, removed), given)
    distance = noisy_distance(logits, added, removed, given)
    for row in range(4):
        expected = slow(LOGITS[row], LABEL[row], float(u[row]), v[row].tolist())
        assert (float(entropy[row]), float(distance[row])) == pytest.approx(expected)


def changes(run: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return run.store.read("u", range(4)) - torch.tensor(U), run.store.read("v", range(4)) - torch.tensor(V)


def test_a_step_is_that_of_the_published_code() -> None:
    """``overparametrization_loss`` of shengliu66/SOP at 4d991ce, model/loss.py, was run on these numbers: the gradients of its
    loss for the logits, for u and for v."""
    of_logits = [
        [0.06714086880362978, -0.12211116288153558, 0.05497029407790579],
        [-0.031708562801002, 0.03253396477461349, -0.0008254019736114876],
        [0.014489849272409497, 0.05316755564955729, -0.0676574049219668],
        [-0.16145536855380033, 0.18634658565736933, -0.024891217103568945],
    ]
    of_u = [-0.8571785695560084, -0.002679289337130608, -0.4915994879784577, -0.37430798023840706]
    of_v = [[-0.336, 0.0, 0.008], [0.0, 0.008, 0.216], [0.001, -0.375, 0.0], [0.0, -0.288, 0.064]]
    held = method(u_loss="both", alpha_u=0.5, alpha_v=0.25)
    run, batch = prepared(held, [LOGITS])
    held.loss(batch, run)["given"].backward()
    assert torch.allclose(batch.image.grad, torch.tensor(of_logits).double(), rtol=1e-5, atol=1e-7)
    u, v = changes(run)
    assert u.tolist() == pytest.approx([-0.5 * value for value in of_u], abs=1e-6)
    assert torch.allclose(v, -0.25 * torch.tensor(of_v), atol=1e-6)


def test_the_terms_of_sop_plus_are_those_of_the_published_code() -> None:
    """The same with ratio_consistency 0.9 and ratio_balance 0.1: the whole loss, less its squared distance, and its gradient
    for the logits of both views."""
    of_logits = [
        [0.07141936012293147, -0.12356782151243083, 0.05214846138949935],
        [-0.029443717592640625, 0.030210114564062963, -0.0007663969714223351],
        [0.016195001615664853, 0.05120623447761796, -0.06740123609328283],
        [-0.1536956128501402, 0.17739029087165778, -0.023694678021517524],
    ]
    of_second = [
        [-0.033920226014737265, -0.001614417028704935, 0.0355346430434422],
        [-0.058422334073506534, 0.033940515922352234, 0.024481818151154307],
        [0.017614358676563344, -0.0494284408898936, 0.031814082213330215],
        [0.022318730528961817, -0.038110798707658065, 0.015792068178696217],
    ]
    held = method(consistency=0.9, balance=0.1)
    run, batch = prepared(held, [LOGITS, SECOND])
    total = torch.stack(list(held.loss(batch, run).values())).sum()
    total.backward()
    distance = sum(slow(LOGITS[row], LABEL[row], U[row], V[row])[1] for row in range(4)) / 4
    assert float(total.detach()) == pytest.approx(1.7096859891680678 - distance, rel=1e-6)
    for view, expected in zip(batch.views, (of_logits, of_second), strict=True):
        assert torch.allclose(view.image.grad, torch.tensor(expected).double(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("u_loss", ["cross_entropy", "both"])
def test_u_and_v_descend_along_differences_of_their_losses(u_loss: Any) -> None:
    held = method(u_loss=u_loss, alpha_u=1.0, alpha_v=1.0)
    run, batch = prepared(held, [LOGITS], label=[1, 0, IGNORE, 0])
    held.loss(batch, run)
    u, v = changes(run)
    tiny = 1e-6
    for row, label in ((0, 1), (1, 0), (3, 0)):
        ends = [slow(LOGITS[row], label, U[row] + sign * tiny, V[row]) for sign in (1, -1)]
        slopes = [(a - b) / (2 * tiny) for a, b in zip(*ends, strict=True)]
        slope = sum(slopes) if u_loss == "both" else slopes[0]
        assert float(u[row]) == pytest.approx(-slope / 3, abs=1e-5)
        for k in range(K):
            moved = [[value + sign * tiny * (n == k) for n, value in enumerate(V[row])] for sign in (1, -1)]
            slope = (slow(LOGITS[row], label, U[row], moved[0])[1] - slow(LOGITS[row], label, U[row], moved[1])[1]) / (2 * tiny)
            assert float(v[row, k]) == pytest.approx(-slope / 3, abs=1e-5)
    assert u[2] == 0 and not v[2].any()  # without a label


def test_a_wrong_label_is_found_and_the_network_is_left_alone() -> None:
    held = method(alpha_u=10.0, alpha_v=10.0, initial=1e-4)
    run = run_of(held, 2)
    certain, seen = [[6.0, 0.0, 0.0]] * 2, []
    for _ in range(60):
        batch = batch_of(run, [certain], label=[0, 1])
        held.loss(batch, run)["given"].backward()
        seen.append(float(batch.image.grad[1].abs().max()))
    doubt = held.doubt(run)
    assert doubt[1] > 1.5 and doubt[0] < 0.01
    assert seen[-1] < 0.02 * seen[0]


def test_without_labels_there_is_no_loss_and_nothing_changes() -> None:
    held = method(balance=0.1)
    run, batch = prepared(held, [LOGITS], label=[IGNORE] * 4)
    terms = held.loss(batch, run)
    assert float(terms["given"].detach()) == 0 and torch.isfinite(terms["balance"])
    assert not any(change.any() for change in changes(run))


def test_a_second_view_is_asked_for_where_predictions_are_to_agree() -> None:
    run = run_of(method())
    assert method().plan(run)[0].looks == (Look(),)
    assert method(consistency=0.9).plan(run)[0].looks == (Look(), Look("strong", own_warp=True))
    assert SOP.tasks == {"classification"}
    fresh = run_of(method(initial=0.01)).store
    assert np.allclose(fresh.read("u", [0]), 0.01) and fresh.read("v", [1]).shape == (1, K)


@pytest.mark.parametrize(("name", "value"), [("alpha_u", -1.0), ("alpha_v", math.inf), ("initial", 0.0), ("balance", -0.1)])
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(DataError, match=f"{name}: is"):
        check_bounds(SOP.Config(**{name: value}))
