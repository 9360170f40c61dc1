"""What all of debride's trainers are: nnU-Net's, with settings by the environment and checkpoints that a kill leaves whole."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from debride.files import atomic_path, read_json, write_json
from debride.nnunet.environment import PREFIX, Environment, differences, read_environment, read_settings
from debride.nnunet.trainer_table import NoSettings
from debride.records import read_as
from debride.rng import derive
from debride.settings import from_mapping
from debride.types import DataError

DEVICE = torch.device("cuda")

BEST, LATEST = "checkpoint_best.pth", "checkpoint_latest.pth"

BEGAN = "debride.json"
"""The file beside checkpoints with what a training began with."""

KEPT = "debride"
"""What a checkpoint holds besides nnU-Net's own, among the arguments of the trainer, which nnU-Net gives back as they are."""


@dataclass(frozen=True)
class Began:
    """What ``BEGAN`` holds: the settings of the trainer, and the ``Environment``."""

    settings: dict[str, Any]
    environment: dict[str, Any]


class DebrideTrainer(nnUNetTrainer):
    """nnU-Net's trainer, with what ``Environment`` says. A subclass has ``Config``, its settings, as ``self.config``."""

    Config: ClassVar[type[Any]] = NoSettings
    num_epochs: int
    num_iterations_per_epoch: int
    num_val_iterations_per_epoch: int
    save_every: int
    dataset_class: Any
    my_init_kwargs: dict[str, Any]

    CHECKPOINTS: ClassVar[int] = 20
    """A training writes its latest checkpoint at least so many times, and every 50 epochs as nnU-Net does."""

    READS: ClassVar[frozenset[str]] = frozenset()
    """Which of "weights" and "trusted" of the environment have a part in the training."""

    def __init__(
        self, plans: dict[str, Any], configuration: str, fold: int, dataset_json: dict[str, Any], device: torch.device = DEVICE
    ) -> None:
        self.environment = read_environment()
        self.config: Any = read_settings(self.Config, self.environment.settings)
        if self.environment.weights is not None and "weights" not in self.READS:
            remedy = f"Train with Weighted, GCE or SCE, or leave out {PREFIX}WEIGHTS."
            raise DataError(type(self).__name__, "reads no maps of weights", remedy)
        super().__init__(plans, configuration, fold, dataset_json, device)
        given = self.environment
        self.num_epochs = given.epochs or self.num_epochs
        self.num_iterations_per_epoch = given.iterations or self.num_iterations_per_epoch
        self.num_val_iterations_per_epoch = given.val_iterations or self.num_val_iterations_per_epoch
        self.save_every = max(1, min(self.save_every, self.num_epochs // self.CHECKPOINTS))
        self.seed_for("weights")
        own = {name: value for name, value in (asdict(self.config) | asdict(given)).items() if value not in (None, "")}
        own.pop("settings", None)
        self.print_to_log_file(f"{type(self).__name__}: {', '.join(f'{name} = {own[name]}' for name in own)}")
        if given.trusted is not None and "trusted" not in self.READS:
            self.print_to_log_file(f"{PREFIX}TRUSTED has no part in this training: all cases are alike.")

    def seed_for(self, *purpose: int | str) -> None:
        """With a seed, starts the generators of torch and NumPy anew for a purpose, other ones in each process."""
        if self.environment.seed is not None:
            seed = derive(self.environment.seed, *purpose, *([self.local_rank] if self.local_rank else []))
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002 (the generator that nnU-Net draws from)

    def on_train_epoch_start(self) -> None:
        """Seeds the epoch, so that a continued training draws what an uninterrupted one does."""
        super().on_train_epoch_start()
        self.seed_for("epoch", self.current_epoch)

    def kept(self) -> dict[str, Any]:
        """What a checkpoint must hold besides nnU-Net's own (``KEPT``); what lies beside it is saved here."""
        return {}

    def take(self, kept: dict[str, Any]) -> None:
        """Goes on from what ``kept`` gave."""

    def save_checkpoint(self, filename: str) -> None:
        """Writes a checkpoint that is whole or not there, on which a kill has no influence.

        The best one is the latest one too where something is ``kept``: of what lies beside checkpoints the last two are whole.
        """
        if self.local_rank or self.disable_checkpointing:
            super().save_checkpoint(filename)
            return
        file, kept = Path(filename), self.kept()
        self.my_init_kwargs[KEPT] = kept
        write_json(file.with_name(BEGAN), asdict(Began(asdict(self.config), asdict(self.environment))))
        with atomic_path(file) as path:
            super().save_checkpoint(str(path))
        if kept and file.name == BEST:
            with atomic_path(file.with_name(LATEST)) as path:
                shutil.copyfile(file, path)

    def load_checkpoint(self, filename_or_checkpoint: str) -> None:
        """Goes on from a checkpoint, with the settings that its training had."""
        file = Path(filename_or_checkpoint).with_name(BEGAN)
        if file.is_file() and not self.was_initialized:
            self.begin_as(file)
        super().load_checkpoint(filename_or_checkpoint)
        self.take(self.my_init_kwargs[KEPT])

    def begin_as(self, file: Path) -> None:
        """Takes the settings of a training that goes on, and says what else of the environment is other than it was."""
        began = read_as(Began, read_json(file), file, "Restore it, or remove it and give the variables that it began with.")
        config = from_mapping(self.Config, began.settings, file)
        if config != self.config:
            self.print_to_log_file(f"Settings are those that the training began with: {config}")
            self.config = config
        given = {name: value for name, value in began.environment.items() if value is not None}
        for change in differences(from_mapping(Environment, given, file), self.environment):
            self.print_to_log_file(f"WARNING: {change}")
