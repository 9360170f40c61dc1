"""Lets mkdocstrings see the public functions where users find them, and keeps shapes in docstrings as they are written."""

from __future__ import annotations

import re
from typing import Any

import griffe

MARKS = re.compile(r"(`[^`]*`)|[*<]")


class PublicNames(griffe.Extension):
    """``train = public(trainings.train)`` is shown as the function itself, and ``(B, *S)`` is no emphasis."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Replaces each wrapped function by an alias of the function."""
        if pkg.name != "debride":
            return
        for module in (pkg["api.public"], pkg["api.public_arrays"]):
            for name, member in list(module.members.items()):
                wrapped = re.fullmatch(r"public\((\w+)\.(\w+)\)", str(getattr(member, "value", "")))
                if wrapped:
                    home = module.members[wrapped[1]].target_path
                    module.set_member(name, griffe.Alias(name, f"{home}.{wrapped[2]}", parent=module))

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Escapes what Markdown would take for emphasis or for HTML."""
        if obj.docstring:
            obj.docstring.value = MARKS.sub(lambda found: found[1] or {"*": r"\*", "<": "&lt;"}[found[0]], obj.docstring.value)
