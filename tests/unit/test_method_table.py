"""The table that ``debride methods`` prints is what the code says."""

import dataclasses
from pathlib import Path

import pytest
from tests.training_jobs import TEST_METHODS

from debride.methods import METHODS
from debride.methods.table import FILE, make_table, read_table, write_table


@pytest.fixture(autouse=True)
def only_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The methods that other tests add are not in the table."""
    for name in TEST_METHODS:
        if name in METHODS:
            monkeypatch.delitem(METHODS, name)


def test_the_table_is_what_the_code_says(tmp_path: Path) -> None:
    write_table(make_table(), tmp_path / "table.json")
    same = (tmp_path / "table.json").read_text() == FILE.read_text()
    assert same, "a method or noise changed: write the table anew by `python -m debride.methods.table`"
    assert read_table() == make_table()


def test_the_table_has_every_setting_with_its_range() -> None:
    method = read_table().methods["co-teaching"]
    settings = {setting.name: setting for setting in method.settings}
    assert list(settings) == [field.name for field in dataclasses.fields(METHODS["co-teaching"].Config)]
    assert method.title == METHODS["co-teaching"].paper.title and method.needs == ("noise_rate",)
    assert settings["noise_rate"].flag == "--noise-rate" and settings["noise_rate"].range and settings["noise_rate"].about
    assert read_table().methods["ce"].settings[2].range == "all, trusted, others"
