"""``debride nnunet-path``: where nnU-Net finds debride's trainers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from debride.cli.options import Verbs


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser("nnunet-path", help="the folder of trainers, for nnUNet_extTrainer of nnU-Net")
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Prints the folder alone, so that a shell can take it; what speaks against it goes to the error stream."""
    from debride.nnunet.installed import trainer_folder

    print(trainer_folder())
    return 0
