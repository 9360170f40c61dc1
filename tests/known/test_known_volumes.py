"""What is known of volumes fits what their converters are."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest
from tests.known_archives import acdc_archive

from debride.known.archive import Archive
from debride.known.facts_volumes import VOLUMES
from debride.known.registry import find_known
from debride.types import DataError


@pytest.mark.parametrize("known", VOLUMES, ids=lambda known: known.name)
def test_every_set_has_its_converter_which_asks_for_its_options_alone(known):
    module = importlib.import_module(f"debride.known.{known.converter}")
    assert list(inspect.signature(module.convert).parameters) == ["archives", "out", "options", "jobs"]
    asked = {word for word in inspect.getsource(module).split('options.get("')[1:] for word in [word.split('"')[0]]}
    assert asked == {option.name for option in known.options}
    assert known.where.startswith("http") and known.cite and known.licence and known.files


def test_a_set_is_converted_by_its_name_and_options(tmp_path: Path) -> None:
    find_known("acdc").convert([Archive(acdc_archive(tmp_path))], tmp_path, {"slices": True, "size": 4})
    assert (tmp_path / "imagesTr" / "patient001_frame01_slice00_0000.png").is_file()
    with pytest.raises(DataError, match="brain-growth"):
        find_known("qubiq").convert([], tmp_path, {"task": "liver"})
