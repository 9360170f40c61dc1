"""``debride completions``: a script by which a shell completes verbs, options, methods and their settings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from debride.cli.options import Verbs

SHELLS = ("bash", "zsh", "fish")


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser(
        "completions",
        help="a script by which the shell completes what you type",
        description="Prints a script for the shell. The documentation, page install, says where to put it.",
    )
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Prints the script. It holds all words: to complete a word starts no program."""
    from debride.cli import make_parser
    from debride.cli.completed_words import known_words
    from debride.cli.shell_scripts import bash_script, fish_script

    script = fish_script if arguments.shell == "fish" else bash_script
    print(script(known_words(make_parser())), end="")
    return 0
