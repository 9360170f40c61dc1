"""How a training is set up: everything that is not the method's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from debride.data.preparation import Preparation
from debride.settings import setting
from debride.types import DataError


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of ``fit``. ``batch_size`` is that of all processes together; sizes and spacings are in array order (D H W).

    With ``patch_size`` the network trains on random patches and predicts with a sliding window; without it, on whole working
    images, which then must share one shape (``image_size`` makes it so). Defaults follow nnU-Net where it has the same setting
    (SGD 0.01, weight decay 3e-5, polynomial schedule, gradient norm 12), with the plain momentum 0.9 that the five papers use.
    """

    epochs: int = setting(100, "passes over the training cases", least=1)
    batch_size: int = setting(8, "cases in a batch, of all processes together", least=1)
    trusted_per_batch: int | None = setting(
        None, "trusted cases in a batch, for methods that ask for both kinds; a sixth by default (4 of 24 in ALC)", least=1
    )
    steps_per_epoch: int | None = setting(
        None, "steps of an epoch, in which cases come again; by default an epoch is one pass over the cases", least=1
    )
    learning_rate: float = setting(0.01, "the first learning rate", above=0)
    optimiser: Literal["sgd", "adamw"] = setting("sgd", "the optimiser")
    momentum: float = setting(0.9, "momentum of SGD", least=0)
    weight_decay: float = setting(3e-5, "weight decay of the optimiser", least=0)
    schedule: Literal["constant", "polynomial", "step", "inverse"] = setting(
        "polynomial", "how the learning rate falls; inverse is 20/(epoch+20)"
    )
    step_epochs: int = setting(50, "epochs between the drops of the step schedule", least=1)
    step_factor: float = setting(0.1, "what the step schedule multiplies the learning rate by", above=0)
    clip: float | None = setting(12.0, "largest gradient norm, or none", above=0)
    precision: Literal["auto", "32", "bf16", "16"] = setting(
        "32", "precision of the forward passes; 16 and bf16 are mixed; auto is bf16 where the device computes in it, else 32"
    )
    compile: bool = setting(
        False, "compile the networks (torch.compile): the first steps take minutes, the others less; for large ones, on GPUs"
    )
    network: str = setting(
        "unet",
        "unet, unet-small, unet++, residual-unet, vnet, vit-unet; for classification preact-resnet18 (default), cnn, resnet50; "
        "or package.module:constructor",
    )
    architecture: str | None = setting(None, "the network that `plans` of nnU-Net describe, as JSON: `network` is then plans")
    width: int = setting(16, "channels at full resolution", least=1, most=4096)
    image_size: tuple[int, ...] | None = setting(
        None, "resize every image to this shape (H W, or D H W)", least=1, most=100_000
    )
    patch_size: tuple[int, ...] | None = setting(
        None, "train on random patches of this shape, predict with a sliding window", least=1, most=100_000
    )
    foreground: float = setting(0.33, "share of the patches that is centred on foreground (nnU-Net)", least=0, most=1)
    spacing: tuple[float, ...] | None = setting(None, "resample volumes to this spacing in mm (D H W)", above=0)
    intensity: str = setting(
        "zscore", "zscore, unit, clip:LOW:HIGH or percentile:LOW:HIGH; one for all channels, or one each with commas"
    )
    crop: bool = setting(
        False, "cut away the border in which every channel is 0, as nnU-Net does; it is predicted as background"
    )
    seed: int = setting(0, "seed of everything random")
    validate_every: int = setting(1, "epochs between validations", least=1)
    keep_last: int = setting(10, "weights of the last epochs that are kept", least=0)
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "where to compute; auto is cuda where there is one")
    devices: int = setting(1, "processes on each machine, one per device", least=1)
    nodes: int = setting(1, "machines, on which torchrun or srun starts the processes", least=1)
    log_to: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = setting(
        ("tensorboard",), "trackers beside metrics.jsonl, all offline: tensorboard, mlflow, wandb, several of them, or none"
    )
    patience: int | None = setting(
        None,
        "stop after so many epochs without a better validation, by the labels as given; schedules run as for all epochs",
        least=1,
    )

    @property
    def processes(self) -> int:
        """Processes that compute, on all machines together."""
        return self.nodes * self.devices

    def conflicts(self) -> Iterator[DataError]:
        """Batches that are too small for what they must hold, and what contradicts itself in the preparation of images."""
        if self.trusted_per_batch is not None and not self.trusted_per_batch < self.batch_size:
            problem = f"{self.trusted_per_batch} is not less than `batch_size` {self.batch_size}"
            yield DataError("`trusted_per_batch`", problem, "Leave room for the other cases.")
        if self.batch_size < self.processes:
            problem = f"{self.batch_size} is less than `devices` {self.devices}"
            if self.nodes > 1:
                problem += f" on each of `nodes` {self.nodes}"
            yield DataError("`batch_size`", problem, "Give every process a case.")
        if (self.architecture is None) != (self.network != "plans"):
            problem = (
                "is plans, and no `plans` describe it" if self.architecture is None else "is not the one of `architecture`"
            )
            yield DataError("`network`", problem, "Give `plans` and a `configuration`, or neither.")
        preparation = Preparation(image_size=self.image_size, spacing=self.spacing, intensity=self.intensity)
        yield from preparation.conflicts()


@dataclass(frozen=True, kw_only=True)
class ClassTrainConfig(TrainConfig):
    """The settings of ``fit`` for classification: those of DCD's section 4.2, but for the number of
    epochs and the schedule (there some 350, with a tenth of the learning rate after every 120)."""

    batch_size: int = setting(64, "images in a batch, of all processes together (DCD, section 4.2)", least=1)
    learning_rate: float = setting(0.02, "the first learning rate (DCD, section 4.2)", above=0)
    weight_decay: float = setting(5e-4, "weight decay of the optimiser (DCD, section 4.2)", least=0)
    clip: float | None = setting(None, "largest gradient norm, or none", above=0)
    network: str = setting("preact-resnet18", "cnn, preact-resnet18, resnet50, or package.module:constructor")
    width: int = setting(16, "16 is preact-resnet18 and resnet50 as published, 64 channels at first", least=1, most=4096)
