"""The order in which small losses are selected, and pairs of one network with itself."""

import pytest
import torch

from debride.losses.agreement import joint_loss, rival, symmetric_kl
from debride.losses.reduce import small_losses_within
from debride.types import IGNORE


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("groups", [1, 3, 300])
def test_any_losses_are_selected_in_order(dtype: torch.dtype, groups: int) -> None:
    """Negative and infinite losses, zeros of both signs and ties, against Python's own sorting."""
    generator = torch.Generator().manual_seed(groups)
    loss = (torch.randn(4, 200, generator=generator) * 4).round().to(dtype) / 4
    loss[0, :6] = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, 0.0, -0.0])
    group = torch.randint(-1, groups, (4, 200), generator=generator)
    leave = torch.randint(0, 40, (groups,), generator=generator)
    mask = small_losses_within(loss, group, leave).flatten().tolist()
    for number, most in enumerate(leave.tolist()):
        members = sorted((value, at) for at, value in enumerate(loss.flatten().tolist()) if group.flatten()[at] == number)
        kept = {at for _, at in members[: max(len(members) - most, 0)]}
        assert {at for _, at in members if mask[at]} == kept


def test_a_pair_of_one_network_is_as_two_equal_ones() -> None:
    """Losses, gradients, divergence and rivals, bit for bit."""
    logits = torch.randn(2, 3, 8, 8).requires_grad_()
    label = torch.randint(0, 3, (2, 8, 8))
    label[0, 0] = IGNORE
    twin = logits.detach().clone().requires_grad_()
    one, two = joint_loss(logits, logits, label, 0.0), joint_loss(logits, twin, label, 0.0)
    assert torch.equal(one, two)
    (gradient,) = torch.autograd.grad(one.sum(), logits)
    assert torch.equal(gradient, sum(torch.autograd.grad(two.sum(), (logits, twin))))
    assert torch.equal(symmetric_kl(logits, logits), symmetric_kl(logits, twin))
    for mine, theirs in zip(rival(logits, logits, label), rival(logits, twin, label), strict=True):
        assert torch.equal(mine, theirs)
