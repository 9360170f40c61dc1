"""``debride methods``: what there is, and what one method is."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from debride.cli.options import Verbs
from debride.plugins import registered

if TYPE_CHECKING:
    from debride.methods.table import MethodRow, SettingRow


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser("methods", help="all methods and noises; of one its settings and their sources")
    parser.add_argument("method", nargs="?", metavar="NAME", help="a method or a noise; your own as package.module:Class")
    parser.add_argument("--markdown", action="store_true", help="all methods as the page of the documentation")
    parser.add_argument("--nnunet", action="store_true", help="the trainers for nnU-Net, with their settings")
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Lists methods and noises, or describes one of them. Built-in ones are read from a table, not imported."""
    from debride.methods.page import page
    from debride.methods.table import MethodRow, find_row, read_table

    if arguments.markdown:
        print(page(), end="")
    elif arguments.nnunet:
        from debride.nnunet.trainer_table import shown_trainers

        print(shown_trainers())
    elif arguments.method:
        row = find_row(arguments.method)
        if isinstance(row, MethodRow):
            _describe(arguments.method, row)
        else:
            _describe_noise(arguments.method, row)
    else:
        table = read_table()
        print("Methods (`debride methods NAME` for one of them, or for one of the noises)")
        for known, method in table.methods.items():
            print(f"  {known:14} {method.title} ({method.authors}, {method.year})")
        _list_registered("Methods", "debride.methods")
        for title, listed in (("", table.noises), (" for classification", table.class_noises)):
            print(f"\nLabel noise{title} (`debride corrupt --noise NAME --set PARAMETER=VALUE`)")
            for known, settings in listed.items():
                print(f"  {known:14} {', '.join(f'{setting.name}={setting.default}' for setting in settings)}")
        _list_registered("Label noise", "debride.noises")
    return 0


def _list_registered(title: str, group: str) -> None:
    """The names that installed packages bring, which are not imported for this."""
    if names := registered(group):
        print(f"\n{title} of installed packages\n  {', '.join(names)}")


def _print_setting(name: str, setting: SettingRow) -> None:
    notes = [note for note in (setting.range, f"paper: {setting.paper}" if setting.paper else "") if note]
    words = f" ({'; '.join(notes)})" if notes else ""
    print(f"  {name:18} {setting.default:8} {setting.about}{words}")


def _describe_noise(name: str, parameters: tuple[SettingRow, ...]) -> None:
    print(f"{name}: label noise (`debride corrupt --noise {name} --set PARAMETER=VALUE`)\n\nParameters")
    for setting in parameters:
        _print_setting(setting.name, setting)


def _describe(name: str, method: MethodRow) -> None:
    print(f"{name}: {method.title}\n{method.authors}, {method.year}. {method.reference}\nImplements: {method.sections}")
    print(f"For {' and '.join(method.tasks)}.")
    print(f"Needs: {', '.join(method.needs) or 'images and labels only'}. Trusted cases are {method.trusted}.")
    if method.unlabelled:
        print(f"Images without a label are {method.unlabelled}.")
    print("\nOptions")
    for setting in method.settings:
        _print_setting(setting.flag, setting)
    silent = "\nDepartures from the paper, and choices where it is silent"
    print(silent if method.deviations else "\nNo departures from the paper.")
    for deviation in method.deviations:
        print(f"  - {deviation}")
