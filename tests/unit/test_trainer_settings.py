"""What the environment says to debride's trainers, and what the command line says of them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import debride.nnunet
from debride.cli import main
from debride.nnunet import installed
from debride.nnunet.environment import Environment, differences, read_environment, read_settings
from debride.nnunet.trainer_table import TRAINERS, GCESettings
from debride.notes import take_notes
from debride.types import DataError

ROOM = Path(debride.nnunet.__file__).parent


def test_variables_are_settings() -> None:
    given = {"DEBRIDE_NNUNET_EPOCHS": "3", "DEBRIDE_NNUNET_SEED": "0", "DEBRIDE_NNUNET_WEIGHTS": "", "nnUNet_raw": "x"}
    assert read_environment(given) == Environment(epochs=3, seed=0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("DEBRIDE_NNUNET_EPOCH", "3", r"^DEBRIDE_NNUNET_EPOCH: is no variable .* Use DEBRIDE_NNUNET_EPOCHS\.$"),
        ("DEBRIDE_NNUNET_EPOCHS", "0", r"^DEBRIDE_NNUNET_EPOCHS: is 0\. Give a whole number of at least 1"),
        ("DEBRIDE_NNUNET_ITERATIONS", "many", r"^DEBRIDE_NNUNET_ITERATIONS: is 'many'"),
    ],
)
def test_what_is_no_variable_is_refused(name: str, value: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_environment({name: value})


def test_what_a_training_goes_on_without_is_said() -> None:
    before = Environment(epochs=3, seed=1, settings="q=0.4", weights="maps")
    assert differences(before, Environment(epochs=3, seed=2)) == [
        "DEBRIDE_NNUNET_SEED is 2; the training began with 1.",
        "DEBRIDE_NNUNET_WEIGHTS is not set; the training began with maps.",
    ]


def test_settings_are_pairs() -> None:
    assert read_settings(GCESettings, "q=0.4  dice=0") == GCESettings(q=0.4, dice=0.0)
    assert read_settings(GCESettings, "") == GCESettings()
    for text, message in (
        ("q 0.4", "holds 'q'. Write NAME=VALUE"),
        ("q=2", "SETTINGS: q: is 2.0. Give a number above 0 and at most 1"),
        ("p=1", "has no setting 'p'. Known settings: q, dice"),
        ("q=0.3 --q=0.4", "sets q twice"),
    ):
        with pytest.raises(DataError, match=re.escape(message)):
            read_settings(GCESettings, text)


def test_the_table_lists_what_nnunet_finds(capsys: pytest.CaptureFixture[str]) -> None:
    """The module is read, not imported: it needs nnU-Net."""
    tree = ast.parse((ROOM / "ext" / "debride_nnunet_trainers.py").read_text())
    found = {alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert found == {row.name for row in TRAINERS}
    assert main(["methods", "--nnunet"]) == 0
    shown = capsys.readouterr().out
    assert all(row.name in shown and row.about in shown for row in TRAINERS) and "q=0.7" in shown


def test_the_folder_is_all_that_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(installed, "version", lambda name: "2.8.1")
    assert main(["nnunet-path"]) == 0
    folder = Path(capsys.readouterr().out.removesuffix("\n"))
    assert (folder / "debride_nnunet_trainers.py").is_file()
    monkeypatch.setattr(installed, "version", lambda name: "2.7.0")
    assert main(["nnunet-path"]) == 2
    assert "does not look for trainers of others" in capsys.readouterr().err
    monkeypatch.setattr(installed, "version", lambda name: "2.10.0rc1")
    assert installed.trainer_folder() == folder
    assert take_notes() == ["nnunetv2 2.10.0rc1 is newer than 2.8, with which debride's trainers are tested."]


def test_without_nnunet_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise installed.PackageNotFoundError(name)

    monkeypatch.setattr(installed, "version", missing)
    with pytest.raises(DataError, match=re.escape("pip install 'debride[nnunet]'")):
        installed.trainer_folder()
