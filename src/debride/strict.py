"""JSON read without guessing: what could be meant in two ways is refused."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from debride.types import DataError
from debride.words import short

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str, where: object, *, line: int = 0, undefined: bool = False) -> Any:
    """The value of a JSON text of the file ``where``, or of one ``line`` of it (from 1).

    ``undefined`` permits NaN, which stands for a measure without a value in records of measures. DataError for what is no JSON,
    a name that stands twice in one object, numbers that are not finite, values that nest too deep, and half characters.
    """

    def constant(word: str) -> float:
        if undefined and word == "NaN":
            return math.nan
        raise DataError(here, f"holds {word}, which is no number", "Give a finite number.")

    def whole(digits: str) -> int:
        real(digits)
        return int(digits)

    def real(digits: str) -> float:
        number = float(digits)
        if math.isinf(number):
            raise DataError(here, f"holds the number {short(digits)}, which is too large", "Give a smaller number.")
        return number

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(here, f"has {short(repr(twice))} twice in one object", "Keep one of the two.")
        return made

    here = f"{where}:{line}" if line else where
    try:
        value = json.loads(text, parse_constant=constant, parse_int=whole, parse_float=real, object_pairs_hook=mapping)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        at = max(line, 1) + error.lineno - 1
        raise DataError(f"{where}:{at}", f"is not valid JSON ({error.msg})", "Correct this line.") from None
    except RecursionError:
        raise DataError(here, "nests too deep", "Correct or replace the file.") from None
    except UnicodeEncodeError:
        raise DataError(here, "holds half of a character (\\ud800 to \\udfff alone)", "Write the whole character.") from None
    return value
