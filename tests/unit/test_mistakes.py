"""What is said of mistakes of ours, where data of persons was read and elsewhere."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from debride import mistakes
from debride.data.dicom.pseudonyms import key_of, make_key
from debride.data.dicom.quiet import quiet
from debride.execute.work import ended_by, ending

NAMES = ["Zwiebelkuchen", "Hildegard"]


@pytest.fixture
def private(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A process that has read nothing of persons."""
    event = threading.Event()
    monkeypatch.setattr(mistakes, "_private", event)
    return event


def mistake() -> Exception:
    try:
        try:
            int(NAMES[0])
        except ValueError:
            raise KeyError(NAMES[1])  # noqa: B904
    except KeyError as error:
        return error


def test_words_are_said_where_nobody_is_named(private: threading.Event) -> None:
    assert mistakes.words_of(mistake()) == "KeyError: 'Hildegard'"
    assert "Zwiebelkuchen" in mistakes.traceback_of(mistake())


def test_words_are_left_out_once_a_key_of_pseudonyms_was_read(private: threading.Event, tmp_path: Path) -> None:
    """Also in a process that opens no file of DICOM itself: what other processes do in its place may fail there."""
    make_key(tmp_path)
    assert key_of(tmp_path) and private.is_set()

    told = mistakes.traceback_of(mistake())

    assert mistakes.words_of(mistake()) == "KeyError"
    assert "Zwiebelkuchen" not in told and "Hildegard" not in told
    assert "in mistake" in told and told.index("ValueError") < told.index("KeyError")


def test_words_are_left_out_once_a_file_of_dicom_was_read(private: threading.Event) -> None:
    """A library that has imported pydicom alone, as MONAI does, has read nothing of persons."""
    import pydicom  # noqa: F401

    assert mistakes.words_of(mistake()) == "KeyError: 'Hildegard'"
    with quiet():
        assert mistakes.words_of(mistake()) == "KeyError"
    assert mistakes.words_of(mistake()) == "KeyError"


def test_other_processes_word_their_mistakes_themselves(private: threading.Event) -> None:
    private.set()
    line = ending(mistake())
    assert "Hildegard" not in line and "Zwiebelkuchen" not in line and json.loads(line)["mistake"][0] == "KeyError"

    raised = ended_by(line)

    assert raised is not None
    assert "in mistake" in mistakes.traceback_of(raised)
