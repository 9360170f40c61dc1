"""The teacher: perturbed passes (ALC, Eq. 3), the moving average, the growing weight and the consistency (ALC, Eq. 10)."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from debride.methods.parts.teacher import Teacher, consistency, ramp_up
from debride.networks import Network, build

SIZES = {2: (6, 7), 3: (3, 4, 5)}
CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
NORMALISATIONS: dict[str, dict[int, Any]] = {
    "batch": {2: nn.BatchNorm2d, 3: nn.BatchNorm3d},
    "instance": {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d},
}
DROPOUTS = {2: nn.Dropout2d, 3: nn.Dropout3d}


def student(ndim: int = 2, norm: str = "batch", dropout: float = 0.0) -> Network:
    """A normalisation with running statistics that fit no batch, dropout, and a 1x1 convolution to three classes."""
    torch.manual_seed(ndim)
    layer = NORMALISATIONS[norm][ndim](2, affine=True, track_running_stats=True)
    with torch.no_grad():
        layer.running_mean.copy_(torch.tensor([0.7, -1.3]))
        layer.running_var.copy_(torch.tensor([2.5, 0.4]))
        layer.weight.copy_(torch.tensor([1.5, 0.5]))
        layer.bias.copy_(torch.tensor([-0.2, 0.9]))
    return Network(nn.Sequential(layer, DROPOUTS[ndim](dropout)), CONVOLUTIONS[ndim](2, 3, 1)).double()


def images(ndim: int = 2, number: int = 3, seed: int = 0) -> Tensor:
    size = (number, 2, *SIZES[ndim])
    return 3 * torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 1


class Watching(nn.Module):
    """Gives its input as logits and keeps it; refuses more than ``most`` images, as a GPU does whose memory is full."""

    def __init__(self, most: int = 10**6) -> None:
        super().__init__()
        self.most = most
        self.seen: list[Tensor] = []
        self.sizes: list[int] = []

    def forward(self, image: Tensor) -> Tensor:
        self.sizes.append(len(image))
        if len(image) > self.most:
            raise torch.cuda.OutOfMemoryError("no room")
        self.seen.append(image.clone())
        return image


def watching(most: int = 10**6) -> tuple[Teacher, Watching]:
    teacher = Teacher(Network(Watching(most)))
    trunk = teacher.network.trunk
    assert isinstance(trunk, Watching)
    return teacher, trunk


class OnGPU(torch.Tensor):
    """A tensor that says that it is on a GPU."""

    is_cuda = True  # type: ignore[assignment]


# Eq. 3


@pytest.mark.parametrize("ndim", [2, 3])
def test_passes_are_probabilities_without_a_gradient_that_differ(ndim: int) -> None:
    teacher, image = Teacher(student(ndim)), images(ndim).requires_grad_()
    before = image.detach().clone()
    passes = teacher.passes(image, 4, 0.3, 2)
    assert passes.shape == (4, 3, 3, *SIZES[ndim])
    torch.testing.assert_close(passes.sum(dim=2), torch.ones(4, 3, *SIZES[ndim], dtype=torch.float64))
    assert not passes.requires_grad and not any(p.requires_grad for p in teacher.parameters())
    assert torch.equal(image, before)
    for one in range(4):
        for two in range(one):
            assert (passes[one] - passes[two]).abs().flatten(1).max(dim=1).values.min() > 1e-3


def test_half_precision_is_raised_before_the_softmax() -> None:
    teacher, _ = watching()
    image = images().bfloat16()
    passes = teacher.passes(image, 2, 0.0, None)
    assert passes.dtype == torch.float32
    assert torch.equal(passes[0], image.float().softmax(dim=1))


def test_noise_is_gaussian_and_cut_at_two_deviations() -> None:
    teacher, trunk = watching()
    torch.manual_seed(3)
    image = torch.randn(2, 3, 50, 60, dtype=torch.float64)
    teacher.passes(image, 4, 0.2, 3)
    noise = torch.cat([seen.reshape(-1, *image.shape) for seen in trunk.seen]) - image
    assert noise.shape == (4, *image.shape)
    assert float(noise.abs().max()) == pytest.approx(0.4)
    cut = ((noise.abs() - 0.4).abs() < 1e-9).double().mean()
    assert float(cut) == pytest.approx(0.0455, abs=0.004), "a Gaussian leaves two deviations in 4.55 of 100 cases"
    assert float((noise.abs() < 0.2).double().mean()) == pytest.approx(0.6827, abs=0.01)
    assert abs(float(noise.mean())) < 0.004
    together = torch.corrcoef(noise.reshape(8, -1)) - torch.eye(8, dtype=torch.float64)
    assert float(together.abs().max()) < 0.05, "each pass of each image has noise of its own"


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("norm", NORMALISATIONS)
def test_it_normalises_by_its_batch_and_leaves_running_statistics_alone(norm: str, ndim: int) -> None:
    made = student(ndim, norm)
    teacher, image = Teacher(made).train(), images(ndim)
    before = copy.deepcopy(teacher.state_dict())
    passes = teacher.passes(image, 2, 0.0, None)
    after = teacher.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items() if not name.endswith("num_batches_tracked"))
    layer, head = made.trunk[0], made.head
    scale, shift = layer.weight.tolist(), layer.bias.tolist()
    rows, bias = head.weight.reshape(3, 2).tolist(), head.bias.tolist()
    for number in range(len(image)):
        together = range(len(image)) if norm == "batch" else [number]
        values = [[v for n in together for v in image[n, c].flatten().tolist()] for c in range(2)]
        mean = [sum(each) / len(each) for each in values]
        var = [sum((v - m) ** 2 for v in each) / len(each) for each, m in zip(values, mean, strict=True)]
        for where in np.ndindex(*SIZES[ndim]):
            pixel = image[(number, slice(None), *where)].tolist()
            normal = [(pixel[c] - mean[c]) / math.sqrt(var[c] + layer.eps) * scale[c] + shift[c] for c in range(2)]
            powers = [math.exp(bias[k] + sum(rows[k][c] * normal[c] for c in range(2))) for k in range(3)]
            expected = [power / sum(powers) for power in powers]
            for each in passes:
                assert each[(number, slice(None), *where)].tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("ndim", [2, 3])
def test_dropout_is_on_in_training_and_off_in_evaluation(ndim: int) -> None:
    parent = nn.Module()
    made = student(ndim, dropout=0.5).eval()
    parent.teacher = teacher = Teacher(made)
    image = images(ndim, number=8)
    parent.train()
    torch.manual_seed(0)
    with torch.no_grad():
        plain = made(image).softmax(dim=1)
    first, second = teacher.passes(image, 2, 0.0, None)
    assert not torch.equal(first, second) and not torch.equal(first, plain)
    assert not torch.equal(*teacher.passes(image, 2, 0.0, 2)), "two passes in one batch have dropout of their own"
    parent.eval()
    first, second = teacher.passes(image, 2, 0.0, None)
    assert torch.equal(first, second) and torch.equal(first, plain)
    parent.train()
    assert not torch.equal(*teacher.passes(image, 2, 0.0, None))


# Passes at once


@pytest.mark.parametrize(
    ("number", "at_once", "sizes"),
    [(4, 1, [1] * 4), (4, 2, [2, 2]), (4, 4, [4]), (4, 9, [4]), (5, 2, [2, 2, 1]), (4, None, [1] * 4), (1, None, [1])],
)
def test_passes_arrive_whatever_goes_at_once(number: int, at_once: int | None, sizes: list[int]) -> None:
    teacher, trunk = watching()
    image = images()
    passes = teacher.passes(image, number, 0.0, at_once)
    assert trunk.sizes == [3 * size for size in sizes]
    assert passes.shape == (number, *image.shape)
    for each in passes:
        assert torch.equal(each, image.softmax(dim=1)), "every pass is of the images in their order"


@pytest.mark.parametrize("ndim", [2, 3])
def test_without_noise_and_dropout_passes_at_once_are_passes_one_by_one(ndim: int) -> None:
    torch.manual_seed(0)
    network = build("unet-small", ndim=ndim, in_channels=2, classes=3, width=2)
    teacher, image = Teacher(network).train(), torch.randn(2, 2, *(16, 32, 16)[:ndim])
    one, *others = (teacher.passes(image, 5, 0.0, at_once) for at_once in (1, 2, 5, None))
    assert (one == one[:1]).all()
    for other in others:
        torch.testing.assert_close(other, one, rtol=0, atol=1e-5)


def test_noise_has_one_law_whatever_goes_at_once() -> None:
    """Mean and deviation over many passes of the probability at each pixel."""
    teacher, _ = watching()
    image = images(number=1)
    torch.manual_seed(0)
    laws = [teacher.passes(image, 1000, 0.5, at_once) for at_once in (1, 7, 1000)]
    for other in laws[1:]:
        torch.testing.assert_close(other.mean(dim=0), laws[0].mean(dim=0), rtol=0, atol=0.03)
        torch.testing.assert_close(other.std(dim=0), laws[0].std(dim=0), rtol=0, atol=0.03)


@pytest.mark.parametrize(
    ("most", "at_once", "sizes"),
    [
        (21, None, [7]),
        (9, None, [7, 3, 3, 1]),
        (6, None, [7, 3, 1, 1, 1, 1, 1, 1, 1]),
        (6, 5, [5, 2, 2, 2, 1]),
    ],
)
def test_passes_are_halved_where_a_gpu_has_no_room(most: int, at_once: int | None, sizes: list[int]) -> None:
    teacher, trunk = watching(most)
    image = images()
    passes = teacher.passes(image.as_subclass(OnGPU), 7, 0.0, at_once)
    assert trunk.sizes == [3 * size for size in sizes]
    assert passes.shape == (7, *image.shape)
    for each in passes:
        assert torch.equal(each.as_subclass(torch.Tensor), image.softmax(dim=1))


def test_a_single_pass_without_room_is_an_error() -> None:
    teacher, trunk = watching(2)
    with pytest.raises(torch.cuda.OutOfMemoryError, match="no room"):
        teacher.passes(images().as_subclass(OnGPU), 4, 0.1, None)
    assert trunk.sizes == [12, 6, 3]


# The moving average


@pytest.mark.parametrize("decay", [0.0, 0.6, 0.99])
def test_the_teacher_follows_as_a_moving_average(decay: float) -> None:
    """theta_t = g theta_t + (1 - g) theta_s, number by number, with g = min(1 - 1 / (t + 1), decay) of Tarvainen's code."""
    made = student()
    teacher = Teacher(made)
    start = {name: 2.0 + value if value.is_floating_point() else value for name, value in teacher.network.state_dict().items()}
    teacher.network.load_state_dict(start)
    expected = {name: value.flatten().tolist() for name, value in start.items()}
    generator = torch.Generator().manual_seed(1)
    for step in range(6):
        with torch.no_grad():
            for value in made.state_dict().values():
                value += (
                    torch.randn(value.shape, generator=generator, dtype=value.dtype) if value.is_floating_point() else step + 1
                )
        before = copy.deepcopy(made.state_dict())
        teacher.follow(made, step, decay)
        assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items()), "the student stays"
        g = min(1 - 1 / (step + 1), decay)
        for name, value in before.items():
            theirs = value.flatten().tolist()
            if value.is_floating_point():
                expected[name] = [g * mine + (1 - g) * other for mine, other in zip(expected[name], theirs, strict=True)]
            else:
                expected[name] = theirs
        for name, value in teacher.network.state_dict().items():
            assert value.flatten().tolist() == pytest.approx(expected[name], rel=1e-9, abs=1e-12), name
    assert {"trunk.0.running_mean", "trunk.0.running_var", "trunk.0.num_batches_tracked"} <= expected.keys()
    assert expected["trunk.0.num_batches_tracked"] == [21]


