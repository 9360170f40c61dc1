"""Early-learning regularisation of pixels inside nnU-Net: what was predicted of each pixel is remembered, where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper

from debride.nnunet.pixel_state import PixelState, PreprocessedCases
from debride.nnunet.placed_trainer import PlacedTrainer
from debride.nnunet.places import Places
from debride.nnunet.robust_losses import RememberedLoss
from debride.nnunet.trainer_base import DEVICE
from debride.nnunet.trainer_table import ELRSettings
from debride.state import Field
from debride.types import DataError
from debride.words import gigabytes

TARGET = "target"


class nnUNetTrainerDebrideELR(PlacedTrainer):  # noqa: N801 (as nnU-Net calls its own)
    """Early-learning regularisation (Liu et al., NeurIPS 2020), with the running mean of predictions kept for each pixel.

    The paper classifies images. Here a pixel is brought up to date where a patch shows it, to what the finest scale predicts;
    turned and zoomed patches give it the mean of what shows it.
    """

    Config = ELRSettings

    def __init__(
        self, plans: dict[str, Any], configuration: str, fold: int, dataset_json: dict[str, Any], device: torch.device = DEVICE
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        for what, there in (("regions", self.label_manager.has_regions), ("several GPUs", self.is_ddp)):
            if there:
                raise DataError(type(self).__name__, f"does not train {what}", "Train with GCE, SCE or T-Loss, or on one GPU.")
        self._state: PixelState | None = None
        self._restored = ""

    def _build_loss(self) -> Any:
        stock = super()._build_loss()
        ignore = self.label_manager.ignore_label
        wrapped = isinstance(stock, DeepSupervisionWrapper)
        self.remembering = RememberedLoss(stock.loss if wrapped else stock, self.config.weight, self.config.beta, ignore)
        if not wrapped:
            return self.remembering
        stock.loss = self.remembering
        return stock

    def started(self, training: Any) -> Any:
        """Makes room for what is remembered, or goes on from a checkpoint's."""
        flat = len(self.configuration_manager.patch_size) == 2
        cases = PreprocessedCases(training, flat, self.label_manager.ignore_label)
        classes = self.label_manager.num_segmentation_heads
        pixels = sum(int(torch.Size(shape).numel()) for shape in cases.shapes)
        self.print_to_log_file(
            f"Remembers predictions in {gigabytes(2 * classes * pixels)}, and as much for each of two copies."
        )
        self._state = PixelState([Field(TARGET, "pixel", (classes,), "float16")], cases, Path(self.output_folder))
        if self._restored:
            self._state.restore(self._restored)
        return training

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's step, held to what is remembered, which is brought up to date first (Eq. 9)."""
        state, places, loss = self._pixels(), Places.of(batch), self.remembering
        loss.before = state.seen(places, self.device)[TARGET]
        try:
            result: dict[str, Any] = super().train_step(batch)
        finally:
            loss.before = None
        rows, inside = state.cases.rows(places), places.warp.inside()
        state.store.add_through(TARGET, rows, places.warp, loss.change, places.origin, shown=inside)
        return result

    def _pixels(self) -> PixelState:
        assert self._state is not None  # made with the first batch
        return self._state

    def kept(self) -> dict[str, Any]:
        """The name of what is remembered, which is saved here."""
        name = f"epoch-{self.current_epoch + 1}"
        self._pixels().save(name)
        return {"remembered": name}

    def take(self, kept: dict[str, Any]) -> None:
        """Goes on from that when training begins."""
        self._restored = kept["remembered"]

    def on_train_end(self) -> None:
        """Ends the training, and removes what only a training needs."""
        super().on_train_end()
        self._pixels().drop()
