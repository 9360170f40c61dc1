"""Noise among the classes of whole images: simulators that take clean class ids and give wrong ones, and labels from a file.

``Instance`` alone reads the images. Every case has two random numbers by its id
and the seed, so the order of the cases does not matter. ``Transition`` and ``Instance`` decide on each case by these alone.
``Symmetric`` and ``Asymmetric`` choose an exact number of cases, as the literature does: those with the smallest first number.
There a case may be chosen in place of another that is left out, but the class that a chosen case goes to is its own; and what
a lower rate chooses is part of what a higher one does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from debride.noise.protocol import Classes, ClassNoise, LabelFile
from debride.rng import derive, generator, uniforms
from debride.settings import setting
from debride.types import IGNORE, DataError

Numbers = npt.NDArray[np.float64]

CIFAR10 = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}
"""Truck to automobile, bird to airplane, deer to horse, cat to dog and back (Patrini et al., CVPR 2017, Sec. 5)."""

SUPERCLASSES = (
    (4, 30, 55, 72, 95),
    (1, 32, 67, 73, 91),
    (54, 62, 70, 82, 92),
    (9, 10, 16, 28, 61),
    (0, 51, 53, 57, 83),
    (22, 39, 40, 86, 87),
    (5, 20, 25, 84, 94),
    (6, 7, 14, 18, 24),
    (3, 42, 43, 88, 97),
    (12, 17, 37, 68, 76),
    (23, 33, 49, 60, 71),
    (15, 19, 21, 31, 38),
    (34, 63, 64, 66, 75),
    (26, 45, 77, 79, 99),
    (2, 11, 35, 46, 98),
    (27, 29, 44, 78, 93),
    (36, 50, 65, 74, 80),
    (47, 52, 56, 59, 96),
    (8, 13, 48, 58, 90),
    (41, 69, 81, 85, 89),
)
"""The fine class ids of CIFAR-100's 20 superclasses (Krizhevsky 2009), the fine classes being numbered by the alphabet."""

CIFAR100 = {given: group[(place + 1) % 5] for group in SUPERCLASSES for place, given in enumerate(group)}
"""Every class to the next one of its superclass, the last to the first (Patrini et al., CVPR 2017, Sec. 5)."""

_NAMED = {"cifar10": (10, CIFAR10), "cifar100": (100, CIFAR100)}
_ROWS, _COLUMNS = 1024, 4096
"""How much of the images ``Instance`` reads together."""


@dataclass(frozen=True)
class Symmetric(ClassNoise):
    """Exactly round(``rate`` N) of the N labelled cases get a class at random, each with the same chance.

    Halves are rounded to the even number. With ``own`` a case's own class is among those drawn from, so
    that only (K - 1) / K of the chosen ones become wrong: DivideMix (Li et al., ICLR 2020), UNICON and DCD count "50 %" so.
    Without it all chosen ones do.
    """

    rate: float = setting(0.5, "share of the labelled cases that get a class at random", least=0, most=1)
    own: bool = setting(True, "draw from all classes, a case's own among them; else from the others")

    def __call__(
        self, labels: Classes, classes: int, ids: Sequence[str], seed: int, images: npt.NDArray[Any] | None = None
    ) -> Classes:
        """A copy of the class ids (N,) in which the chosen cases have another one, or the same by chance."""
        _check_classes("symmetric", classes)
        first, second = _draws(labels, ids, seed)
        chosen = _smallest(first, np.flatnonzero(labels != IGNORE), self.rate)
        drawn = (second[chosen] * (classes if self.own else classes - 1)).astype(np.int64)
        noisy = labels.copy()
        noisy[chosen] = drawn if self.own else drawn + (drawn >= labels[chosen])
        return noisy


