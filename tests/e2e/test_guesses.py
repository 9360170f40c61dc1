"""What the command line says beside an error: what was meant, and the verb that lists all problems."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.datasets import build_folder
from tests.e2e.conftest import Command

from debride.cli import VERBS, main, make_parser


def said_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["datsets"], "datsets is no verb. Did you mean datasets? `debride --help` lists them."),
        (["audti", "scans"], "audti is no verb. Did you mean audit? `debride --help` lists them."),
        (["xyz"], "xyz is no verb. `debride --help` lists them."),
        (
            ["audit", "--epoch", "3", "scans", "--out", "a"],
            "unrecognized arguments: --epoch. Did you mean --epochs? `debride audit --help` lists the options.",
        ),
        (
            ["repair", "a", "b", "--ot=x", "--trsted", "y"],
            "unrecognized arguments: --ot --trsted. Did you mean --out --trusted? `debride repair --help` lists the options.",
        ),
        (["check", "a", "--zzz"], "unrecognized arguments: --zzz. `debride check --help` lists the options."),
    ],
)
def test_a_misspelt_word_is_guessed(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said_of(words, capsys) == f"debride: error: {said}"


def test_what_only_looks_like_an_option_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--", "--no"]) == 1 and "does not exist" in capsys.readouterr().out
    assert "no data set" in said_of(["audit", str(tmp_path), "--out", str(tmp_path), "--trusted", "--no such file"], capsys)
    assert main(["audit", "--epoch", "--help"]) == 0


def test_help_has_a_line_for_each_verb_and_examples(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("    ")] == list(VERBS)
    assert all(len(line.split()) > 2 for line in lines if line.startswith("    "))
    first = lines.index("examples:")
    assert all(line.startswith("  debride ") for line in lines[first + 1 : first + 3])


def test_help_names_no_file_that_is_not_installed_and_describes_the_data_set() -> None:
    for name, parser in make_parser().verbs.items():
        text = parser.format_help()
        assert "docs/" not in text, name
        for action in parser._actions:
            assert action.help or action.dest != "dataset", name


def test_verbs_that_stop_at_a_file_of_the_data_set_name_check(debride: Command, tmp_path: Path) -> None:
    root = build_folder(tmp_path / "my data")
    (root / "masks/case001.png").unlink()
    hint = f"debride: `debride check '{root}'` lists all problems of its files."
    for words in (
        ["audit", root, "--without-predictions", "--out", tmp_path / "a"],
        ["train", "ce", root, "--out", tmp_path / "b"],
        ["corrupt", root, tmp_path / "c", "--noise", "sfda"],
    ):
        done = debride(*words)
        assert done.code == 2 and done.err.splitlines()[-1] == hint, words
    assert "debride check" not in debride("check", root).err
    assert "debride check" not in debride("audit", tmp_path / "none", "--out", tmp_path / "d").err
    (root / "masks/case001.png").write_bytes((root / "masks/case000.png").read_bytes())
    assert "debride check" not in debride("corrupt", root, root / "copy", "--noise", "sfda").err
