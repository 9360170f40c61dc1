"""A page of another origin, in the browser of somebody who reviews: it learns nothing and decides nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Browser
from tests.review_pages import CHROMIUM, chromium
from tests.written_audits import two_findings

from debride.audit.decided import ReviewDb
from debride.review.opened import Reader, open_review
from debride.review.server import serving

pytestmark = [pytest.mark.system, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]

WISH = '{"decision": "accept", "comment": "", "sent": "foreign"}'

ATTACK = """
async ({base, wish}) => {
  const seen = {}, item = base + "api/items/1/";
  const tried = async (name, wanted) => {
    try {
      const answer = await wanted();
      seen[name] = answer.type === "opaque" ? "opaque" : `${answer.status} ${await answer.text()}`;
    } catch (error) { seen[name] = "refused"; }
  };
  const post = (kind, mode) => fetch(item + "decision", {method: "POST", mode, credentials: "include", body: wish,
    headers: kind ? {"content-type": kind} : {}});
  await tried("read", () => fetch(base + "api/items"));
  await tried("read unseen", () => fetch(base + "api/items", {mode: "no-cors"}));
  await tried("json", () => post("application/json", "cors"));
  await tried("plain", () => post("text/plain", "no-cors"));
  await tried("unnamed", () => post("", "no-cors"));
  await tried("form kind", () => post("application/x-www-form-urlencoded", "no-cors"));
  const painted = {method: "POST", mode: "no-cors", body: new Uint8Array(1024).fill(1)};
  await tried("edit", () => fetch(item + "edit?sent=foreign", painted));
  seen.beacon = String(navigator.sendBeacon(item + "decision", new Blob([wish], {type: "text/plain"})));
  const loaded = (tag, address) => new Promise(done => {
    const element = document.createElement(tag);
    element.onload = () => done(tag === "iframe" ? "loaded" : "read");
    element.onerror = () => done("refused");
    element[tag === "link" ? "href" : "src"] = address;
    if (tag === "link") element.rel = "stylesheet";
    document.body.append(element);
    setTimeout(() => done("nothing"), 1500);
  });
  seen.img = await loaded("img", item + "picture.png");
  seen.script = await loaded("script", base + "static/review.js");
  seen.link = await loaded("link", base + "static/report.css");
  seen.iframe = await loaded("iframe", base);
  const frame = document.querySelector("iframe");
  try { seen.framed = frame.contentDocument ? String(frame.contentDocument.body.innerHTML.length) : "none"; }
  catch (error) { seen.framed = "none"; }
  seen.socket = await new Promise(done => {
    const socket = new WebSocket(base.replace("http", "ws") + "api/items/1/decision");
    socket.onopen = () => done("open");
    socket.onerror = () => done("refused");
  });
  const form = document.createElement("form");
  const field = document.createElement("input");
  [form.method, form.action, form.enctype, form.target] = ["POST", item + "decision", "text/plain", "there"];
  [field.name, field.value] = ['{"decision": "accept", "comment": "', '", "sent": "foreign"}'];
  form.append(field);
  const there = document.createElement("iframe");
  there.name = "there";
  document.body.append(there, form);
  form.submit();
  await new Promise(done => setTimeout(done, 500));
  const popup = window.open(base);
  await new Promise(done => setTimeout(done, 1000));
  try { seen.popup = popup && popup.document ? String(popup.document.body.innerHTML.length) : "none"; }
  catch (error) { seen.popup = "none"; }
  return seen;
}
"""


POSTED = """async ({path, wish}) => {
  const answer = await fetch(path, {method: "POST", body: wish, headers: {"content-type": "application/json"}});
  return answer.status;
}"""


class Foreign(BaseHTTPRequestHandler):
    """A page of somebody else."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>somebody else</title><body></body>")

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def foreign_page() -> Iterator[int]:
    """The port of a server of somebody else."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Foreign)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium("--host-resolver-rules=MAP evil.example 127.0.0.1") as opened:
        yield opened


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("knows", [False, True], ids=["a guessed token", "the token itself"])
def test_a_foreign_page_decides_nothing(browser: Browser, tmp_path: Path, knows: bool, host: str) -> None:
    """Even one that knew the token could send nothing that is done, and read no answer."""
    dataset, audit = two_findings(tmp_path)
    (audit / "pictures").mkdir()
    (audit / "pictures" / "p00_s0-1.png").write_bytes(b"\x89PNG")
    with serving(open_review(audit, dataset, Reader("ada"))) as address, foreign_page() as port:
        base = address if knows else address[: address.rindex("/", 0, -1) + 1] + "A" * 43 + "/"
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"http://{host}:{port}/")  # another port is another origin, and localhost another site too
        seen = page.evaluate(ATTACK, {"base": base, "wish": WISH})
        context.close()
        expected = dict.fromkeys(("read", "json", "img", "script", "link", "socket"), "refused")
        expected |= {"framed": "none", "popup": "none"}
        assert {name: seen[name] for name in expected} == expected, seen
        hidden = ("read unseen", "plain", "unnamed", "form kind", "edit")
        assert {seen[name] for name in hidden} <= {"opaque", "refused"}, seen
        with ReviewDb(audit) as db:
            assert not list(db.decisions())
        assert not (audit / "review" / "edits").exists()


def test_a_name_that_is_given_this_address_reads_nothing(browser: Browser, tmp_path: Path) -> None:
    """DNS rebinding: the browser takes evil.example for this machine, and its pages for pages of one origin with the server."""
    dataset, audit = two_findings(tmp_path)
    with serving(open_review(audit, dataset, Reader("ada"))) as address:
        port, token = address.split(":")[2].rstrip("/").split("/")
        page = browser.new_page()
        for path in ("", f"{token}/", f"{token}/api/items"):
            answer = page.goto(f"http://evil.example:{port}/{path}")
            assert answer is not None and answer.status == 404 and answer.text() == "404"
        wish = {"path": f"/{token}/api/items/1/decision", "wish": WISH}
        assert page.evaluate(POSTED, wish) == 404
        page.close()
        with ReviewDb(audit) as db:
            assert not list(db.decisions())