@dataclass(frozen=True)
class Asymmetric(ClassNoise):
    """Exactly round(``rate`` n) of the n cases of every class that the map names go to the one class that it gives.

    The rate is that of each class on its own; halves are rounded to the even number. Classes without a place in the map
    stay, so 40 % on "cifar10", where five of ten classes change, makes 20 % of the labels wrong. ``map`` is "cifar10" or
    "cifar100" (Patrini et al., CVPR 2017), "next" (class k to k + 1, the last to the first), or a class id for each of some
    class ids.
    """

    rate: float = setting(0.4, "share of the cases of each class in the map that go to another", least=0, most=1)
    map: str | Mapping[int, int] = setting(
        "cifar10", "what becomes what: cifar10, cifar100, next, or class ids as {0: 1, 1: 0}"
    )

    def conflicts(self) -> Iterator[DataError]:
        """A map that does not exist, or changes nothing."""
        if isinstance(self.map, str) and self.map not in (*_NAMED, "next"):
            remedy = f"Give {', '.join(_NAMED)}, next, or class ids as {{0: 1, 1: 0}}."
            yield DataError("`map`", f"is {self.map!r}", remedy)
        if isinstance(self.map, Mapping) and all(given == wrong for given, wrong in self.map.items()):
            yield DataError("`map`", "changes no class", "Give at least one class that becomes another.")

    def __call__(
        self, labels: Classes, classes: int, ids: Sequence[str], seed: int, images: npt.NDArray[Any] | None = None
    ) -> Classes:
        """A copy of the class ids (N,) with the chosen cases changed; DataError if the map does not fit ``classes``."""
        _check_classes("asymmetric", classes)
        first, _ = _draws(labels, ids, seed)
        noisy = labels.copy()
        for given, wrong in self._pairs(classes).items():
            if given != wrong:
                noisy[_smallest(first, np.flatnonzero(labels == given), self.rate)] = wrong
        return noisy

    def _pairs(self, classes: int) -> dict[int, int]:
        if self.map == "next":
            return {given: (given + 1) % classes for given in range(classes)}
        if isinstance(self.map, str):
            needed, pairs = _NAMED[self.map]
            if classes != needed:
                problem = f"map {self.map} is for {needed} classes, the data set has {classes}"
                raise DataError("noise asymmetric", problem, "Give map=next, or class ids as {0: 1, 1: 0}")
            return pairs
        pairs = dict(self.map)
        unknown = sorted({*pairs, *pairs.values()} - set(range(classes)))
        if unknown:
            problem = f"map has the class {unknown[0]}, the data set has {classes} classes"
            raise DataError("noise asymmetric", problem, f"Give class ids from 0 to {classes - 1}")
        return pairs


@dataclass(frozen=True)
class Transition(ClassNoise):
    """Every case draws its class on its own: ``matrix[i][j]`` is the probability that class i becomes class j.

    The matrix is K x K, and each row sums to one within 1e-6. The shares that result are random.
    """

    matrix: tuple[tuple[float, ...], ...] = setting(
        (), "a row of probabilities for each class: what its cases become", least=0, most=1
    )

    def conflicts(self) -> Iterator[DataError]:
        """A matrix that is missing, not square, or whose rows do not sum to 1."""
        if not self.matrix:
            yield DataError("`matrix`", "has no rows", "Give one row of probabilities for each class.")
        for number, row in enumerate(self.matrix):
            if len(row) != len(self.matrix):
                problem = f"has {len(row)} entries in row {number}, but there are {len(self.matrix)} rows"
                yield DataError("`matrix`", problem, "Give a square matrix.")
            if abs(sum(row) - 1) > 1e-6:
                yield DataError("`matrix`", f"has the sum {sum(row):g} in row {number}", "Make every row sum to 1.")

    def __call__(
        self, labels: Classes, classes: int, ids: Sequence[str], seed: int, images: npt.NDArray[Any] | None = None
    ) -> Classes:
        """Class ids (N,) drawn by the matrix; DataError if it is not for ``classes``."""
        if classes != len(self.matrix):
            problem = f"the matrix is for {len(self.matrix)} classes, the data set has {classes}"
            raise DataError("noise transition", problem, "Give one row and one column for each class")
        first, _ = _draws(labels, ids, seed)
        noisy = labels.copy()
        for given, row in enumerate(self.matrix):
            cases = np.flatnonzero(labels == given)
            noisy[cases] = _pick(np.broadcast_to(np.asarray(row, np.float64), (cases.size, classes)), first[cases])
        return noisy


@dataclass(frozen=True)
class Instance(ClassNoise):
    """Noise that depends on the image (Xia et al., "Part-dependent label noise", NeurIPS 2020, Algorithm 2).

    Every case has a flip rate q from the normal distribution of mean ``rate`` and standard deviation ``spread``
    truncated to [0, 1]. Its image (D) times a random matrix (D, K) of standard normal numbers, one matrix for each true
    class, gives scores; the true class's becomes minus infinity; q times their softmax are the probabilities of the other
    classes, and 1 - q that of the true one. So a case's chance to be wrong is random, and its image decides which class it
    becomes. Where ``rate`` is within two or three ``spread`` of 0 or 1 the truncation moves the mean rate inwards.
    """

    rate: float = setting(0.4, "mean chance of a case to be wrong", least=0, most=1)
    spread: float = setting(0.1, "standard deviation of that chance over the cases", least=0, most=1)

    @property
    def needs_images(self) -> bool:
        """The image decides which class a case becomes."""
        return True

    def __call__(
        self, labels: Classes, classes: int, ids: Sequence[str], seed: int, images: npt.NDArray[Any] | None = None
    ) -> Classes:
        """Class ids (N,) drawn for each case; images (N, D) are numbers from 0 to 1, or ``uint8``, which is divided by 255.

        They may be memory-mapped: they are read in pieces. The paper says nothing of their scale; the softmax is the sharper
        the larger they are. Raises DataError without images, and for numbers that are not finite.
        """
        _check_classes("instance", classes)
        if images is None:
            raise DataError("noise instance", "has no images to depend on", "Choose symmetric, asymmetric or transition noise")
        assert images.ndim == 2 and len(images) == len(labels), (images.shape, labels.shape)
        first, second = _draws(labels, ids, seed)
        flip = self._flip_rates(first)
        noisy = labels.copy()
        for given in range(classes):
            cases = np.flatnonzero(labels == given)
            if not cases.size:
                continue
            scores = _project(images, cases, classes, generator(seed, "noise", "projection", given))
            broken = np.flatnonzero(~np.isfinite(scores).all(axis=1))
            if broken.size:
                problem = f"the image of {ids[cases[broken[0]]]} holds numbers that are not finite"
                raise DataError("noise instance", problem, "Give finite numbers, best from 0 to 1")
            scores[:, given] = -np.inf
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
            probability = flip[cases, None] * scores / scores.sum(axis=1, keepdims=True)
            probability[:, given] = 1 - flip[cases]
            noisy[cases] = _pick(probability, second[cases])
        return noisy

    def _flip_rates(self, numbers: Numbers) -> Numbers:
        """Numbers in [0, 1) as draws from the truncated normal distribution, by the inverse of its distribution function."""
        if self.spread == 0:
            return np.full_like(numbers, self.rate)
        low, high = ndtr((0 - self.rate) / self.spread), ndtr((1 - self.rate) / self.spread)
        rates: Numbers = np.clip(self.rate + self.spread * ndtri(low + numbers * (high - low)), 0, 1)
        return rates


