"""What audits train where no predictions are given, by the settings of the command line."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from debride.api.given import read_config
from debride.audit import AuditConfig
from debride.cli.options import given_settings, trust_of
from debride.settings import from_mapping
from debride.types import Dataset

if TYPE_CHECKING:
    from debride.training.job import Job


def cross_validation_job(arguments: argparse.Namespace, dataset: Dataset, config: AuditConfig) -> Job:
    """The training of a cross-validation, for the task of the data set; with ``--verify`` its sources are read anew."""
    from debride.data.cache import cache_folder
    from debride.data.source_hashes import forget
    from debride.methods import find_method
    from debride.training.job import Job
    from debride.training.task import TASKS

    if arguments.verify:
        forget(cache_folder(dataset.root, arguments.cache), dataset.root)
    task, sections = TASKS[dataset.task], read_config(arguments.config)
    given = given_settings(arguments, task.config, dest="train_")
    method = find_method(arguments.method, "--method")
    training = {"log_to": (), "keep_last": 1, **sections.get("training", {}), **given, "seed": config.seed}
    setup = from_mapping(task.config, training, f"{arguments.config}: training")
    trust_of(arguments, given.get("network")).admit(setup.network, f"{arguments.config}: training: network", "--network")
    return Job(
        dataset=dataset,
        method=arguments.method,
        method_config=from_mapping(method.Config, sections.get("method", {}), f"{arguments.config}: method"),
        config=setup,
        augmentation=from_mapping(task.augmentation, sections.get("augmentation", {}), f"{arguments.config}: augmentation"),
        out=arguments.out / "cross-validation",
        cache=arguments.cache,
    )
