"""How well readers agree: Cohen's kappa of each pair by kind of finding, and what they disagree on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from debride.audit.decided import WHOLE, ReviewDb
from debride.review.worklist_items import make_items
from debride.rng import generator
from debride.words import some

WORDS = ("accept", "reject", "unsure", "edited")
"""What readers say of a finding; what they paint is not compared."""

ALL = "all"
"""In place of a kind: findings of all kinds."""

RESAMPLES = 2000

_BLOCK = 1 << 22
"""Numbers of one block of resamples."""

Counts = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """Of two ``readers`` on findings of a ``kind`` (``ALL``: of any): how many ``items`` both decided in the same round, the
    share on which they ``agree``, ``kappa``, and its 95 % interval from ``low`` to ``high``.

    ``kappa`` is None where both said one word alone: chance alone would then agree always. The interval is None too where
    there is one patient alone.
    """

    readers: tuple[str, str]
    kind: str
    items: int
    agree: float
    kappa: float | None
    low: float | None
    high: float | None


def agreements(db: ReviewDb, seed: int = 0) -> list[Agreement]:
    """The agreement of each pair of readers who decided on a finding in the same round, over all kinds and by kind.

    Of each reader the last decision of a round counts, unless it takes back; what adjudicates does not.
    """
    make_items(db)
    tables: dict[tuple[str, str], dict[str, dict[str, Counts]]] = {}
    for (kind, patient), said in _by_finding(db):
        for (one, first), (other, second) in combinations(sorted(said.items()), 2):
            for name in (ALL, kind):
                patients = tables.setdefault((one, other), {}).setdefault(name, {})
                table = patients.setdefault(patient, np.zeros((len(WORDS), len(WORDS))))
                table[WORDS.index(first), WORDS.index(second)] += 1
    return [
        _agreement(readers, kind, np.stack(list(patients.values())), seed)
        for readers, kinds in sorted(tables.items())
        for kind, patients in sorted(kinds.items(), key=lambda each: (each[0] != ALL, each[0]))
    ]


def kappa(counts: Counts) -> Counts:
    """Cohen's kappa (1960) of tables (*R, W, W) of the words of two readers: (observed - expected) / (1 - expected) agreement.

    NaN where a table is empty, or all of it is in one cell of the diagonal.
    """
    total = counts.sum((-2, -1))
    observed = total * np.trace(counts, axis1=-2, axis2=-1)
    expected = (counts.sum(-1) * counts.sum(-2)).sum(-1)
    room = total**2 - expected  # of counts, so that it is zero where it should be
    value: Counts = np.divide(observed - expected, room, out=np.full(total.shape, np.nan), where=room > 0)
    return value


def conflict_lines(db: ReviewDb, shown: int = 10) -> Iterator[str]:
    """What ``--adjudicate`` prints: what readers disagree on or are unsure of, and how well they agree."""
    make_items(db)
    for state, what in (("conflict", "in conflict"), ("unsure", "left unsure")):
        rows = db.connection.execute(
            "SELECT region, \"case\", number FROM items WHERE state = ? AND items.state != '' ORDER BY place", (state,)
        ).fetchall()
        names = [
            f"{region} " * bool(region) + (f"{case} {number}" if number != WHOLE else case) for region, case, number in rows
        ]
        yield f"{len(rows)} {what}" + (f": {some(names, shown)}" if rows else "")
    found = agreements(db)
    if not found:
        yield "No finding was decided by two readers in the same round: there is no agreement to measure."
    for each in found:
        yield (
            f"{' and '.join(each.readers)}, {each.kind}: {each.items} finding{'s' * (each.items != 1)}, "
            f"{100 * each.agree:.0f} % alike, {_in_words(each)}"
        )


def _in_words(each: Agreement) -> str:
    if each.kappa is None:
        return "kappa undefined (one word alone)"
    if each.low is None or each.high is None:
        return f"kappa {each.kappa:.2f} (no interval)"
    return f"kappa {each.kappa:.2f} ({each.low:.2f} to {each.high:.2f})"


def _by_finding(db: ReviewDb) -> Iterable[tuple[tuple[str, str], dict[str, str]]]:
    """Of each finding and round its kind and patient, and the words of readers by their names."""
    rows = db.connection.execute(
        f"""SELECT items.place, own.round, items.kind, items.patient, own.reader, own.decision
        FROM decisions AS own JOIN items USING ("case", number, region)
        WHERE own.number > {WHOLE} AND NOT own.adjudicates AND own.decision != 'withdrawn' AND NOT EXISTS (
          SELECT 1 FROM decisions AS later
          WHERE later."case" = own."case" AND later.number = own.number AND later.region = own.region
            AND later.reader = own.reader AND later.adjudicates = 0 AND later.round = own.round AND later.id > own.id
        ) ORDER BY items.place, own.round"""
    )
    for (_, _, kind, patient), group in groupby(rows, key=itemgetter(0, 1, 2, 3)):
        yield (kind, patient), {reader: word for *_, reader, word in group}


def _agreement(readers: tuple[str, str], kind: str, counts: Counts, seed: int) -> Agreement:
    """That of a table (W, W) for each patient."""
    whole = counts.sum(0)
    value = float(kappa(whole))
    low, high = _interval(counts, generator(seed, "agreement", *readers, kind)) if value == value else (None, None)
    items = int(whole.sum())
    return Agreement(readers, kind, items, float(np.trace(whole)) / items, value if value == value else None, low, high)


def _interval(counts: Counts, draw: np.random.Generator) -> Sequence[float] | tuple[None, None]:
    """The percentile interval of a cluster bootstrap (Davison & Hinkley 1997, section 3.8): as many patients as there are are
    drawn with replacement, each with all findings. Resamples where kappa is undefined are left out.

    Patients with the same table are drawn together, by how many they are: it is the same distribution, and far quicker.
    """
    patients, words = len(counts), counts.shape[1:]
    if patients < 2:
        return None, None
    alike, times = np.unique(counts.reshape(patients, -1), axis=0, return_counts=True)
    size, found = max(1, _BLOCK // len(alike)), []
    for start in range(0, RESAMPLES, size):
        drawn = draw.multinomial(patients, times / patients, size=min(size, RESAMPLES - start))
        found.append(kappa((drawn @ alike).reshape(-1, *words)))
    low, high = np.nanpercentile(np.concatenate(found), [2.5, 97.5])
    return float(low), float(high)
