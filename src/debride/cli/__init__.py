"""The command line: ``debride VERB``. It wires things together and computes nothing.

Exit codes: 0 done; 1 problems were found by ``check``, by ``audit --fail-on``, or in cells of ``bench``; 2 unusable input
or arguments; 3 a mistake of debride's own; 130 interrupted by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
A verb is one module here and one entry of ``VERBS``: its ``add_parser`` adds its options, and sets what answers them.
What it computes with it imports when it answers, so that ``--help`` is there at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from debride.cli.allocator import keep_freed_memory
from debride.cli.guesses import check_lists_all, refuse_misspelt
from debride.cli.identity import WITHOUT, add_show_identity, list_identities, name_identities
from debride.cli.options import Verbs, all_flags, with_flags
from debride.company import in_company, say_failure, together
from debride.escapes import one_line, shown_output
from debride.mistakes import traceback_of, words_of
from debride.notes import tell_notes, worded
from debride.started import Started, started_together
from debride.stopping import Stopped, stoppable
from debride.types import DataError
from debride.version import __version__
from debride.words import short


class Verb(Protocol):
    """What a module must hold to be a verb."""

    def add_parser(self, verbs: Verbs, words: Sequence[str]) -> None:
        """Adds the verb's parser, with ``answer`` among its defaults: a function of the arguments that returns the exit code.

        ``words`` is the whole command line, for a verb whose options depend on it.
        """


VERBS = (
    "datasets",
    "check",
    "choose",
    "corrupt",
    "train",
    "runs",
    "calibrate",
    "predict",
    "export",
    "evaluate",
    "methods",
    "nnunet-path",
    "audit",
    "review",
    "repair",
    "changes",
    "bench",
    "demo",
    "completions",
)
"""The verbs, each by the module here that holds it, in the order that ``--help`` lists them."""

TRAINING = ("train", "bench", "demo")
"""Verbs that take the same steps again and again."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit code; never lets a traceback through, nor what would steer the terminal.

    Without ``argv`` it is the program itself, which may say how memory is kept, and that mlflow reports to nobody: MONAI
    imports it where it is installed.
    """
    if argv is None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        if sys.argv[1:] and sys.argv[1] in TRAINING:
            keep_freed_memory()
    words = list(sys.argv[1:] if argv is None else argv)
    with shown_output():
        try:
            with together(_company(words)):
                return _run(words)
        except DataError as error:  # of processes that do not find each other
            print(f"debride: {one_line(str(error))}", file=sys.stderr)
            return 2


def _company(words: Sequence[str]) -> Started | None:
    """The processes that torchrun or srun has started for this work."""
    found = started_together(any(word.startswith(("--nodes", "--devices")) for word in words))
    return found if found and (found.by == "torchrun" or words[:1] == ["train"]) else None


def _run(words: list[str]) -> int:
    try:
        with worded(all_flags):
            try:
                with stoppable():
                    code = _answer(words)
            finally:
                tell_notes()
        sys.stdout.flush()
        return code
    except DataError as error:
        say_failure(f"debride: {one_line(str(error))}")
        return 2
    except KeyboardInterrupt as stop:
        with suppress(OSError):  # of a terminal that was closed
            say_failure(f"debride: {f'ended by {stop}' if str(stop) else 'interrupted'}; what was complete is kept.")
        return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)
    except BrokenPipeError:  # the reader has seen enough: what is left has nowhere to go, not even at the interpreter's end
        if company := in_company():
            company.failed_first()
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        if (missing := (error.name or "").partition(".")[0]) not in _LEARNING:
            return _report_mistake(error)
        say_failure(
            f"debride: this needs {missing}, which is not installed. Install it: the documentation, page install, says how."
        )
        return 2
    except Exception as error:
        from debride.training.memory import is_memory

        if is_memory(error):
            say_failure(f"debride: there is not enough memory ({short(one_line(str(error)), 200)}). {_SMALLER}")
            return 2
        return _report_mistake(error)


_LEARNING = ("torch", "monai", "lightning_fabric")
"""Packages that verbs need which train or predict. Where there are none for this Python yet, the other verbs work."""

_SMALLER = "Use smaller values of --batch-size, --patch-size, --image-size or --width, or a machine with more memory."


class _OneLine(argparse.RawDescriptionHelpFormatter):
    """Help with room for the longest verb, so that each verb is one line; examples stay as they are written."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self._action_max_length = max(map(len, VERBS)) + 4


class Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviated options: a misspelt one must not be taken for another. ``verbs`` are the parsers of
    verbs by name."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)
        self.verbs: Mapping[str, argparse.ArgumentParser] = {}


_EXAMPLES = """examples:
  debride datasets generated --out scans    a small data set with planted mistakes, to try all verbs on
  debride audit scans --out audit           which of its labels are wrong; then review and repair

`debride VERB --help` has the options of a verb, and `debride methods` lists methods and noises."""


def make_parser(words: Sequence[str] = ()) -> Parser:
    """The parser of all verbs; ``train`` has the options of the method that ``words`` name."""
    parser = Parser(
        prog="debride",
        description="Train on imperfect labels of medical images, find and repair what is wrong with them, and measure "
        "honestly which method helps.",
        epilog=_EXAMPLES,
        formatter_class=_OneLine,
    )
    parser.add_argument("--version", action="version", version=f"debride {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    for name in VERBS:
        verb: Verb = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
        verb.add_parser(verbs, words)
    parser.verbs = verbs.choices
    for name, parser_of_verb in verbs.choices.items():
        parser_of_verb.set_defaults(parser=parser_of_verb)
        if name not in WITHOUT:
            add_show_identity(parser_of_verb)
    return parser


def _answer(words: Sequence[str]) -> int:
    if (company := in_company()) and words[:1] != ["train"]:
        problem = f"has started {company.found.world} processes, and {words[0] if words else 'debride'} has no use for them"
        raise DataError(company.found.by, problem, "Start it by itself: trainings alone run on several machines.")
    parser = make_parser(words)
    try:
        refuse_misspelt(parser, parser.verbs, words)
        arguments = parser.parse_args(words)
    except SystemExit as end:  # help was shown, or what is wrong with the options
        return int(end.code or 0)
    if not hasattr(arguments, "answer"):
        parser.print_help()
        return 2
    try:
        known = name_identities(arguments)
        try:
            return int(arguments.answer(arguments))
        finally:
            list_identities(arguments, known)
    except DataError as error:
        said = with_flags(one_line(str(error)), arguments.parser)
        say_failure(f"debride: {said}{check_lists_all(error, arguments)}")
        return 2


def _report_mistake(error: Exception) -> int:
    """Says that something unforeseen happened."""
    with tempfile.NamedTemporaryFile("w", prefix="debride-", suffix=".txt", delete=False) as file:
        file.write(traceback_of(error))
    say_failure(f"debride: this is a mistake of debride's own ({words_of(error)}). Please report it with {file.name}.")
    return 3


if __name__ == "__main__":
    sys.exit(main())