def test_the_teacher_begins_as_a_copy_that_shares_nothing() -> None:
    made = student()
    teacher = Teacher(made)
    mine, theirs = teacher.network.state_dict(), made.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    assert all(value.data_ptr() != theirs[name].data_ptr() for name, value in mine.items())
    assert all(parameter.requires_grad for parameter in made.parameters())


# Weight and consistency


@pytest.mark.parametrize(
    ("epochs", "part", "places"),
    [
        (5, 1.0, [0.0, 0.25, 0.5, 0.75, 1.0]),
        (5, 0.5, [0.0, 0.5, 1.0, 1.0, 1.0]),
        (6, 0.6, [0.0, 1 / 3, 2 / 3, 1.0, 1.0, 1.0]),
        (4, 0.0, [1.0] * 4),
        (1, 1.0, [1.0]),
    ],
)
def test_the_weight_grows_with_the_epochs(epochs: int, part: float, places: list[float]) -> None:
    found = [ramp_up(SimpleNamespace(epoch=epoch, epochs=epochs), part) for epoch in range(epochs)]
    assert found == pytest.approx([math.exp(-5 * (1 - t) ** 2) for t in places])
    assert found[-1] == 1.0


@pytest.mark.parametrize("ndim", [2, 3])
def test_consistency_is_the_mean_squared_distance_of_equation_10(ndim: int) -> None:
    one, other = (images(ndim, seed=seed)[:, :1].repeat(1, 3, *(1,) * ndim) for seed in (1, 2))
    one, other = (value * torch.arange(3).reshape(1, 3, *(1,) * ndim) for value in (one, other))
    one, other = one.softmax(dim=1).requires_grad_(), other.softmax(dim=1)
    places = list(np.ndindex(3, *SIZES[ndim]))
    expected = 0.0
    for image, *where in places:
        differences = (one - other).detach()[(image, slice(None), *where)].tolist()
        expected += sum(difference**2 for difference in differences)
    found = consistency(one, other)
    assert found.shape == () and float(found.detach()) == pytest.approx(expected / len(places), rel=1e-9)
    (gradient,) = torch.autograd.grad(found, one)
    torch.testing.assert_close(gradient, 2 * (one - other).detach() / len(places))


def test_consistency_of_no_image_is_nought() -> None:
    nothing = torch.zeros(0, 3, 4, 4, requires_grad=True)
    found = consistency(nothing, torch.zeros(0, 3, 4, 4))
    assert float(found.detach()) == 0
    found.backward()
