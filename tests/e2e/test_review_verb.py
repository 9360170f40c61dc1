"""``debride review`` as a user calls it: a page that answers until it is ended, and every mistake said with its remedy."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.audits import refused
from tests.datasets import build_folder
from tests.e2e.conftest import Command
from tests.review_folders import classes_audit
from tests.reviews import decide
from tests.written_audits import two_findings

from debride.audit.decided import ReviewDb
from debride.review.server import has_screen


@contextmanager
def served(*words: object) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address that a review prints, and its process, which is ended."""
    command = [sys.executable, "-m", "debride", "review", *map(str, words), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def asked(address: str, told: Any = None, **headers: str) -> tuple[int, Any]:
    """The status and the JSON of an answer."""
    body = None if told is None else json.dumps(told).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json", **headers} if body else headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            content = answer.read()
            return answer.status, json.loads(content) if answer.headers["content-type"] == "application/json" else content
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def ended(process: subprocess.Popen[str], number: signal.Signals) -> int:
    """The exit code of a review that is told to end."""
    process.send_signal(number)
    said = process.communicate(timeout=20)[1]
    assert "what was complete is kept" in said and "Traceback" not in said
    return process.returncode


def refuse_web_sockets(address: str) -> None:
    """Asserts that no path of a server upgrades a connection."""
    port, own = int(address.split(":")[2].split("/")[0]), "/" + address.split("/", 3)[3]
    for path in ("/", own, own + "api/items/1/decision"):
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.sendall(
                f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
            )
            assert line.recv(64).startswith((b"HTTP/1.1 403", b"HTTP/1.1 404"))


def many_questions_at_once(address: str) -> None:
    """Asserts that all are answered, decisions too."""
    paths = ["api/items", "api/counts"]
    paths += [f"api/items/{place}/{what}" for place in (1, 2, 3) for what in ("part", "layer/given", "layer/image")]
    wishes = [
        (f"api/items/{n}/decision", {"decision": "unsure", "comment": "", "sent": f"{n}-{k}"}) for n in (2, 3) for k in (1, 2)
    ]
    with ThreadPoolExecutor(12) as pool:
        answers = pool.map(lambda each: asked(address + each[0], each[1])[0], [*((path, None) for path in paths * 4), *wishes])
        assert set(answers) == {200}


def test_it_answers_until_it_is_ended(tmp_path: Path) -> None:
    _, audit = two_findings(tmp_path)
    with served(audit, "--reader", "ada") as (address, process):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[A-Za-z0-9_-]{43}/", address)
        status, page = asked(address)
        assert status == 200 and b"<!doctype html>" in page.lower()
        port = address.split(":")[2].split("/")[0]
        assert asked(f"http://127.0.0.1:{port}/")[0] == asked(f"http://127.0.0.1:{port}/x/api/about")[0] == 404
        assert asked(f"{address}api/about", Host="evil.example")[0] == 404
        wish = {"decision": "accept", "comment": "", "sent": "1"}
        assert asked(f"{address}api/items/1/decision", wish, Origin="http://evil.example")[0] == 403
        assert asked(f"{address}api/items/1/decision", wish)[0] == 200
        refuse_web_sockets(address)
        many_questions_at_once(address)
        assert ended(process, signal.SIGINT) == 130
    with ReviewDb(audit) as db:
        assert [each.decision for each in db.decisions()] == ["accept", *["unsure"] * 4]


def test_a_killed_server_loses_nothing_and_another_goes_on(tmp_path: Path) -> None:
    _, audit = two_findings(tmp_path)
    for number in (1, 2):
        with served(audit, "--reader", "ada") as (address, process):
            wish = {"decision": "reject", "comment": "", "sent": str(number)}
            assert asked(f"{address}api/items/{number}/decision", wish)[0] == 200
            process.send_signal(signal.SIGKILL)
    with served(audit, "--reader", "ben", "--blind") as (address, process):
        assert asked(f"{address}api/items?state=undecided")[1]["total"] == 3
        assert ended(process, signal.SIGTERM) == 143
    with served(audit, "--reader", "ada") as (address, process):
        assert asked(f"{address}api/items?state=undecided")[1]["total"] == 1
        assert ended(process, signal.SIGHUP) == 129


def test_mistakes_are_said(tmp_path: Path, debride: Command) -> None:
    dataset, audit = two_findings(tmp_path)
    ada = ("--reader", "ada", "--no-browser")
    refused(debride("review", tmp_path / "nothing", *ada), "does not exist", "debride audit --out")
    refused(debride("review", dataset.root, *ada), "no audit.json")
    refused(debride("review", audit), "--reader", "is missing")
    for name in ("", " ", " ada", "a\nb", "a\x1b[31m", "a\x00", "x" * 101, "\u202ea"):
        refused(debride("review", audit, "--reader", name, "--no-browser"), "--reader")
    refused(debride("review", audit, *ada, "--blind", "--adjudicate"), "--blind")
    refused(debride("review", audit, *ada, "--round", 0), "--round")
    refused(debride("review", audit, *ada, "--port", 70000), "--port")
    (tmp_path / "some.txt").write_text("p00_s0\nstranger\n")
    refused(debride("review", audit, *ada, "--cases", tmp_path / "some.txt"), "stranger", "does not have")
    (tmp_path / "some.txt").write_text("\n")
    refused(debride("review", audit, *ada, "--cases", tmp_path / "some.txt"), "names no case")
    refused(debride("review", audit, *ada, "--dataset", build_folder(tmp_path / "other")), "is of a data set with")
    refused(debride("review", audit, *ada, "--as", "coco"), "--as", "--export")
    refused(debride("review", audit, *ada, "--export", tmp_path / "out"), "--export")
    refused(debride("review", audit, *ada, "--import", audit, "--cases", tmp_path / "some.txt"), "--cases", "imported")
    refused(debride("review", audit, "--adjudicate", "--import", audit), "--reader", "is missing")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused(debride("review", audit, *ada, "--port", taken.getsockname()[1]), "--port", "cannot be had")
    moved = dataset.root.rename(tmp_path / "moved")
    refused(debride("review", audit, *ada), "not there any more", "--dataset")
    (tmp_path / "some.txt").write_text("p01_s1\n\np01_s1\n")
    with served(audit, "--reader", "ada", "--dataset", moved, "--cases", tmp_path / "some.txt") as (address, _):
        assert asked(f"{address}api/about")[1]["chosen"]
        chosen = asked(f"{address}api/items?view=chosen")[1]["items"]
        assert [(item["case"], item["number"]) for item in chosen] == [("p01_s1", 0)]
        assert asked(f"{address}api/items/1/layer/given")[0] == 200
    (audit / "findings.jsonl").unlink()
    refused(debride("review", audit, *ada, "--dataset", moved), "findings.jsonl")
    assert not (audit / "review.db").exists() or not list(ReviewDb(audit, may_write=False).decisions())


def test_an_audit_that_cannot_be_written_is_said(tmp_path: Path, debride: Command) -> None:
    _, audit = two_findings(tmp_path)
    audit.chmod(0o555)
    try:
        if not os.access(audit, os.W_OK):
            refused(debride("review", audit, "--reader", "ada", "--no-browser"), "review.db", "Check that")
    finally:
        audit.chmod(0o755)


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, debride: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    _, audit = two_findings(tmp_path)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    refused(debride("review", audit, "--reader", "ada", "--no-browser"), "pip install debride[review]")


def test_tables_and_files_go_out_and_in(tmp_path: Path, debride: Command) -> None:
    _, audit = two_findings(tmp_path)
    table = tmp_path / "decisions.csv"
    table.write_text("case,number,decision\np00_s0,1,accept\np01_s1,1,reject\n")
    assert "2 new decisions" in debride("review", audit, "--reader", "ada", "--import", table).out
    assert "0 new decisions" in debride("review", audit, "--reader", "ada", "--import", table).out
    assert "2 decisions" in debride("review", audit, "--export", tmp_path / "out").out
    assert (tmp_path / "out" / "decisions.csv").read_text().count("ada") == 2
    refused(debride("review", audit, "--export", tmp_path / "out"), "is not empty")
    assert "2 cases" in debride("review", audit, "--export", tmp_path / "coco", "--as", "coco").out
    assert "0 new decisions" in debride("review", audit, "--reader", "ada", "--import", tmp_path / "coco").out
    refused(debride("review", audit, "--export", tmp_path / "coco", "--as", "coco"), "coco")


def test_what_readers_disagree_on_is_listed(tmp_path: Path, debride: Command) -> None:
    _, audit = two_findings(tmp_path)
    refused(debride("review", audit, "--adjudicate"), "review.db", "nobody has reviewed")
    for reader, word in (("ada", "accept"), ("ben", "reject")):
        decide(audit, [(reader, "p00_s0", 1, word), (reader, "p01_s1", 1, "accept")])
    said = debride("review", audit, "--adjudicate")
    assert said.code == 0 and "1 in conflict: p00_s0 1" in said.out and "ada and ben, all: 2 findings, 50 % alike" in said.out


def test_images_with_one_class_each(tmp_path: Path, debride: Command) -> None:
    audit = classes_audit(tmp_path / "audit")
    refused(debride("review", audit, "--reader", "ada", "--no-browser"), "not there any more")


def test_a_browser_is_opened_where_there_is_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in text would take over the terminal."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert not has_screen()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert has_screen()
    monkeypatch.delenv("WAYLAND_DISPLAY")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert has_screen()
