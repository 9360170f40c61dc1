"""Two readers at once, each with a server of `debride review` on the same audit; the servers are killed again and again.

    python benchmarks/review_readers.py [--decisions 500] [--kills 20] [--cases 100] [--seed 0]

The audit is made up. Each reader decides as a page does, and sends a decision again where its server was gone. Printed is how
many decisions were acknowledged, how many of these the database lacks or has twice, and whether it passes its integrity check.
"""

from __future__ import annotations

import argparse
import http.client
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.large_audit import write_large_set
from tests.review_servers import Server

from debride.audit.decided import ReviewDb
from debride.review.worklist_index import Filters, Worklist

GONE = (OSError, http.client.HTTPException)


class Reader(threading.Thread):
    """Decides on findings at random until so many ``decisions`` are acknowledged."""

    def __init__(self, audit: Path, name: str, decisions: int, findings: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.audit, self.own, self.decisions, self.findings = audit, name, decisions, findings
        self.rng = random.Random(f"{seed} {name}")
        self.server = Server(audit, name)
        self.acknowledged: dict[str, str] = {}
        self.sent_again = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while len(self.acknowledged) < self.decisions:
                word, place = self.rng.choice(["accept", "reject", "unsure"]), self.rng.randint(1, self.findings)
                self._decide(place, word, f"{self.own} {len(self.acknowledged)}")
                time.sleep(self.rng.uniform(0, 0.02))
        except BaseException as error:
            self.error = error

    def _decide(self, place: int, word: str, sent: str) -> None:
        body = {"decision": word, "comment": "", "sent": sent}
        while True:
            try:
                answer = self.server.ask(f"api/items/{place}/decision", body)
                assert answer["item"]["mine"]["decision"] == word, answer
                self.acknowledged[sent] = word
                return
            except GONE:
                self.sent_again += 1
                self.server = Server(self.audit, self.own)


def main() -> None:
    """Runs it and prints a table; ends with 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=500, help="of each reader")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        findings = len(write_large_set(Path(folder), words.cases, share=1, seed=words.seed))
        audit, rng = Path(folder) / "audit", random.Random(words.seed)
        readers = [Reader(audit, name, words.decisions, findings, words.seed) for name in ("ann", "ben")]
        due = [(rng.randrange(words.decisions), reader) for reader in readers for _ in range(words.kills)]
        drawn = rng.sample(due, words.kills)
        killers = [Killer(each, sorted(at for at, own in drawn if own is each), random.Random(each.own)) for each in readers]
        for thread in (*readers, *killers):
            thread.start()
        for reader in readers:
            reader.join()
            reader.server.kill()
            if reader.error:
                raise reader.error
        wrong = _told(audit, readers, sum(killer.done for killer in killers))
    if wrong:
        sys.exit(1)


class Killer(threading.Thread):
    """Kills the server of a reader when it has acknowledged as many decisions as ``due`` say, at any moment of the next."""

    def __init__(self, reader: Reader, due: list[int], rng: random.Random) -> None:
        super().__init__(daemon=True)
        self.reader, self.due, self.rng, self.done = reader, due, rng, 0

    def run(self) -> None:
        for number in self.due:
            while len(self.reader.acknowledged) < number and self.reader.is_alive():
                time.sleep(0.001)
            time.sleep(self.rng.uniform(0, 0.02))
            server = self.reader.server
            if not self.reader.is_alive():
                return
            server.process.kill()
            server.process.wait()
            self.done += 1
            while self.reader.server is server and self.reader.is_alive():  # it is noticed at the next decision
                time.sleep(0.001)


def _told(audit: Path, readers: list[Reader], kills: int) -> bool:
    """Prints what the database holds beside what was acknowledged; whether something is wrong."""
    with ReviewDb(audit, may_write=False) as db:
        rows = db.connection.execute("SELECT sent, reader, decision FROM decisions").fetchall()
        (sound,) = db.connection.execute("PRAGMA integrity_check").fetchone()
        strayed = db.connection.execute(
            'SELECT COUNT(*) FROM items LEFT JOIN standing USING ("case", number, region) '
            "WHERE items.state != COALESCE(standing.state, '')"
        ).fetchone()[0]
    stored = {sent: word for sent, _, word in rows}
    print(f"servers killed: {kills}; integrity check: {sound}; items that differ from what stands: {strayed}")
    print("| reader | acknowledged | sent again | lost | other than sent | twice | never acknowledged |")
    print("|---|---|---|---|---|---|---|")
    wrong = sound != "ok" or strayed > 0
    for reader in readers:
        own = [sent for sent, name, _ in rows if name == reader.own]
        lost = [sent for sent in reader.acknowledged if sent not in stored]
        other = [sent for sent, word in reader.acknowledged.items() if stored.get(sent, word) != word]
        more = [sent for sent in own if sent not in reader.acknowledged]
        cells = (len(reader.acknowledged), reader.sent_again, len(lost), len(other), len(own) - len(set(own)), len(more))
        print(f"| {reader.own} | " + " | ".join(map(str, cells)) + " |")
        wrong = wrong or any(cells[2:])
    with ReviewDb(audit) as db:
        counts = Worklist(db, "ann").counts(Filters())
    print(f"findings: {counts['all']}, decided by ann: {counts['decided']}, disagreed on: {counts['disagreed']}")
    return wrong


if __name__ == "__main__":
    main()
