"""A calibration in words: where labels lie, what is found too seldom, and what it is worth to take that out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from debride.calibration.bias_record import Record
from debride.calibration.calibration_config import Metric
from debride.calibration.fitting import Gain


def bias_in_words(record: Record) -> list[str]:
    """Sentences on the bias of each class that has one, and on what taking it out is worth."""
    return [*_biases(record), *_worth(record)]


def table(record: Record) -> list[str]:
    """Lines of a table: each foreground class, what is done to it, and its Dice before, with that, and as expected."""
    own = record.calibration
    rows = [("class", "offset", f"shift ({own.unit})", "Dice", "with it", "expected")]
    columns = zip(own.classes[1:], own.offsets[1:], own.shifts[1:], record.before, record.after, record.expected, strict=True)
    for name, offset, shift, *dice in columns:
        rows.append((name, _signed(offset), _signed(shift), *(f"{100 * value:.1f}" for value in dice)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]


def many_verified(record: Record) -> str:
    """How many cases were verified, and of how many patients where that is another number."""
    cases = f"{len(record.cases)} verified case{'s' if len(record.cases) > 1 else ''}"
    of = f" of {record.patients} patient{'s' if record.patients > 1 else ''}"
    return cases + (of if record.patients < len(record.cases) else "")


def expected(gain: Gain, metric: Metric = "dice", unit: str = "") -> str:
    """What is gained on other cases, in points of Dice or what the metric has, with its interval."""
    if metric in ("dice", "volume"):
        low, high = 100 * max(gain.low, -1), 100 * min(gain.high, 1)
        of = "Dice" if metric == "dice" else "% of volume"
        return f"Expected gain {100 * gain.mean:.1f} {of} ({low:.1f} to {high:.1f})."
    return f"Expected gain {gain.mean:.2f} {unit} of {metric.upper()} ({gain.low:.2f} to {gain.high:.2f})."


def _biases(record: Record) -> Iterator[str]:
    own = record.calibration
    for number, offset in enumerate(own.offsets):
        if offset:
            often = "seldom" if offset > 0 else "often"
            said = _signed(offset) + _range(record.offset_ranges[number], offset, _signed)
            yield f"Predictions of class {own.classes[number]} are offset by {said} in log-odds: it is found too {often}."
    for number, shift in enumerate(own.shifts):
        if shift:  # outwards, where it is positive: what the network has learnt lies inside
            side, sign = ("inside", 1) if shift > 0 else ("outside", -1)
            low, high = sorted(sign * end for end in record.shift_ranges[number])
            said = f"{abs(shift):.3g} {own.unit}{_range((low, high), abs(shift), _plain)} {side}"
            what = "After that outlines" if any(own.offsets) else "Labels"
            yield f"{what} of class {own.classes[number]} lie {said}."


def _worth(record: Record) -> Iterator[str]:
    gain, verified = record.gain, many_verified(record)
    patients = " patients" if record.patients < len(record.cases) else ""
    decide = f"; about {gain.needed}{patients} would" if gain.needed is not None else ""
    if record.patients < 2:
        yield f"Nothing is changed: {verified} cannot decide. Verify cases of two patients or more."
    elif record.kind == "none" and decide:
        yield f"Nothing is changed: {verified} do not decide{decide}."
    elif record.kind == "none":
        yield f"Nothing is changed: {verified} show no bias that would be worth it."
    else:
        yield expected(gain, record.metric, record.calibration.unit)
        if decide:
            yield f"{verified} do not decide this{decide}."


def _range(ends: tuple[float, float], value: float, said: Callable[[float], str]) -> str:
    """The range of a number where a patient is left out, in brackets; empty where it is always the same."""
    low, high = ends
    return "" if low == high == value else f" ({said(low)} to {said(high)})"


def _signed(value: float) -> str:
    return f"{value:+.3g}" if value else "0"


def _plain(value: float) -> str:
    return f"{value:.3g}"
