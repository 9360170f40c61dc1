"""Completions in the shells themselves: bash, zsh and fish, each asked what it would offer."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pexpect
import pytest

from debride.cli import make_parser
from debride.cli.completed_words import known_words
from debride.cli.shell_scripts import bash_script, fish_script

CASES = (
    (("au",), {"audit"}),
    (("completions", "z"), {"zsh"}),
    (("train", "gsd"), {"gsd-net"}),
    (("train", "gsd-net", "scans", "--vari"), {"--variant"}),
    (("train", "gsd-net", "scans", "--variant", "pa"), {"paper"}),
    (("train", "ce", "sca"), {"scans"}),
    (("train", "ce", "scans", "--variant"), set()),  # not an option of this method
    (("train", "ce", "scans", "--preset", "pa"), {"paper"}),
    (("train", "ce", "scans", "--patience", "3", "sca"), {"scans"}),
    (("predict", "run", "scans", "--splits", "train", "va"), {"val"}),
    (("predict", "run", "scans", "--splits", "train", "--preset"), set()),  # an option of another verb
    (("corrupt", "scans", "noisy", "--noise", "mark"), {"markov"}),
    (("methods", "mark"), {"markov"}),
    (("datasets", "acd"), {"acdc"}),
    (("train", "ce", "scans", "--config", "trai"), {"train set.yaml"}),
)

BASH = """\
source {script}
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 ))
_debride
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def folder(tmp_path: Path) -> Path:
    (tmp_path / "here" / "scans").mkdir(parents=True)
    (tmp_path / "here" / "train set.yaml").touch()
    return tmp_path / "here"


def asked(command: Sequence[str], cwd: Path) -> set[str]:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=True)
    assert not done.stderr
    return {line.split("\t")[0].rstrip("/") for line in done.stdout.splitlines() if line}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scripts")
    known = known_words(make_parser())
    (folder / "debride.sh").write_text(bash_script(known))
    (folder / "debride.fish").write_text(fish_script(known))
    return folder


@pytest.mark.parametrize(("words", "offered"), CASES)
def test_bash(words: tuple[str, ...], offered: set[str], scripts: Path, tmp_path: Path) -> None:
    script = BASH.format(script=scripts / "debride.sh")
    assert asked(["bash", "--norc", "-c", script, "bash", "debride", *words], folder(tmp_path)) == offered


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish(scripts: Path, tmp_path: Path) -> None:
    here = folder(tmp_path)
    for words, offered in CASES:
        script = f"source {scripts / 'debride.fish'}; complete -C 'debride {' '.join(words)}'"
        assert asked(["fish", "--no-config", "-c", script], here) == offered, words


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh(scripts: Path, tmp_path: Path) -> None:
    """A zsh on a terminal gets the words and a Tab. Then its line is run, by a function that shows it."""
    here = folder(tmp_path)
    shell = pexpect.spawn("zsh", ["-f", "-i"], cwd=here, encoding="utf-8", timeout=30, dimensions=(24, 300), echo=False)
    shell.sendline("PS1= PROMPT_EOL_MARK=; unsetopt zle bracketed_paste; setopt zle; autoload -Uz compinit; compinit -u -D")
    shell.sendline(f"source {scripts / 'debride.sh'}; debride() {{ print -r -- \"GOT<${{(j:|:)@}}>\" }}; print REA''DY")
    shell.expect("READY")
    for words, offered in CASES:
        if offered:
            shell.send(f"debride {' '.join(words)}\t\n")
            shell.expect(r"GOT<([^>]*)>")
            assert [word.rstrip("/") for word in shell.match.group(1).split("|")] == [*words[:-1], *offered]
    shell.sendline("exit")
    shell.expect(pexpect.EOF)


def test_the_verb_prints_a_script_for_each_shell() -> None:
    for shell, word in (("bash", "_debride"), ("zsh", "bashcompinit"), ("fish", "__debride_is")):
        command = [sys.executable, "-m", "debride", "completions", shell]
        assert word in subprocess.run(command, capture_output=True, text=True, check=True).stdout
