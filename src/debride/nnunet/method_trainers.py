"""Trainers of methods that are more than a loss: debride's own, on nnU-Net's networks, batches and loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA
from torch import nn

from debride.methods.base import Method
from debride.methods.meta_dcseg import MetaDCSeg
from debride.nnunet.adapter import MethodNetwork
from debride.nnunet.lower_scales import CoTeachingScales, GSDNetScales, JoCoRScales, SelfCleansingScales
from debride.nnunet.nnunet_run import NNUNetRun, Parts
from debride.nnunet.pixel_state import PixelState, PreprocessedCases
from debride.nnunet.placed_trainer import EachCaseLoader, PlacedTrainer
from debride.nnunet.preprocessed_maps import PreprocessedMaps
from debride.nnunet.trainer_base import DEVICE
from debride.nnunet.trusted_cases import trusted_cases
from debride.settings import setting
from debride.types import DataError

MAPS = "debride_maps"
"""Where distances and superpixels of preprocessed cases are kept, in the data set's folder of these."""


class MethodTrainer(PlacedTrainer):
    """nnU-Net's loop around a ``method`` of debride's. ``network`` is the method's networks, built by nnU-Net's plans.

    nnU-Net keeps its optimiser, schedule, batches and validation. Its deep supervision is off, since a method gives one loss;
    ``lower_scales`` has what takes its place. Raises DataError for regions, cascades and several GPUs.
    """

    READS = frozenset({"trusted"})
    method: ClassVar[type[Method]]

    def __init__(
        self, plans: dict[str, Any], configuration: str, fold: int, dataset_json: dict[str, Any], device: torch.device = DEVICE
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.enable_deep_supervision = False
        refused = {
            "regions": (self.label_manager.has_regions, "Train with GCE, SCE or T-Loss, which have sigmoid heads."),
            "a cascade's second stage": (self.is_cascaded, "Train its first stage so, or 3d_fullres."),
            "several GPUs": (self.is_ddp, "Train with -num_gpus 1."),
        }
        for what, (there, remedy) in refused.items():
            if there:
                raise DataError(type(self).__name__, f"does not train {what}", remedy)
        self._kept: dict[str, Any] = {}
        self.run_of_method: NNUNetRun | None = None

    @classmethod
    def build_network_architecture(
        cls, plans_manager: Any, configuration_manager: Any, inputs: int, outputs: int, enable_deep_supervision: bool = True
    ) -> nn.Module:
        """The method's networks, each as the plans describe it; without deep supervision, which nnU-Net's trainer would see
        to."""
        return MethodNetwork(
            cls.method,
            lambda: nnUNetTrainer.build_network_architecture(
                plans_manager, configuration_manager, inputs, outputs, enable_deep_supervision=False
            ),
            outputs,
        )

    def initialize(self) -> None:
        """Builds all that nnU-Net does, and gives the method its settings."""
        super().initialize()
        self.network.configure(self.config)
        self.network.method.to(self.device)

    def _do_i_compile(self) -> bool:
        """No: a method reads features and lower scales, which compiled code has not."""
        return False

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Nothing: the networks give one scale, and a method's step sees to the others."""

    def started(self, training: Any) -> Any:
        """Makes what the method keeps and asks of data, and goes on from a checkpoint's."""
        if asdict(self.network.method.config) != asdict(self.config):
            self.network.configure(self.config)  # pretrained weights brought the settings of their training
        method, output = self.network.method.to(self.device), Path(self.output_folder)
        patch = tuple(self.configuration_manager.patch_size)
        cases = PreprocessedCases(training, len(patch) == 2, self.label_manager.ignore_label)
        trusted = trusted_cases(self.environment.trusted, training.identifiers, self._all_cases(), self.print_to_log_file)
        if "trusted" in method.paper.needs and not trusted:
            remedy = "Give DEBRIDE_NNUNET_TRUSTED, a text file with the ids of cases whose labels were verified, one a line."
            raise DataError(type(self).__name__, "needs trusted cases among the training cases", remedy)
        state = PixelState(method.fields(), cases, output)
        parts = Parts(
            method,
            self.optimizer,
            self.grad_scaler,
            self.device,
            cases,
            state,
            self._maps(method, cases),
            patch,
            self.label_manager.ignore_label,
            cases.rows_of(trusted),
            lambda size: self._trusted_batches(trusted, size),
        )
        seed = self.environment.seed
        run = NNUNetRun(parts, self.num_epochs, int.from_bytes(np.random.bytes(7)) if seed is None else seed)  # noqa: NPY002
        if self._kept:
            method.load_state_dict(self._kept["buffers"], strict=False)
            state.restore(self._kept["state"])
        self._count(run)
        self.run_of_method = run
        phase = run.plan()
        chosen = phase.streams[0].cases
        if chosen is None:
            return training
        keys = sorted({cases.keys[row] for row in chosen})
        return self.dataset_class(self.preprocessed_dataset_folder, keys)

    def on_train_epoch_start(self) -> None:
        """Begins the method's epoch after nnU-Net's."""
        super().on_train_epoch_start()
        run = self._count(self._run())
        method = run.parts.method
        method.train()
        method.start_epoch(run)
        run.looks = run.plan().looks

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The method's step on a batch of nnU-Net's."""
        return {"loss": self._run().train(batch).cpu().numpy()}

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        """Ends the method's epoch, and logs what it recorded."""
        super().on_train_epoch_end(train_outputs)
        run = self._run()
        run.parts.method.end_epoch(run)
        means = run.epoch_means()
        if means:
            self.print_to_log_file(", ".join(f"{name} {mean:.4f}" for name, mean in sorted(means.items())))

    def on_train_end(self) -> None:
        """Ends the training, and removes what only a training needs."""
        super().on_train_end()
        self._run().parts.state.drop()

    def kept(self) -> dict[str, Any]:
        """The method's buffers, and the name of its label state, which is saved here."""
        run = self._run()
        name = f"epoch-{self.current_epoch + 1}"
        run.parts.state.save(name)
        networks = tuple(f"{network}." for network in self.network.networks)
        state = run.parts.method.state_dict()
        return {"buffers": {key: value for key, value in state.items() if not key.startswith(networks)}, "state": name}

    def take(self, kept: dict[str, Any]) -> None:
        """Remembers them until the training cases are known."""
        self._kept = kept

    def _run(self) -> NNUNetRun:
        assert self.run_of_method is not None  # made with the first batch
        return self.run_of_method

    def _count(self, run: NNUNetRun) -> NNUNetRun:
        run.epoch = self.current_epoch
        run.step = self.current_epoch * self.num_iterations_per_epoch
        return run

    def _all_cases(self) -> list[str]:
        identifiers: list[str] = self.dataset_class.get_identifiers(self.preprocessed_dataset_folder)
        return identifiers

    def _maps(self, method: Method, cases: PreprocessedCases) -> PreprocessedMaps:
        maps, number = method.maps(), len(cases)
        if maps:
            self.print_to_log_file(f"Making {' and '.join(maps)} of {number} {'slices' if cases.flat else 'cases'}.")

        def say(done: int) -> None:
            if done == number or done % max(1, number // 10) == 0:
                self.print_to_log_file(f"{done} of {number} made")

        spacing = tuple(float(mm) for mm in self.configuration_manager.spacing)
        return PreprocessedMaps(maps, cases, spacing, Path(self.preprocessed_dataset_folder_base) / MAPS, say)

    def _trusted_batches(self, trusted: list[str], size: int) -> Iterator[Mapping[str, Any]]:
        """Batches of trusted cases, by a process beside those of the others."""
        cases = self.dataset_class(self.preprocessed_dataset_folder, list(trusted))
        loader = self.training_loader(cases, size, EachCaseLoader)
        self.print_to_log_file(f"Looks ahead at {size} patches of {len(trusted)} trusted cases.")
        return self.in_background(loader, min(2, get_allowed_n_proc_DA()))


class nnUNetTrainerDebrideCoTeaching(MethodTrainer):  # noqa: N801 (as nnU-Net calls its own)
    """Co-teaching (Han et al., NeurIPS 2018)."""

    method, Config = CoTeachingScales, CoTeachingScales.Config


class nnUNetTrainerDebrideJoCoR(MethodTrainer):  # noqa: N801
    """JoCoR (Wei et al., CVPR 2020)."""

    method, Config = JoCoRScales, JoCoRScales.Config


class nnUNetTrainerDebrideGSDNet(MethodTrainer):  # noqa: N801
    """GSD-Net (Wang et al., 2026)."""

    method, Config = GSDNetScales, GSDNetScales.Config


class nnUNetTrainerDebrideSelfCleansing(MethodTrainer):  # noqa: N801
    """Deep Self-cleansing (Dong et al., 2024)."""

    method, Config = SelfCleansingScales, SelfCleansingScales.Config


@dataclass(frozen=True, kw_only=True)
class PatchLookAhead(MetaDCSeg.Config):
    """MetaDCSeg's settings, with few trusted patches in a look-ahead: patches of nnU-Net's fill a GPU."""

    trusted_batch: int = setting(2, "Trusted patches of a look-ahead (2 in MetaDCSeg's Table 8)", least=1)
    few: int = setting(0, "Trusted cases up to which each look-ahead takes a patch of all of them", least=0)


class nnUNetTrainerDebrideMetaDCSeg(MethodTrainer):  # noqa: N801
    """MetaDCSeg (Mu et al., 2025), without lower scales."""

    method, Config = MetaDCSeg, PatchLookAhead