@dataclass(frozen=True)
class FromFile(ClassNoise):
    """No simulation: the labels that a file gives, such as those of human annotators (CIFAR-N).

    ``file`` is a .csv, .npy or .npz file, ``key`` the array of the last that holds the labels, needed where it has several.
    ``data.corrupt_classes`` reads it, for files are not known here.
    """

    file: str = setting(MISSING, "the .csv, .npy or .npz file that holds the labels")
    key: str | None = setting(None, "the array of an .npz file that holds the labels")

    @property
    def source(self) -> LabelFile:
        """The file that the labels are read from."""
        return LabelFile(self.file, self.key)

    def with_file(self, file: str) -> FromFile:
        """The labels of another file."""
        return replace(self, file=file)

    def __call__(
        self, labels: Classes, classes: int, ids: Sequence[str], seed: int, images: npt.NDArray[Any] | None = None
    ) -> Classes:
        """Nothing is simulated: the labels stand in the file."""
        raise TypeError(f"{self.file} must be read")

    def conflicts(self) -> Iterator[DataError]:
        """A file that is not named, or a key that is not for it."""
        if not self.file:
            yield DataError("`file`", "does not name the file of labels", "Give file=labels.csv, or a .npy or .npz file.")
        if self.key == "":
            yield DataError("`key`", "is empty", "Name the array of labels, or leave the key out.")
        if self.key is not None and not self.file.lower().endswith(".npz"):
            yield DataError("`key`", f"is given, and {self.file} is no .npz file", "Leave the key out.")


def _check_classes(noise: str, classes: int) -> None:
    if classes < 2:
        raise DataError(f"noise {noise}", f"the data set has {classes} class", "Give a data set of at least two classes")


def _draws(labels: Classes, ids: Sequence[str], seed: int) -> tuple[Numbers, Numbers]:
    """Two numbers (N,) in [0, 1) for each case, by its id and the seed."""
    assert len(labels) == len(ids), (len(labels), len(ids))
    index = np.fromiter((derive(seed, "noise", id) for id in ids), np.uint64, len(ids))
    first, second = uniforms(derive(seed, "noise"), index, 2).T
    return first, second


def _smallest(numbers: Numbers, cases: npt.NDArray[np.intp], rate: float) -> npt.NDArray[np.intp]:
    """The share ``rate`` of the cases that has the smallest numbers, in number rounded."""
    return cases[np.argsort(numbers[cases], kind="stable")][: round(rate * cases.size)]


def _pick(probability: Numbers, numbers: Numbers) -> Classes:
    """One column for each row of probabilities (N, K): the first whose cumulative sum is above the row's number in [0, 1)."""
    cumulative = probability.cumsum(axis=1)
    cumulative /= cumulative[:, -1:]
    columns: Classes = (cumulative <= numbers[:, None]).sum(axis=1, dtype=np.int64)
    return columns


def _project(images: npt.NDArray[Any], cases: npt.NDArray[np.intp], classes: int, rng: np.random.Generator) -> Numbers:
    """Images (N, D) of some cases times standard normal numbers (D, K), in pieces: the numbers are drawn row by row of D."""
    scores = np.zeros((cases.size, classes))
    scale = 1 / 255 if images.dtype == np.uint8 else 1.0
    for column in range(0, images.shape[1], _COLUMNS):
        columns = slice(column, min(column + _COLUMNS, images.shape[1]))
        weights = rng.standard_normal((columns.stop - columns.start, classes)) * scale
        for row in range(0, cases.size, _ROWS):
            rows = cases[row : row + _ROWS]
            scores[row : row + _ROWS] += images[rows, columns].astype(np.float64) @ weights
    return scores
