"""The file of trusted cases that nnU-Net's trainings read."""

from pathlib import Path

import pytest

from debride.nnunet.trusted_cases import trusted_cases
from debride.types import DataError

KNOWN = ("one", "two", "three")


def test_cases_are_those_of_the_fold(tmp_path: Path) -> None:
    file, said = tmp_path / "ids.txt", list[str]()
    file.write_text("two\n\n one \ntwo\n")
    assert trusted_cases(str(file), ["three", "two"], KNOWN, said.append) == ["two"]
    assert said == ["1 trusted cases; 1 of the list are not trained on in this fold."]
    assert trusted_cases(None, ["two"], KNOWN, said.append) == []
    assert len(said) == 1


def test_what_is_no_case_or_no_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    with pytest.raises(DataError, match=r"^DEBRIDE_NNUNET_TRUSTED: names .*ids.txt, which cannot be read"):
        trusted_cases(str(file), KNOWN, KNOWN, print)
    file.write_text("two\nfour\n")
    with pytest.raises(DataError, match=r"^DEBRIDE_NNUNET_TRUSTED: lists four, no case of the data set\."):
        trusted_cases(str(file), KNOWN, KNOWN, print)
