"""What was measured by group: a line for each site, scanner or protocol that cases name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from debride.escapes import markdown
from debride.types import GROUPS, Case


class GroupColumns:
    """The groups that any of some cases names, and each case's values of them."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases, self.own = cases, {case.id: dict(case.groups) for case in cases}
        self.names = tuple(name for name in GROUPS if any(name in own for own in self.own.values()))

    def cells(self, case: str) -> list[str]:
        """The values of a case by its id, empty where it has none."""
        return [self.own[case].get(name, "") for name in self.names]

    def tables(self, measure: Callable[[Sequence[Case]], dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
        """A table for each group: a line for each value, with the numbers of cases and patients, and what ``measure`` says."""

        def line(value: str, cases: Sequence[Case]) -> dict[str, Any]:
            return {"value": value, "cases": len(cases), "patients": len({case.patient for case in cases}), **measure(cases)}

        return {name: [line(value, cases) for value, cases in values.items()] for name, values in self.values().items()}

    def values(self) -> dict[str, dict[str, list[Case]]]:
        """The cases of each value of each group, values sorted; cases without a value come last, under ""."""
        found: dict[str, dict[str, list[Case]]] = {}
        for name in self.names:
            values: dict[str, list[Case]] = {}
            for case in self.cases:
                values.setdefault(self.own[case.id].get(name, ""), []).append(case)
            found[name] = dict(sorted(values.items(), key=lambda item: (not item[0], item[0])))
        return found


def group_lines(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Tables by group as Markdown, each with the columns of its first line; undefined numbers are said to be so."""
    lines: list[str] = []
    for name, rows in tables.items():
        header = [name, *list(rows[0])[1:]]
        lines += [f"## By {name}", "", "| " + " | ".join(map(_cell, header)) + " |", "|" + " --- |" * len(header)]
        lines += ["| " + " | ".join(map(_cell, row.values())) + " |" for row in rows]
        lines.append("")
    return lines


def _cell(value: Any) -> str:
    if value is None:
        return "undefined"
    if value == "":
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else markdown(str(value))
