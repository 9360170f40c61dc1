"""MetaDCSeg's boundary term: its value and its gradient against Eq. 6 to 12, 46 and 47 pixel by pixel, and default centres."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from tests.meta_stubs import OWN_CENTRE, PLACES, both_at, near, slow_boundary, slow_centres, slow_regions, small_network
from tests.two_networks import random_labels
from torch import Tensor, nn

from debride.losses.centres import doubt_of
from debride.methods.parts.boundary import TAU_MIN, BoundaryTerm
from debride.networks.network import Network
from debride.types import IGNORE, DataError

TAU, TEMPERATURE = 0.6, 0.7
SIZES = {2: (3, 9, 10), 3: (2, 4, 5, 6)}
Defaults = dict[tuple[int, int], Tensor]


@dataclass
class Given:
    """What the boundary term reads; features are of the width of a small network's last layer."""

    features: Tensor
    probability: Tensor
    edges: Tensor
    label: Tensor
    gamma: Tensor
    loss: Tensor

    def fast(self, term: BoundaryTerm) -> Tensor:
        return self.both(term)[0]

    def both(self, term: BoundaryTerm) -> tuple[Tensor, Tensor]:
        """The term, and the share of images and classes that is active."""
        found: tuple[Tensor, Tensor] = term(
            self.features, self.probability, self.edges, self.label != IGNORE, self.gamma, self.loss
        )
        return found

    def slow(self, defaults: Defaults | None = None, features: Tensor | None = None) -> Tensor:
        seen = self.features if features is None else features
        rest = self.probability, self.edges, self.label, self.gamma, self.loss
        return slow_boundary(seen, *rest, TAU, TEMPERATURE, defaults)

    def centres(self) -> dict[tuple[int, int, int], Tensor]:
        return slow_centres(self.features, self.probability, self.edges, self.label, self.gamma, TAU)


