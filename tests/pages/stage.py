"""The folder in which a page's blocks run from its top to its end, by a real shell and by Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from tests.pages import programs
from tests.pages.blocks import ROOT, Block
from tests.pages.owners import Elsewhere, File, Owner, Page, Parsed, Printed, Read, Run, Text
from tests.pages.warm import CLIENT, LIMIT


class Warm:
    """The process that stands for debride and Python in shells, and the folder of its programs; ended with the tests."""

    def __init__(self, folder: Path) -> None:
        self.programs, self.readers = folder / "programs", folder / "readers"
        self.programs.mkdir()
        self.readers.mkdir()
        address = tempfile.mktemp(prefix="pages-", suffix=".socket")  # a socket's path must be short
        self.address = Path(address)
        paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        command = [sys.executable, "-m", "tests.pages.warm", address]
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=ROOT)
        assert self.process.stdout and self.process.stdout.readline() == b"warm\n"
        client = CLIENT.format(python=sys.executable, address=address)
        for place, names in ((self.programs, programs.PROGRAMS), (self.readers, {**programs.PROGRAMS, **programs.READ})):
            for name in names:
                self.add(place / name, client)

    @staticmethod
    def add(file: Path, script: str) -> None:
        """A program."""
        file.write_text(script)
        file.chmod(0o755)

    def end(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.wait()
        self.address.unlink(missing_ok=True)


class Stage:
    """A page's folder ``root``; ``names`` of its Python; ``said`` by each block that ran, in turn."""

    def __init__(self, page: Page, root: Path, warm: Warm) -> None:
        self.page, self.root, self.warm = page, root, warm
        self.names: dict[str, Any] = {"__name__": "page"}
        self.said: list[str] = []
        self.environment = {"PAGES_ANEW": "1"} if page.anew else {}
        """Set for all blocks of the shell."""
        self._own = root.with_name(f"{root.name}-shell")
        self._own.mkdir()
        (self._own / "home").mkdir()
        for name, script in page.programs.items():
            warm.add(self._own / name, f"#!/bin/bash\n{script}\n")

    def do(self, block: Block, owner: Owner) -> None:
        """What is done with a block of such an owner."""
        match owner:
            case Run():
                self.said.append(self.python(block) if block.language == "python" else self.shell(self.quick(block.text)))
            case Parsed():
                self.parse(block)
            case File(path):
                (self.root / path).parent.mkdir(parents=True, exist_ok=True)
                (self.root / path).write_text(self.quick(block.text))
            case Printed(figures):
                in_turn(self.quick(block.text), self.said[-1], figures)
            case Read(by):
                with self.here():
                    by(block.text, self)
            case Elsewhere() | Text():
                pass

    def quick(self, text: str) -> str:
        """A block's text with words that make it quick."""
        for long, quick in self.page.quick.items():
            text = text.replace(long, quick)
        return text

    def python(self, block: Block) -> str:
        """Runs Python here; errors have the lines of the page."""
        code = compile("\n" * (block.line - 1) + self.quick(block.text), block.page, "exec")
        with self.here(), redirect_stdout(StringIO()) as said:
            exec(code, self.names)
        return said.getvalue()

    @contextmanager
    def here(self) -> Iterator[None]:
        """This process is in the stage's folder, as on a machine of one core."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root)
            patch.syspath_prepend(str(self.root))
            patch.setattr("debride.execute.cores", lambda: 1)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            yield

    def shell(self, text: str, folder: Path | None = None, **more: str) -> str:
        """Runs words of the shell, and returns what they print. Variables and the folder last until the next time."""
        state, place = self._own / "variables", self._own / "place"
        if folder is None:
            begin = f". {state}; cd $(<{place})" if state.exists() else f"cd {self.root}"
            begin += f"\ntrap 'declare -px >{state}; pwd >{place}' EXIT"
            paths: tuple[Path | str, ...] = (self._own, self.warm.programs, os.environ["PATH"])
        else:
            begin, paths = f"cd {folder}", (self._own, self.warm.readers)
        home = {"HOME": str(self._own / "home"), "OMP_NUM_THREADS": "1"}
        environment = {**os.environ, **home, **self.environment, **more, "PATH": ":".join(map(str, paths))}
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", f"{begin}\n{text}"],
            **{"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True},
            timeout=LIMIT + 60,
            check=False,
        )
        assert done.returncode == 0, f"{self.page.path}: ended with {done.returncode}\n{text}\n{done.stdout}"
        assert "Traceback" not in done.stdout, done.stdout
        return done.stdout

    def parse(self, block: Block) -> None:
        """The shell reads a block, each command parses its words, and nothing is done."""
        with tempfile.TemporaryDirectory() as folder:
            there = [*(ROOT / name for name in ("benchmarks", "tests", "docs", "src", "examples")), *self.root.iterdir()]
            for name, path in {path.name: path for path in there}.items():
                Path(folder, name).symlink_to(path)
            if block.language == "python":
                compile(block.text, block.page, "exec")
            else:
                data = os.environ.get("DEBRIDE_DATA", folder)
                self.shell(
                    self.quick(block.text),
                    Path(folder),
                    PAGES_PARSE="1",
                    PYTHONPATH=f"{folder}/src:{folder}",
                    DEBRIDE_DATA=data,
                )


def in_turn(shown: str, said: str, figures: bool) -> None:
    """Asserts that all lines that are shown were said, in this order; ``…`` in a line stands for any words."""
    told = iter([plain(line, figures) for line in said.splitlines()])
    for line in shown.splitlines():
        pattern = re.compile(r".*".join(map(re.escape, re.split(r"…|\.\.\.", plain(line, figures)))))
        if line.strip() and not any(pattern.fullmatch(each) for each in told):
            raise AssertionError(f"not said, or not in this order: {line}\n\n{said}")


def plain(line: str, figures: bool) -> str:
    """A line with single spaces, and with one sign for each figure where they do not count."""
    line = " ".join(line.split())
    return line if figures else re.sub(r"[-+]?\d[\d,]*(\.\d+)?", "#", line)
