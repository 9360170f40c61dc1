"""What there is for nnU-Net: each trainer, what it needs, and its settings. Nothing of nnU-Net or torch is imported here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from debride.methods.table import SettingRow, read_table, setting_rows
from debride.settings import setting

DICE = "Weight of nnU-Net's Dice beside it"


@dataclass(frozen=True, kw_only=True)
class GCESettings:
    """Of generalized cross-entropy."""

    q: float = setting(0.7, "From cross-entropy, near 0, to the mean absolute error, at 1", above=0, most=1)
    dice: float = setting(1.0, DICE, least=0, paper=0.0)


@dataclass(frozen=True, kw_only=True)
class SCESettings:
    """Of symmetric cross-entropy."""

    alpha: float = setting(0.1, "Weight of cross-entropy", least=0)
    beta: float = setting(1.0, "Weight of reverse cross-entropy", least=0)
    log_zero: float = setting(-4.0, "What stands for log 0 in reverse cross-entropy", below=0)
    dice: float = setting(1.0, DICE, least=0, paper=0.0)


@dataclass(frozen=True, kw_only=True)
class TLossSettings:
    """Of T-Loss."""

    log_nu: float = setting(1.0, "Logarithm of the degrees of freedom at the start")
    dice: float = setting(5.0, DICE, least=0, paper=0.0)


@dataclass(frozen=True, kw_only=True)
class ELRSettings:
    """Of early-learning regularisation."""

    weight: float = setting(3.0, "Weight of the penalty, lambda", least=0)
    beta: float = setting(0.7, "Of the running mean of predictions", least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class NoSettings:
    """Of a trainer without any."""


@dataclass(frozen=True, kw_only=True)
class TrainerRow:
    """A trainer: its name, what it does, what it needs besides images and labels, and how its settings are found."""

    name: str
    about: str
    needs: str
    settings: Callable[[], tuple[SettingRow, ...]]


def of_class(name: str, about: str, settings: type[Any], needs: str = "nothing") -> TrainerRow:
    """A trainer with a class of settings."""
    return TrainerRow(name=name, about=about, needs=needs, settings=partial(setting_rows, settings))


def of_method(name: str, method: str, about: str, needs: str = "nothing", **defaults: str) -> TrainerRow:
    """A trainer with the settings of a method, some of them with other ``defaults``."""

    def settings() -> tuple[SettingRow, ...]:
        rows = read_table().methods[method].settings
        return tuple(replace(row, default=defaults.get(row.name, row.default)) for row in rows)

    return TrainerRow(name=name, about=about, needs=needs, settings=settings)


TRAINERS = (
    of_class("nnUNetTrainerDebride", "nnU-Net's own training, to measure others against with one budget and seed", NoSettings),
    of_class("nnUNetTrainerDebrideGCE", "generalized cross-entropy in the place of cross-entropy", GCESettings),
    of_class("nnUNetTrainerDebrideSCE", "symmetric cross-entropy in the place of cross-entropy", SCESettings),
    of_class("nnUNetTrainerDebrideTLoss", "T-Loss in the place of cross-entropy", TLossSettings),
    of_class(
        "nnUNetTrainerDebrideELR",
        "nnU-Net's own loss, and predictions held to what they were of each pixel (early-learning regularisation)",
        ELRSettings,
    ),
    of_class(
        "nnUNetTrainerDebrideWeighted",
        "nnU-Net's own loss, each pixel weighed by the maps of `debride repair --to weights`",
        NoSettings,
        "maps in weightsTr of the raw data set, or DEBRIDE_NNUNET_WEIGHTS",
    ),
    of_method("nnUNetTrainerDebrideCoTeaching", "co-teaching", "two networks, each learns from what the other finds easy"),
    of_method("nnUNetTrainerDebrideJoCoR", "jocor", "two networks that must agree, and learn from small losses"),
    of_method("nnUNetTrainerDebrideGSDNet", "gsd-net", "JoCoR with distances, labels refined by superpixels, moved regions"),
    of_method("nnUNetTrainerDebrideSelfCleansing", "self-cleansing", "labels that are fitted badly are made anew"),
    of_method(
        "nnUNetTrainerDebrideMetaDCSeg",
        "meta-dcseg",
        "a weight for each pixel, learnt by looking ahead at trusted cases",
        "trusted cases: DEBRIDE_NNUNET_TRUSTED",
        trusted_batch="2",
        few="0",
    ),
)
"""In the order in which they are listed."""


def shown_trainers() -> str:
    """The trainers as text, each with its settings."""
    lines = ["Trainers for nnU-Net (`export nnUNet_extTrainer=$(debride nnunet-path)`, then `nnUNetv2_train ... -tr NAME`)"]
    for row in TRAINERS:
        lines.append(f"\n{row.name}: {row.about}\n  needs {row.needs}")
        for each in row.settings():
            notes = [note for note in (each.range, f"paper: {each.paper}" if each.paper else "") if note]
            limits = f" ({'; '.join(notes)})" if notes else ""
            lines.append(f"  {f'{each.name}={each.default}':24} {each.about}{limits}")
    lines.append('\nSettings are given as DEBRIDE_NNUNET_SETTINGS="NAME=VALUE NAME=VALUE".')
    return "\n".join(lines)
