"""Settings of debride's trainers by variables of the environment, as nnU-Net takes all that is not on its command line.

This is the one place that reads ``DEBRIDE_NNUNET_*``.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TypeVar

from debride.settings import from_mapping, setting
from debride.types import DataError
from debride.words import listed

T = TypeVar("T")

PREFIX = "DEBRIDE_NNUNET_"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What the variables say; each is called as its field, in capitals, after ``PREFIX``."""

    epochs: int | None = setting(None, "Epochs, instead of nnU-Net's 1000", least=1)
    iterations: int | None = setting(None, "Iterations of an epoch, instead of nnU-Net's 250", least=1)
    val_iterations: int | None = setting(None, "Validation batches after an epoch, instead of nnU-Net's 50", least=1)
    seed: int | None = setting(None, "Makes a training repeatable; nnU-Net's own draws at random", least=0)
    settings: str = setting("", "Settings of the trainer, such as q=0.5 dice=0")
    trusted: str | None = setting(None, "A text file with the ids of trusted cases, one a line")
    weights: str | None = setting(None, "The folder of weight maps, instead of weightsTr in the raw data set")


def read_environment(variables: Mapping[str, str] | None = None) -> Environment:
    """What the variables of the process say, or those that are given.

    Raises DataError for a variable with the prefix that is none of these, and for values that cannot be.
    """
    variables = os.environ if variables is None else variables
    known = {PREFIX + field.name.upper(): field.name for field in fields(Environment)}
    given = {name: value for name, value in sorted(variables.items()) if name.startswith(PREFIX)}
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise DataError(name, "is no variable that debride reads", f"Use {near[0] if near else listed(known)}.")
    values = {known[name]: value for name, value in given.items() if value}
    return from_mapping(Environment, values, "the environment", {known[name]: name for name in given})


def differences(before: Environment, now: Environment) -> list[str]:
    """What a training that goes on finds otherwise than it was, a sentence each; the settings of the trainer are left out."""
    then, today = asdict(before), asdict(now)
    return [
        f"{PREFIX}{name.upper()} is {_shown(today[name])}; the training began with {_shown(then[name])}."
        for name in then
        if name != "settings" and then[name] != today[name]
    ]


def _shown(value: object) -> str:
    return "not set" if value is None else str(value)


def read_settings(cls: type[T], text: str) -> T:
    """The settings ``NAME=VALUE ...`` of a trainer, as its class of them. DataError for what it does not have."""
    where = PREFIX + "SETTINGS"
    values: dict[str, str] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if not equals or not value:
            raise DataError(where, f"holds {word!r}", "Write NAME=VALUE, several of them with blanks between.")
        if (name := name.strip("-").replace("-", "_")) in values:
            raise DataError(where, f"sets {name} twice", "Set it once.")
        values[name] = value
    return from_mapping(cls, values, where)
