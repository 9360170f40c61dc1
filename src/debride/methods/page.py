"""The documentation's page on methods, from what the methods say of themselves."""

from __future__ import annotations

from debride.methods.table import MethodRow, read_table


def page() -> str:
    """All methods as Markdown: paper, needs, settings with their sources, departures."""
    head = "# Methods\n\nMade by `debride methods --markdown` from what the methods say of themselves.\n\n"
    head += '`--preset paper` sets what the column "paper" has, of what is not given otherwise.\n'
    return head + "".join(_section(name, method) for name, method in read_table().methods.items())


def _section(name: str, method: MethodRow) -> str:
    lines = [
        f"\n## `{name}`\n",
        f"{method.about}\n",
        f"{method.authors}: *{method.title}*, {method.year}. {method.reference}. Implements: {method.sections}.\n",
        f"For {' and '.join(method.tasks)}. Needs "
        f"{', '.join(method.needs) or 'images and labels only'}. Trusted cases are {method.trusted}.{_unlabelled(method)}\n",
        "| option | default | paper | range | what it is |\n|---|---|---|---|---|",
        *(
            f"| `{setting.flag}` | {setting.default} | {setting.paper} | {setting.range} | {setting.about} |"
            for setting in method.settings
        ),
    ]
    if method.deviations:
        lines += [
            "\nDepartures from the paper, and choices where it is silent:\n",
            *(f"- {deviation}" for deviation in method.deviations),
        ]
    return "\n".join(lines) + "\n"


def _unlabelled(method: MethodRow) -> str:
    return f" Images without a label are {method.unlabelled}." if method.unlabelled else ""
