"""Settings that a function is given by name: sorted by what they set up, read as their types, and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from debride.api.checked import did_you_mean, one_of
from debride.api.datasets import Folder
from debride.settings import from_mapping, paper_values, read_setting
from debride.types import DataError

if TYPE_CHECKING:
    from debride.methods.base import Method
    from debride.training.config import TrainConfig

T = TypeVar("T")

SECTIONS = ("training", "augmentation", "method")
"""What the settings of a training are of, and the sections of a configuration file."""

AUGMENT = "augment_"
"""What the names of settings of the augmentation begin with, where they stand among others."""


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of a training, of the classes that task and method have."""

    training: TrainConfig
    augmentation: Any
    method: Any


def read_config(file: Folder | None) -> dict[str, dict[str, Any]]:
    """The sections training, augmentation and method of a configuration file, those that it has; none without a file."""
    if file is None:
        return {}
    from debride.files import read_yaml

    sections = read_yaml(Path(file))
    if not isinstance(sections, dict) or not all(isinstance(section, dict) for section in sections.values()):
        raise DataError(
            file, "is not a YAML mapping of sections", "Write training:, augmentation:, method:, each with its settings below."
        )
    unknown = set(sections) - set(SECTIONS)
    if unknown:
        names = ", ".join(sorted(map(str, unknown)))
        raise DataError(file, f"has the unknown section {names}", "Use training, augmentation and method.")
    return sections


def sorted_settings(
    given: Mapping[str, Any], task: str, method: type[Method] | None, name: str, taken: Iterable[str] = ()
) -> dict[str, dict[str, Any]]:
    """Settings by section: those of a training for the task, of its augmentation as "augment_NAME", and of the method, which
    messages call by its ``name``.

    Raises DataError for a setting that there is not, for one of another task, and where a setting of the method has a name that
    is ``taken``.
    """
    from debride.data.augmentation import AUGMENTATIONS
    from debride.training.task import TASKS

    training = names_of(TASKS[task].config)
    own = names_of(method.Config) if method else []
    if clash := next((setting for setting in own if setting in {*training, *taken}), None):
        raise DataError(f"method {name}", f"has a setting of a name that is taken ({clash})", "Rename it.")
    augmentations = {of: [AUGMENT + setting for setting in names_of(cls)] for of, cls in AUGMENTATIONS.items()}
    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for setting, value in given.items():
        if setting in training:
            sections["training"][setting] = value
        elif setting in augmentations[task]:
            sections["augmentation"][setting.removeprefix(AUGMENT)] = value
        elif setting in own:
            sections["method"][setting] = value
        elif other := next((of for of, names in augmentations.items() if setting in names), None):
            raise DataError(f"`{setting}`", f"is for {other}, and the data set is for {task}", "Leave it out.")
        else:
            raise unknown_setting(setting, [*training, *augmentations[task], *own, *taken], name)
    return sections


def unknown_setting(setting: str, known: Iterable[str], name: str = "") -> DataError:
    """What is wrong with a setting that there is not: the names that are like it."""
    of = f"; `debride methods {name}` lists those of the method" if name else ""
    return DataError(f"`{setting}`", "is no setting", did_you_mean(setting, known) or f"Check its name{of}.")


def training_settings(
    sections: Mapping[str, Mapping[str, Any]],
    given: Mapping[str, Mapping[str, Any]],
    task: str,
    method: type[Method],
    *,
    preset: str = "default",
    config: Folder | None = None,
) -> TrainingSettings:
    """Defaults, then the preset, then the sections of the file ``config``, then what is ``given`` by section.

    Raises DataError, naming the file or the setting, for what cannot be.
    """
    from debride.training.task import TASKS

    one_of("preset", preset, ("default", "paper"))
    classes = {"training": TASKS[task].config, "augmentation": TASKS[task].augmentation, "method": method.Config}
    first = {"method": paper_values(method.Config)} if preset == "paper" else {}
    return TrainingSettings(
        **{
            section: from_mapping(
                cls,
                {**first.get(section, {}), **sections.get(section, {}), **given[section]},
                f"{config}: {section}",
                {setting: f"`{AUGMENT if section == 'augmentation' else ''}{setting}`" for setting in given[section]},
            )
            for section, cls in classes.items()
        }
    )


def names_of(cls: type[Any]) -> list[str]:
    """The names of the settings of a class."""
    return [field.name for field in dataclasses.fields(cls)]


def converted(cls: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Some settings of a class as their types; DataError for one that is out of its bounds."""
    fields, hints = {field.name: field for field in dataclasses.fields(cls)}, get_type_hints(cls)
    return {name: read_setting(value, fields[name], hints[name], f"`{name}`") for name, value in given.items()}


def read_settings(cls: type[T], given: Mapping[str, Any]) -> T:
    """Settings of one class from what is given by name; DataError, with the names that are like it, for one that it has not."""
    if unknown := [name for name in given if name not in names_of(cls)]:
        raise unknown_setting(unknown[0], names_of(cls))
    return from_mapping(cls, given, "settings", {name: f"`{name}`" for name in given})
