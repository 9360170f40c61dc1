"""YAML read without guessing, by the core schema of its version 1.2: ``no``, ``on``, ``1:30`` and dates are text, ``1e3`` is a
number. A key that stands twice in one mapping is refused, a number that begins with 0 or is not finite, and anchors that hold
themselves or make a file much larger."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable
from typing import Any

import yaml

from debride.types import DataError
from debride.words import short

MOST_VALUES = 100_000
"""Values that a file may hold once its anchors are written out."""

_CORRECT = "Correct this line."


def parse_yaml(text: str, where: object) -> Any:
    """The value of a YAML text of the file ``where``; DataError for what the module refuses, and for what is no YAML."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _count(root)
        return loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        place = f"{where}:{at.line + 1}" if at else where
        if isinstance(error, _RefusedError):
            raise DataError(place, error.problem or "", error.remedy) from None
        raise DataError(place, f"is not valid YAML ({error.problem or error.context})", _CORRECT) from None
    except yaml.YAMLError:
        raise DataError(where, "holds characters that YAML does not permit", "Remove them, or save it as plain text.") from None
    except RecursionError:
        raise DataError(where, "nests too deep", "Correct or replace the file.") from None
    except (ValueError, OverflowError):  # an escape such as "\Uffffffff"
        raise DataError(where, "holds an escape of no character", "Write the character itself.") from None


class _RefusedError(yaml.MarkedYAMLError):
    """Valid YAML that is refused: ``problem`` goes on the file's name."""

    def __init__(self, problem: str, remedy: str, mark: yaml.Mark) -> None:
        super().__init__(problem=problem, problem_mark=mark)
        self.remedy = remedy


class _Loader(yaml.SafeLoader):
    """Reads the core schema of YAML 1.2, and merge keys."""


def _null(loader: _Loader, node: yaml.ScalarNode) -> None:
    text = loader.construct_scalar(node)
    if not _WORDS["null"].match(text):
        raise _RefusedError(f"holds {short(text)}, which is not null", _CORRECT, node.start_mark)


def _bool(loader: _Loader, node: yaml.ScalarNode) -> bool:
    text = loader.construct_scalar(node)
    if not _WORDS["bool"].match(text):
        raise _RefusedError(f"holds {short(text)}, which is not true or false", _CORRECT, node.start_mark)
    return bool(text.lower() == "true")


def _number(loader: _Loader, node: yaml.ScalarNode) -> int | float:
    text = loader.construct_scalar(node)
    if re.match(r"[-+]?0[0-9]", text):
        remedy = f"Write {text.lstrip('+-0') or 0} for a number, or put it in quotation marks for text."
        raise _RefusedError(f"holds {short(text)}, which begins with 0", remedy, node.start_mark)
    try:
        number: int | float = float(int(text, 0)) if re.match(r"0[xo]", text) else float(text)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _RefusedError(f"holds {short(text)}, which is no finite number", "Give a finite number.", node.start_mark)
    return int(text, 0) if _WORDS["int"].match(text) else number


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    value: str = loader.construct_scalar(node)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _RefusedError("holds half of a character", "Write the whole character.", node.start_mark) from None
    return value


def _list(loader: _Loader, node: yaml.SequenceNode) -> Iterable[list[Any]]:
    made: list[Any] = []
    yield made
    made.extend(loader.construct_sequence(node))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> Iterable[dict[Any, Any]]:
    made: dict[Any, Any] = {}
    yield made
    if isinstance(node, yaml.MappingNode):
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = "<<" if key_node.tag == _tag("merge") else loader.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise _RefusedError(f"has {short(repr(key))} twice in one mapping", "Keep one of the two.", key_node.start_mark)
            if isinstance(key, Hashable):
                seen.add(key)
    made.update(loader.construct_mapping(node))


def _unknown(loader: _Loader, node: yaml.Node) -> None:
    problem = f"holds a value of the type {short(node.tag)}, which is not read"
    raise _RefusedError(problem, "Write it without a type.", node.start_mark)


def _tag(name: str) -> str:
    return f"tag:yaml.org,2002:{name}"


_WORDS = {
    "null": re.compile(r"(?:~|null|Null|NULL|)\Z"),
    "bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"),
    "int": re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"),
    "float": re.compile(r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?i:inf)|\.(?i:nan))\Z"),
    "merge": re.compile(r"<<\Z"),
}
"""What is more than text where it stands without quotation marks."""

_Loader.yaml_implicit_resolvers = {}
for _name, _pattern in _WORDS.items():
    _Loader.add_implicit_resolver(_tag(_name), _pattern, None)
_Loader.yaml_constructors = {
    _tag("null"): _null,
    _tag("bool"): _bool,
    _tag("int"): _number,
    _tag("float"): _number,
    _tag("str"): _text,
    _tag("seq"): _list,
    _tag("map"): _mapping,
    None: _unknown,
}


def _count(root: yaml.Node) -> None:
    """Refuses anchors that hold themselves, and those that stand for more than ``MOST_VALUES`` values in all."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in open_nodes:
            raise _RefusedError("has an anchor that holds itself", "Write the value out.", node.start_mark)
        if id(node) not in sizes:
            open_nodes.add(id(node))
            parts = node.value if isinstance(node, yaml.CollectionNode) else ()
            inside = [part for entry in parts for part in (entry if isinstance(entry, tuple) else (entry,))]
            sizes[id(node)] = 1 + sum(map(size, inside))
            open_nodes.discard(id(node))
        return sizes[id(node)]

    if size(root) > MOST_VALUES:
        problem = f"stands for more than {MOST_VALUES} values once its anchors are written out"
        raise _RefusedError(problem, "Make it smaller.", root.start_mark)
