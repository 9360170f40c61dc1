"""What a grid file holds: its data sets, noises, methods and blocks, and what stands beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from debride.settings import setting
from debride.types import DataError, Split, TaskName


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """A data set of a grid: where it is, how it is read, how many images of each split are used, and settings that replace
    the grid's.

    ``trusted`` is the share of the training images used that keep their clean label and count as verified, at least one where
    it is above 0, drawn for each seed (see ``trust``); without it those that the data set marks itself are. Both at once are
    refused.
    """

    path: str
    format: str | None = None
    patient_pattern: str | None = None
    image_pattern: str | None = None
    mask_pattern: str | None = None
    split_by: str | None = None
    val_fraction: float = setting(0.2, "share of the patients to validate on, where there is no split", least=0, below=1)
    test_fraction: float = setting(0.0, "share of the patients to test on, where there is no split", least=0, below=1)
    limit: Mapping[Split, int] = field(default_factory=dict)
    trusted: float = setting(0.0, "share of the training images that count as verified", least=0, below=1)
    training: Mapping[str, Any] = field(default_factory=dict)

    def conflicts(self) -> Iterator[DataError]:
        """Shares that leave nothing to train on."""
        if self.val_fraction + self.test_fraction >= 1:
            problem = f"is {self.val_fraction}, and `test_fraction` {self.test_fraction}: nothing is left to train on"
            yield DataError("`val_fraction`", problem, "Give two numbers that sum to less than 1.")


@dataclass(frozen=True, kw_only=True)
class NoiseEntry:
    """A label noise of a grid; ``dice`` sets its strength by the mean label Dice. ``noise`` None leaves labels as they are.

    ``raters`` ("sample", "smallest", "largest" or a rater's name, see ``choose_raters``) stands alone: the noise is then the
    raters' disagreement.
    ``validation`` "clean" corrupts the training labels alone: the best epoch is then chosen on clean validation labels.
    Classification has noises of its own (``noise.classes``), and neither ``dice``, ``share`` nor ``raters``. In the ``file`` of
    its noise "file" environment variables are expanded, as in the path of a data set.
    """

    noise: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    dice: float | None = setting(None, "mean label Dice that the strength is chosen by", above=0, below=1)
    share: float = setting(1.0, "share of the cases that are corrupted", above=0, most=1)
    validation: Literal["given", "clean"] = "given"
    raters: str | None = None


@dataclass(frozen=True, kw_only=True)
class MethodEntry:
    """A method of a grid. A ``config`` value of "measured" for ``noise_rate`` becomes the changed-pixel rate that the
    corruption had, in classification the share of training labels that are wrong. ``preset`` "paper" gives what ``config``
    leaves open the values of the method's paper. With ``calibrate`` its predictions are measured a second time, after a
    calibration on the trusted cases. Of these a share ``hold_out_trusted`` is not trained on; a calibration is then chosen on
    that share alone, as what was trained on hides a bias.
    """

    method: str
    preset: Literal["default", "paper"] = "default"
    config: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    calibrate: bool = False
    hold_out_trusted: float = setting(0.0, "share of the trusted cases that is not trained on", least=0, most=1)


@dataclass(frozen=True, kw_only=True)
class Block:
    """Cells of a grid: the product of what it names, of all where it names none."""

    datasets: tuple[str, ...] = ()
    noises: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GridSettings:
    """The plain entries of a grid file."""

    name: str = "bench"
    task: TaskName = "segmentation"
    seeds: tuple[int, ...] = (0,)
    training: Mapping[str, Any] = field(default_factory=dict)
    test_every: int = setting(1, "epochs between measurements on the test cases", least=1)
    last_ten: bool = True
    pictures: bool = True

    def conflicts(self) -> Iterator[DataError]:
        """No training at all."""
        if not self.seeds:
            yield DataError("`seeds`", "are none", "Give seeds: [0].")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is compared, on data sets that are all for one ``task``. ``cells`` lists blocks, each the product of its data sets,
    noises, methods and seeds (all where it names none)."""

    name: str
    task: TaskName
    datasets: Mapping[str, DatasetEntry]
    noises: Mapping[str, NoiseEntry]
    methods: Mapping[str, MethodEntry]
    seeds: tuple[int, ...]
    training: Mapping[str, Any]
    augmentation: Any
    cells: tuple[Block, ...]
    test_every: int = 1
    last_ten: bool = True
    pictures: bool = True
