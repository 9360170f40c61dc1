"""How fast the server of `debride review` answers where an audit has many cases and findings, and how much memory it takes.

    python benchmarks/review_scale.py [--cases 20000] [--share 0.95] [--decisions 200] [--folder FOLDER]

The audit is made up; all volumes are one small file. Start is until the address is printed: the first one makes the worklist.
Memory grows until 256 MB of decoded volumes are kept, and then no more.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.large_audit import write_large_set
from tests.review_servers import Server

PAGES = {
    "first page": "api/items?view=findings",
    "page by kind, class and confidence": "api/items?view=findings&kind=missing&class=myocardium&confidence=0.3",
    "page by text": "api/items?view=findings&text=patient01",
    "page of what is undecided": "api/items?view=findings&state=undecided&after={middle}",
    "page of what is disagreed on": "api/items?view=findings&state=disagreed",
    "page of cases": "api/items?view=cases",
    "counts": "api/counts?view=findings",
    "an item with its neighbours": "api/items/{middle}?view=findings&state=undecided",
}


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20000)
    parser.add_argument("--share", type=float, default=0.95, help="of the cases, which may have findings")
    parser.add_argument("--decisions", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where the audit is written, or is already")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = words.folder or Path(temporary)
        if not (folder / "audit").is_dir():
            write_large_set(folder, words.cases, share=words.share, drawn=words.decisions + 50)
        audit = folder / "audit"
        for file in audit.glob("review.db*"):
            file.unlink()
        _measure(audit, words.decisions)


def _measure(audit: Path, decisions: int) -> None:
    first = Server(audit, "ann")
    first.stop()
    server = Server(audit, "ann")
    page, seconds = _timed(lambda: server.ask(PAGES["first page"]))
    memory = server.memory()
    total = page["total"]
    cases = server.ask(PAGES["page of cases"])["total"]
    print(f"{cases} cases, {total} findings\n\n| what | time |\n|---|---|")
    print(f"| first start | {first.began:.1f} s |\n| start | {server.began:.1f} s |")
    print(f"| first page, after the start | {_ms(seconds)} |")
    took, place, held = [], 1, [memory]
    for number in range(decisions):
        body = {"decision": ("accept", "reject", "unsure")[number % 3], "comment": "", "sent": f"{number}"}
        _, seconds = _timed(lambda place=place, body=body: server.ask(f"api/items/{place}/decision", body))
        took.append(seconds)
        place = server.ask(f"api/items/{place}?state=undecided")["neighbours"]["next_undecided"] or place
        if (number + 1) % max(1, decisions // 4) == 0:
            held.append(server.memory())
    print(f"| a decision, median of {decisions} | {_ms(statistics.median(took))} |\n| the slowest | {_ms(max(took))} |")
    for name, path in PAGES.items():
        where = path.format(middle=total // 2)
        times = [_timed(lambda where=where: server.ask(where))[1] for _ in range(5)]
        print(f"| {name} | {_ms(statistics.median(times))} |")
    quarters = ", ".join(f"{each:.0f}" for each in held)
    print(f"\nresident memory in MB, after the first page and each quarter of the decisions: {quarters}")
    server.stop()


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    before = time.perf_counter()
    answer = function()
    return answer, time.perf_counter() - before


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


if __name__ == "__main__":
    main()
