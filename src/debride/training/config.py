"""How a training is set up: everything that is not the method's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from debride.settings import setting
from debride.types import DataError, Task


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of ``fit``. ``batch_size`` is that of all processes together; sizes and spacings are in array order (D H W).

    With ``patch_size`` the network trains on random patches and predicts with a sliding window; without it, on whole working
    images, which then must share one shape (``image_size`` makes it so). Defaults follow nnU-Net where it has the same setting
    (SGD 0.01, weight decay 3e-5, polynomial schedule, gradient norm 12), with the plain momentum 0.9 that the five papers use.
    """

    epochs: int = setting(100, "passes over the training cases")
    batch_size: int = setting(8, "cases per step, of all processes together")
    trusted_per_batch: int | None = setting(
        None, "trusted cases among them, for methods that ask for both kinds; a sixth by default (4 of 24 in ALC)"
    )
    steps_per_epoch: int | None = setting(
        None, "steps per epoch, for which cases come again; one pass over the cases by default"
    )
    learning_rate: float = setting(0.01, "the first learning rate")
    optimiser: Literal["sgd", "adamw"] = setting("sgd", "the optimiser")
    momentum: float = setting(0.9, "of SGD")
    weight_decay: float = setting(3e-5, "of the optimiser")
    schedule: Literal["constant", "polynomial", "step", "inverse"] = setting(
        "polynomial", "of the learning rate; inverse is 20/(epoch+20)"
    )
    step_epochs: int = setting(50, "epochs between the drops of the step schedule")
    step_factor: float = setting(0.1, "what the step schedule multiplies by")
    clip: float | None = setting(12.0, "largest gradient norm, or none")
    precision: Literal["32", "bf16", "16"] = setting("32", "of the forward passes; 16 and bf16 are mixed precision")
    network: str = setting(
        "unet",
        "unet, unet-small, unet++, residual-unet, vnet; for classification preact-resnet18 (default), cnn, resnet50; or "
        "package.module:constructor",
    )
    width: int = setting(16, "channels at full resolution")
    image_size: tuple[int, ...] | None = setting(None, "resize every image to this shape (H W, or D H W)")
    patch_size: tuple[int, ...] | None = setting(None, "train on random patches of this shape, predict with a sliding window")
    foreground: float = setting(0.33, "share of patches that are centred on foreground (nnU-Net)")
    spacing: tuple[float, ...] | None = setting(None, "resample volumes to this spacing in mm (D H W)")
    intensity: str = setting(
        "zscore", "zscore, unit, clip:LOW:HIGH or percentile:LOW:HIGH; one for all channels, or one each with commas"
    )
    crop: bool = setting(False, "cut away the border in which every channel is 0, as nnU-Net does; background there")
    seed: int = setting(0, "of everything random")
    validate_every: int = setting(1, "epochs between validations")
    keep_last: int = setting(10, "weights of the last epochs that are kept")
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "where to compute; auto is cuda where there is one")
    devices: int = setting(1, "processes, one per device")
    tensorboard: bool = setting(True, "write TensorBoard events beside metrics.jsonl")

    def __post_init__(self) -> None:
        counts = ("epochs", "batch_size", "step_epochs", "validate_every", "devices", "width")
        optional = ("steps_per_epoch", "trusted_per_batch")
        for name in (*counts, *(name for name in optional if getattr(self, name) is not None)):
            if getattr(self, name) < 1:
                raise DataError(
                    f"--{name.replace('_', '-')}", f"is {getattr(self, name)}", "Give a whole number of at least 1."
                )
        for name in ("learning_rate", "step_factor"):
            if not getattr(self, name) > 0:
                raise DataError(f"--{name.replace('_', '-')}", f"is {getattr(self, name)}", "Give a number above 0.")
        for name in ("momentum", "weight_decay", "keep_last"):
            if not getattr(self, name) >= 0:
                raise DataError(f"--{name.replace('_', '-')}", f"is {getattr(self, name)}", "Give a number of at least 0.")
        if not 0 <= self.foreground <= 1:
            raise DataError("--foreground", f"is {self.foreground}", "Give a share from 0 to 1.")
        if self.trusted_per_batch is not None and not self.trusted_per_batch < self.batch_size:
            problem = f"{self.trusted_per_batch} is not less than --batch-size {self.batch_size}"
            raise DataError("--trusted-per-batch", problem, "Leave room for the other cases.")
        if self.clip is not None and not self.clip > 0:
            raise DataError(
                "--clip", f"is {self.clip}", "Give a gradient norm above 0, or none to leave gradients as they are."
            )
        for name in ("image_size", "patch_size", "spacing"):
            values = getattr(self, name)
            if values is not None and not all(value > 0 for value in values):
                raise DataError(f"--{name.replace('_', '-')}", f"is {values}", "Every entry must be above 0.")
        if self.batch_size < self.devices:
            raise DataError(
                "--batch-size", f"{self.batch_size} is less than --devices {self.devices}", "Give every process a case."
            )


@dataclass(frozen=True, kw_only=True)
class ClassTrainConfig(TrainConfig):
    """The settings of ``fit`` for classification: those of DCD's section 4.2, but for the number of
    epochs and the schedule (there some 350, with a tenth of the learning rate after every 120)."""

    batch_size: int = setting(64, "images per step, of all processes together (DCD, section 4.2)")
    learning_rate: float = setting(0.02, "the first learning rate (DCD, section 4.2)")
    weight_decay: float = setting(5e-4, "of the optimiser (DCD, section 4.2)")
    clip: float | None = setting(None, "largest gradient norm, or none")
    network: str = setting("preact-resnet18", "cnn, preact-resnet18, resnet50, or package.module:constructor")
    width: int = setting(16, "16 is preact-resnet18 and resnet50 as published, 64 channels at first")


def config_class(task: Task) -> type[TrainConfig]:
    """The settings of a training for a task."""
    return ClassTrainConfig if task == "classification" else TrainConfig
