"""Trainers that are nnU-Net's with another loss."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch import Tensor, distributed, nn

from debride.losses.loss_base import LabelLoss, Options
from debride.losses.pixel_modules import GeneralizedCrossEntropyLoss, SymmetricCrossEntropyLoss
from debride.losses.region_modules import TLoss
from debride.nnunet.robust_losses import LossBesideDice
from debride.nnunet.trainer_base import DebrideTrainer
from debride.nnunet.trainer_table import GCESettings, SCESettings, TLossSettings


class LossTrainer(DebrideTrainer):
    """nnU-Net's trainer with a robust loss in the place of cross-entropy, in each of nnU-Net's scales."""

    dice: ClassVar[float] = 1.0
    """The weight of nnU-Net's Dice beside it, where there is no setting for that."""

    def make_robust(self, options: Options) -> LabelLoss:
        """The loss of one scale, with these options."""
        raise NotImplementedError

    def _build_loss(self) -> Any:
        stock = super()._build_loss()
        if isinstance(stock, DeepSupervisionWrapper):
            stock.loss = self.beside_dice(stock.loss.dc)
            return stock
        return self.beside_dice(stock.dc)

    def beside_dice(self, dice: nn.Module) -> LossBesideDice:
        """The robust loss beside nnU-Net's Dice."""
        labels = self.label_manager
        robust = self.make_robust({"sigmoid": True} if labels.has_regions else {})
        weight = getattr(self.config, "dice", self.dice)
        return LossBesideDice(robust, dice, weight, regions=labels.has_regions, ignore=labels.ignore_label)


class nnUNetTrainerDebrideGCE(LossTrainer):  # noqa: N801 (as nnU-Net calls its own)
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
    """T-Loss in the place of cross-entropy and Dice (Gonzalez-Jimenez et al., MICCAI 2023).

    All scales share the degrees of freedom, which are learnt with the optimiser and the rate of the weights.
    """

    dice = 0.0

    Config = TLossSettings

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
