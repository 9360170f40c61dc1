"""A trainer whose training batches say where in their cases the patches lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

from debride.nnunet.places import PlacedLoader, keys_without_return
from debride.nnunet.trainer_base import DebrideTrainer

Batches = Iterator[dict[str, Any]]


class EachCaseLoader(PlacedLoader):
    """A loader that takes no case twice into a batch before it has taken every case."""

    def get_indices(self) -> list[str]:
        """The cases of a batch."""
        return keys_without_return(self.indices, self.batch_size)


class PlacedTrainer(DebrideTrainer):
    """nnU-Net's trainer on batches of a ``PlacedLoader``, which are what they were, with their places (``Places.of``).

    ``started`` is called with the training cases before the first batch is made.
    """

    dataset_class: Any

    def started(self, training: Any) -> Any:
        """What is to be done once the training cases (``nnUNetBaseDataset``) are known; returns those to draw batches from."""
        return training

    def get_dataloaders(self) -> tuple[Batches, Batches]:
        """The batches of training and validation."""
        if self.dataset_class is None:
            self.dataset_class = infer_dataset_class(self.preprocessed_dataset_folder)
        patch, labels = self.configuration_manager.patch_size, self.label_manager
        rotation, flat, wide, mirrored = self.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        scales = self._get_deep_supervision_scales()
        kinds = {
            "is_cascaded": self.is_cascaded,
            "foreground_labels": labels.foreground_labels,
            "regions": labels.foreground_regions if labels.has_regions else None,
            "ignore_label": labels.ignore_label,
        }
        masked = self.configuration_manager.use_mask_for_norm
        self._wide = wide
        self._transforms = self.get_training_transforms(
            patch, rotation, scales, mirrored, flat, use_mask_for_norm=masked, **kinds
        )
        training, validation = self.get_tr_and_val_datasets()
        training = self.started(training)
        loader = self.training_loader(training, self.batch_size)
        for name in loader.left_out:
            self.print_to_log_file(f"Trains without {name}: where it puts pixels is not known.")
        plain = nnUNetDataLoader(
            validation,
            self.batch_size,
            patch,
            patch,
            labels,
            oversample_foreground_percent=self.oversample_foreground_percent,
            transforms=self.get_validation_transforms(scales, **kinds),
            probabilistic_oversampling=self.probabilistic_oversampling,
        )
        processes = get_allowed_n_proc_DA()
        return self.in_background(loader, processes), self.in_background(plain, (processes + 1) // 2)

    def training_loader(self, cases: Any, size: int, kind: type[PlacedLoader] = PlacedLoader) -> PlacedLoader:
        """A loader of batches of a size, augmented as all training batches."""
        return kind(
            cases,
            size,
            self._wide,
            self.configuration_manager.patch_size,
            self.label_manager,
            oversample_foreground_percent=self.oversample_foreground_percent,
            transforms=self._transforms,
            probabilistic_oversampling=self.probabilistic_oversampling,
        )

    def in_background(self, loader: nnUNetDataLoader, processes: int) -> Batches:
        """The batches of a loader by so many processes, which begin at once, or by this one where that is 0."""
        if not processes:
            return SingleThreadedAugmenter(loader, None)  # type: ignore[no-any-return]
        batches: Any = NonDetMultiThreadedAugmenter(
            loader,
            None,
            processes,
            num_cached=max(3, processes // 2),
            pin_memory=self.device.type == "cuda",
            wait_time=0.002,
        )
        next(batches)
        return batches  # type: ignore[no-any-return]
