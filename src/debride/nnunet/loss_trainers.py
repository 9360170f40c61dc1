"""Trainers that are nnU-Net's with another loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from nnunetv2.paths import nnUNet_raw
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch import Tensor, distributed, nn

from debride.losses.loss_base import LabelLoss, Options
from debride.losses.pixel_modules import GeneralizedCrossEntropyLoss, SymmetricCrossEntropyLoss
from debride.losses.region_modules import TLoss
from debride.nnunet.pixel_weights import PixelWeights, read_weights
from debride.nnunet.placed_trainer import Batches, PlacedTrainer
from debride.nnunet.places import Places
from debride.nnunet.robust_losses import CrossEntropyLoss, LossBesideDice, with_weights
from debride.nnunet.trainer_base import DebrideTrainer
from debride.nnunet.trainer_table import GCESettings, SCESettings, TLossSettings
from debride.types import DataError


class LossTrainer(PlacedTrainer, ABC):
    """nnU-Net's trainer with a robust loss in the place of cross-entropy, in each of nnU-Net's scales.

    Where DEBRIDE_NNUNET_WEIGHTS names a folder of maps, pixels in training count as these say. In validation all count.
    """

    READS = frozenset({"weights"})
    pixel_weights: PixelWeights | None = None

    @property
    def weighed(self) -> bool:
        """Whether pixels have weights."""
        return self.environment.weights is not None

    @abstractmethod
    def make_robust(self, options: Options) -> LabelLoss:
        """The loss of one scale, with these options."""

    def _build_loss(self) -> Any:
        stock = super()._build_loss()
        if isinstance(stock, DeepSupervisionWrapper):
            stock.loss = self.beside_dice(stock.loss.dc)
            return stock
        return self.beside_dice(stock.dc)

    def beside_dice(self, dice: nn.Module, scale: float = 1.0) -> LossBesideDice:
        """The robust loss beside nnU-Net's Dice."""
        labels = self.label_manager
        options: Options = {"reduction": "none"} if self.weighed else {}
        robust = self.make_robust({**options, "sigmoid": True} if labels.has_regions else options)
        weight = getattr(self.config, "dice", 1.0)
        return LossBesideDice(robust, dice, weight, regions=labels.has_regions, ignore=labels.ignore_label, scale=scale)

    def get_dataloaders(self) -> tuple[Batches, Batches]:
        """nnU-Net's, whose batches know their places if pixels have weights."""
        return super().get_dataloaders() if self.weighed else DebrideTrainer.get_dataloaders(self)

    def started(self, training: Any) -> Any:
        """Reads the maps of weights."""
        given = self.environment.weights
        if given is None and not nnUNet_raw.is_set():
            raise DataError("nnUNet_raw", "is not set, where maps of weights lie", "Set it, or DEBRIDE_NNUNET_WEIGHTS.")
        folder = Path(nnUNet_raw) / self.plans_manager.dataset_name / "weightsTr" if given is None else Path(given)
        configuration = self.configuration_manager
        cache = Path(self.preprocessed_dataset_folder_base) / "debride_weights" / configuration.data_identifier
        ending, plans, say = self.dataset_json["file_ending"], self.plans_manager, self.print_to_log_file
        self.pixel_weights = read_weights(folder, ending, plans, configuration, training, cache, say)
        return training

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's step, with the weights of pixels as one more channel of the target."""
        if self.pixel_weights is not None:
            weights, target = self.pixel_weights.at(Places.of(batch), self.device), batch["target"]
            scales = target if isinstance(target, list) else [target]
            joined = [with_weights(each.to(self.device), weights) for each in scales]
            batch = {**batch, "target": joined if isinstance(target, list) else joined[0]}
        result: dict[str, Any] = super().train_step(batch)
        return result


class nnUNetTrainerDebride(DebrideTrainer):  # noqa: N801 (as nnU-Net calls its own)
    """nnU-Net's own training, with what the environment sets: what the others are measured against."""


class nnUNetTrainerDebrideGCE(LossTrainer):  # noqa: N801
    """Generalized cross-entropy in the place of cross-entropy (Zhang & Sabuncu, NeurIPS 2018)."""

    Config = GCESettings

    def make_robust(self, options: Options) -> LabelLoss:
        """The loss of one scale."""
        return GeneralizedCrossEntropyLoss(self.config.q, **options)


class nnUNetTrainerDebrideSCE(LossTrainer):  # noqa: N801
    """Symmetric cross-entropy in the place of cross-entropy (Wang et al., ICCV 2019)."""

    Config = SCESettings

    def make_robust(self, options: Options) -> LabelLoss:
        """The loss of one scale."""
        return SymmetricCrossEntropyLoss(self.config.alpha, self.config.beta, self.config.log_zero, **options)


class nnUNetTrainerDebrideTLoss(LossTrainer):  # noqa: N801
    """T-Loss in the place of cross-entropy (Gonzalez-Jimenez et al., MICCAI 2023).

    All scales share the degrees of freedom, which are learnt with the optimiser and the rate of the weights.
    """

    Config = TLossSettings
    READS = frozenset()  # it has one error for an image

    def make_robust(self, options: Options) -> LabelLoss:
        """The loss, whose parameter the optimiser gets."""
        self.t_loss = TLoss(**options).to(self.device)
        with torch.no_grad():
            self.t_loss.log_nu.fill_(self.config.log_nu)
        self.optimizer.add_param_group({"params": [self.t_loss.log_nu], "weight_decay": 0.0})
        if self.is_ddp:
            self.optimizer.register_step_pre_hook(self.share_slope)
        return self.t_loss

    def share_slope(self, *_: Any) -> None:
        """Averages the slope of the degrees of freedom over the processes: they are in no network that nnU-Net shares."""
        slope = self.t_loss.log_nu.grad
        if isinstance(slope, Tensor):
            distributed.all_reduce(slope)
            slope /= distributed.get_world_size()

    def kept(self) -> dict[str, Any]:
        """The degrees of freedom."""
        return {"log_nu": float(self.t_loss.log_nu.detach())}

    def take(self, kept: dict[str, Any]) -> None:
        """Goes on from them."""
        with torch.no_grad():
            self.t_loss.log_nu.fill_(kept["log_nu"])


class nnUNetTrainerDebrideWeighted(LossTrainer):  # noqa: N801
    """nnU-Net's own loss, in which each pixel counts as its map of weights says."""

    weighed = True

    def make_robust(self, options: Options) -> LabelLoss:
        """The loss of one scale."""
        return CrossEntropyLoss(**options)

    def beside_dice(self, dice: nn.Module, scale: float = 1.0) -> LossBesideDice:
        """nnU-Net's Dice and cross-entropy. Its mean over regions with an ignore label is a sum over the regions."""
        labels = self.label_manager
        several = labels.has_regions and labels.ignore_label is not None
        return super().beside_dice(dice, labels.num_segmentation_heads if several else scale)