def random_given(ndim: int = 2, classes: int = 3, seed: int = 0) -> Given:
    """Objects of every class, a seventh of edges, some of gamma zero, and a loss that is zero without a label."""
    generator = torch.Generator().manual_seed(100 * classes + seed)
    size = SIZES[ndim]
    label = random_labels(*size, classes=classes, seed=seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    logits = 12 * draw(size[0], classes, *size[1:])
    return Given(
        features=4 * draw(size[0], 5, *size[1:]) - 2,
        probability=logits.softmax(dim=1),
        edges=draw(*size) < 1 / 7,
        label=label,
        gamma=(2 * draw(*size) - 0.4).clamp(min=0),
        loss=draw(*size) * (label != IGNORE),
    )


def boundary_term(ndim: int = 2, classes: int = 3, through: bool = True) -> BoundaryTerm:
    return BoundaryTerm(small_network(ndim, classes), classes, TAU, 0.1, TEMPERATURE, through).double()


def mean_centres(*seen: Given) -> Defaults:
    """The mean of the centres that images had."""
    found: dict[tuple[int, int], list[Tensor]] = {}
    for given in seen:
        for (_, kind, number), centre in given.centres().items():
            found.setdefault((kind, number), []).append(centre)
    return {place: torch.stack(centres).mean(dim=0) for place, centres in found.items()}


def test_the_papers_constant() -> None:
    assert TAU_MIN == OWN_CENTRE


@pytest.mark.parametrize("through", [True, False])
@pytest.mark.parametrize(("ndim", "classes"), PLACES)
def test_the_term_equals_the_slow_version(ndim: int, classes: int, through: bool) -> None:
    term = boundary_term(ndim, classes, through)
    for seed in range(2):
        given = random_given(ndim, classes, seed)
        found = given.fast(term)
        near(found, given.slow(), 1e-12)
    regions = [key[:2] for key in given.centres()]
    assert max(regions.count(key) for key in regions) == 3, "some centres are an image's own"
    assert abs(float(found - uniform(given))) > 1e-3 * float(found), "and change the weights"


@pytest.mark.parametrize(("ndim", "classes"), PLACES)
def test_regions_without_a_centre_take_the_last_epochs_mean(ndim: int, classes: int) -> None:
    """One epoch of two steps, then images whose objects are too small (fewer than ten pixels)."""
    term, steps = boundary_term(ndim, classes), [random_given(ndim, classes, seed) for seed in (0, 1)]
    for given in steps:
        given.fast(term)
    term.end_epoch()
    defaults = mean_centres(*steps)
    assert len(defaults) == 3 * (classes - 1), "each class and region had a centre"
    for given in (few_objects(random_given(ndim, classes, 2)), random_given(ndim, classes, 3)):
        near(given.fast(term), given.slow(defaults), 1e-12)
    small = few_objects(random_given(ndim, classes, 2))
    assert not any(number == 0 for _, _, number in small.centres())
    assert abs(float(small.slow(defaults) - small.slow())) > 1e-4
    term.end_epoch()
    latest = mean_centres(few_objects(random_given(ndim, classes, 2)), random_given(ndim, classes, 3))
    assert any(not torch.equal(centre, defaults[place]) for place, centre in latest.items())
    near(random_given(ndim, classes, 4).fast(term), random_given(ndim, classes, 4).slow(latest), 1e-12)


def few_objects(given: Given) -> Given:
    """Probabilities that leave at most five pixels to each object."""
    probability = torch.full_like(given.probability, 0.5 / (given.probability.shape[1] - 1))
    probability[:, 0] = 0.5
    for kind in range(1, probability.shape[1]):
        probability[:, :, -1, kind] = 0.01
        probability[:, kind, -1, kind] = 0.95
    return replace(given, probability=probability / probability.sum(dim=1, keepdim=True))


def uniform(given: Given, classes: tuple[int, ...] | None = None) -> Tensor:
    """The mean over images and classes of the boundary's mean loss."""
    sums = []
    for image in range(len(given.label)):
        for kind in classes or range(1, given.probability.shape[1]):
            boundary = slow_regions(given.probability, given.edges, given.label, image, kind, TAU)[2]
            sums.append(torch.stack([given.loss[where] for where in boundary]).mean())
    return torch.stack(sums).mean()


@pytest.mark.parametrize(("ndim", "classes"), PLACES)
def test_active_are_the_images_and_classes_with_three_centres_of_their_own(ndim: int, classes: int) -> None:
    shares = []
    for given in (random_given(ndim, classes), few_objects(random_given(ndim, classes))):
        found = [key[:2] for key in given.centres()]
        pairs = [(image, kind) for image in range(len(given.label)) for kind in range(1, classes)]
        shares.append(sum(found.count(pair) == 3 for pair in pairs) / len(pairs))
        assert float(given.both(boundary_term(ndim, classes))[1]) == pytest.approx(shares[-1])
    assert shares[0] > shares[1] == 0


@pytest.mark.parametrize(("ndim", "classes"), PLACES)
def test_tau_follows_the_confidence_where_it_is_not_given(ndim: int, classes: int) -> None:
    """Of a network that is all but sure everywhere a fifth of each image is boundary; with tau given, its edges alone are."""
    given = random_given(ndim, classes)
    sure = replace(given, probability=(given.probability.log() * 3).softmax(dim=1))
    term = BoundaryTerm(small_network(ndim, classes), classes, None, 0.2, TEMPERATURE, True).double()
    doubt = doubt_of(sure.probability[:, 1:], sure.label != IGNORE, 0.2)
    expected = []
    for image in range(len(sure.label)):
        for kind in range(1, classes):
            tau = 1 - float(doubt[image, kind - 1].squeeze()) * (1 - 1e-9)
            one = (sure.features[[image]], sure.probability[[image]], sure.edges[[image]], sure.label[[image]])
            both = one[1][:, [0, kind]]
            expected.append(slow_boundary(one[0], both, *one[2:], sure.gamma[[image]], sure.loss[[image]], tau, TEMPERATURE))
    near(sure.fast(term), torch.stack(expected).mean(), 1e-9)


def test_boundary_pixels_weigh_the_same_before_there_is_a_default() -> None:
    given = few_objects(random_given())
    near(given.fast(boundary_term()), uniform(given), 1e-12)


def test_ten_pixels_have_a_centre_and_nine_have_not() -> None:
    """One image, two classes: objects of ten or nine pixels, edges, and background; the former gives the latter a default."""
    given, term = random_given(classes=2), boundary_term(classes=2)
    for count in (10, 9):
        foreground = torch.full((1, 9, 10), 0.1, dtype=torch.float64)
        foreground[0, 2, :count] = 0.9
        label = torch.zeros(1, 9, 10, dtype=torch.int64)
        edges = torch.zeros(1, 9, 10, dtype=torch.bool)
        edges[0, 5:7] = True
        one = Given(
            given.features[:1],
            torch.stack((1 - foreground, foreground), dim=1),
            edges,
            label,
            torch.ones(1, 9, 10, dtype=torch.float64),
            given.loss[:1],
        )
        assert ((0, 1, 0) in one.centres()) == (count == 10)
        same = abs(float(one.fast(boundary_term(classes=2)) - uniform(one))) < 1e-12
        assert same == (count == 9)
        if count == 10:
            one.fast(term)
            term.end_epoch()
            defaults = mean_centres(one)
        near(one.fast(term), one.slow(defaults), 1e-12)
        unlabelled = replace(one, label=label.clone())
        unlabelled.label[0, 2, 0] = IGNORE
        near(unlabelled.fast(boundary_term(classes=2)), unlabelled.slow(), 1e-12)
        near(unlabelled.slow(), uniform(unlabelled), 1e-12)


def test_a_region_whose_weights_are_all_zero_takes_the_default() -> None:
    term, first, second = boundary_term(), random_given(seed=0), random_given(seed=1)
    first.fast(term)
    before = term.current.clone()
    for where in slow_regions(second.probability, second.edges, second.label, 0, 1, TAU)[1]:
        second.gamma[where] = 0
    assert (0, 1, 1) not in second.centres() and (1, 1, 1) in second.centres()
    second.fast(term)
    counted = (term.current - before)[0, 1, -1]
    assert int(counted) == len([key for key in second.centres() if key[1:] == (1, 1)]) == 2
    term.end_epoch()
    near(second.fast(term), second.slow(mean_centres(first, second)), 1e-12)
    nothing = replace(second, gamma=torch.zeros_like(second.gamma))
    near(nothing.fast(term), nothing.slow(mean_centres(first, second)), 1e-12)


def test_a_class_without_a_centre_in_the_last_epoch_has_no_default() -> None:
    """Class 1 keeps its weights; class 2, of whose object there was never enough, weighs its boundary evenly."""
    term, given = boundary_term(), random_given(classes=3)
    share = given.probability[:, 1:2] + given.probability[:, 2:]
    rare = torch.cat((1 - share, share * 0.98, share * 0.02), dim=1)
    given = replace(given, probability=rare)
    for _ in range(2):
        near(given.fast(term), given.slow(mean_centres(given)), 1e-12)
        term.end_epoch()
    assert (2, 0) not in mean_centres(given) and (1, 0) in mean_centres(given)
    assert int(term.last[1, 0, -1]) == 0 and int(term.last[0, 0, -1]) > 0
    term.end_epoch()
    assert not term.last.any(), "an epoch without centres leaves no defaults"


def test_default_centres_are_saved_with_the_weights() -> None:
    term, given = boundary_term(), random_given()
    given.fast(term)
    term.end_epoch()
    random_given(seed=1).fast(term)
    state = copy.deepcopy(term.state_dict())
    assert set(state) == {"last", "current"} and all(values.any() for values in state.values())
    other = boundary_term()
    other.load_state_dict(state)
    few = few_objects(random_given(seed=2))
    assert torch.equal(few.fast(other), few.fast(term))
    for each in (other, term):
        each.end_epoch()
    assert torch.equal(few.fast(other), few.fast(term))
    assert not list(term.parameters())


# Gradients


def gradients(value: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value, inputs, materialize_grads=True, allow_unused=True)


@pytest.mark.parametrize(("ndim", "classes"), PLACES)
def test_gradients_through_the_weights_are_those_of_equations_43_and_44(ndim: int, classes: int) -> None:
    """In the second epoch, when defaults, which are constants, take part too."""
    first, given = random_given(ndim, classes, 0), few_objects(random_given(ndim, classes, 2))
    term = boundary_term(ndim, classes)
    first.fast(term)
    term.end_epoch()
    for each in (given, random_given(ndim, classes, 1)):
        known = each.features.requires_grad_(), each.loss.requires_grad_(), each.gamma, each.probability.requires_grad_()
        found = gradients(each.fast(term), *known[:2], known[3])
        expected = gradients(each.slow(mean_centres(first)), *known[:2], known[3])
        near(found[0], expected[0], 1e-9)
        near(found[1], expected[1], 1e-12)
        assert found[0].any(), "w depends on the features"
        assert not found[2].any(), "regions carry no gradient"


def test_the_gradient_through_the_weights_equals_differences() -> None:
    given, term = random_given(classes=2), boundary_term(classes=2)
    given.features.requires_grad_()
    (found,) = gradients(given.fast(term), given.features)
    for place in ((0, 0, 2, 3), (0, 4, 8, 8), (1, 2, 4, 4), (2, 1, 5, 0)):
        ends = []
        for step in (1e-5, -1e-5):
            moved = given.features.detach().clone()
            moved[place] += step
            ends.append(float(replace(given, features=moved).slow()))
        assert float(found[place]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize(("ndim", "classes"), PLACES)
def test_without_gradients_through_the_weights_they_are_constants(ndim: int, classes: int) -> None:
    given, term = random_given(ndim, classes), boundary_term(ndim, classes, through=False)
    given.features.requires_grad_()
    given.loss.requires_grad_()
    value = given.fast(term)
    found = gradients(value, given.features, given.loss)
    assert not found[0].any()
    near(found[1], gradients(given.slow(features=given.features.detach()), given.loss)[0], 1e-12)
    assert torch.equal(value, given.fast(boundary_term(ndim, classes))), "the value is the same"
    assert torch.is_grad_enabled()


# Edges of the domain


def test_images_without_a_boundary_give_zero_and_no_gradient() -> None:
    given, term = random_given(), boundary_term()
    sure = torch.full_like(given.probability, 0.01)
    sure[:, 0] = 0.98
    given = replace(given, probability=sure, edges=torch.zeros_like(given.edges))
    given.features.requires_grad_()
    given.loss.requires_grad_()
    value = given.fast(term)
    assert value.item() == 0
    assert not any(gradient.any() for gradient in gradients(value, given.features, given.loss))
    nothing = replace(given, label=torch.full_like(given.label, IGNORE), edges=torch.ones_like(given.edges))
    assert nothing.fast(term).item() == 0


def test_pixels_at_the_boundary_centre_have_the_largest_distance() -> None:
    """DCD_max = 100 (Eq. 46), where half of the boundary lies at one place, and less elsewhere."""
    given = random_given(classes=2)
    for image in range(len(given.label)):
        boundary = slow_regions(given.probability, given.edges, given.label, image, 1, TAU)[2]
        for number, where in enumerate(boundary):
            if number % 2:
                given.gamma[where] = 0  # so that the centre is where the others are
            else:
                both_at(given.features, where).fill_(0.5)
    given.features.requires_grad_()
    value = given.fast(boundary_term(classes=2))
    near(value, given.slow(), 1e-12)
    assert torch.isfinite(gradients(value, given.features)[0]).all()


def test_half_precision_features_are_raised() -> None:
    given = random_given()
    term = boundary_term().float()
    single = [given.probability.float(), given.edges, given.label != IGNORE, given.gamma.float(), given.loss.float()]
    found, _ = term(given.features.bfloat16(), *single)
    assert found.dtype == torch.float32
    near(found, given.slow(features=given.features.bfloat16().double()), 1e-4)


def test_a_network_without_a_known_head_is_refused() -> None:
    with pytest.raises(DataError, match=r"Conv2d: has no last layer that says how many features it takes"):
        BoundaryTerm(Network(nn.Conv2d(2, 3, 1)), 3, TAU, 0.1, TEMPERATURE, True)


@pytest.mark.parametrize(
    ("head", "features"),
    [
        (nn.Conv2d(4, 3, 1), 4),
        (nn.ConvTranspose2d(4, 3, 1), 4),
        (nn.Sequential(nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 3, 1)), 5),
        (nn.Sequential(nn.GroupNorm(2, 6), nn.Conv2d(6, 3, 1)), 6),
    ],
)
def test_the_number_of_features_is_what_the_head_takes(head: nn.Module, features: int) -> None:
    for parameter in head.parameters():
        parameter.requires_grad_(False)
    term = BoundaryTerm(Network(nn.Identity(), head), 3, TAU, 0.1, TEMPERATURE, False)
    assert term.last.shape == term.current.shape == (2, 3, features + 1)
