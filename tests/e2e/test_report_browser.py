"""An audit's report in a browser, where there is one: filters, sorting, decisions, and that no request leaves the page."""

import json
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.large_audit import write_large_audit
from tests.unit.test_audit_report import audit, finding, line, usual

from debride.audit.decided.decision_tables import read_decision_table
from debride.audit.shown.audit_report import write_report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [pytest.mark.system, pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")]


def dom(path, profile, fragment="", script=""):
    """The page after its scripts and one more have run, as HTML."""
    if script:
        page = path.read_text(encoding="utf-8")
        path = path.with_name("with-script.html")
        path.write_text(page.replace("</body>", f"<script>{{ {script} }}</script></body>"), encoding="utf-8")
    words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--virtual-time-budget=4000"]
    command = [BROWSER, *words, f"--user-data-dir={profile}", "--dump-dom", path.as_uri() + fragment]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout


def drawn(html):
    """The findings that are drawn, by their places in the list."""
    return [int(place) for place in re.findall(r'<article[^>]*id="f(\d+)"', html)]


def test_filters_can_be_set_by_the_address(tmp_path):
    path = write_report(usual(tmp_path / "audit"))
    for fragment, expected in (
        ("#kind=extra", [2]),
        ("#class=2", [1]),
        ("#confidence=0.95&case=P1", [0]),
        ("#findings", [0, 1, 2]),
        ("#f1", [0, 1, 2]),
    ):
        html = dom(path, tmp_path / "profile", fragment)
        assert drawn(html) == expected, fragment
        assert f"{len(expected)} of 3 pass" in html
        assert html.count('<img alt="Case p1') == sum(place < 2 for place in expected)


def test_decisions_are_downloaded_as_repair_reads_them(tmp_path):
    findings = [finding("p1", 1), finding("p1", 2, "boundary", 2, 0, displacement=1.0), finding('p,"2"', 1, "extra", 1, 0)]
    folder = audit(tmp_path / "audit", findings, [line("p1", findings=2), line('p,"2"', 2, 0.95)])
    script = """
      const keep = text => { document.body.dataset.csv = JSON.stringify(text); };
      URL.createObjectURL = blob => { blob.text().then(keep); return "#"; };
      const press = (key, target) => target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      const boxes = [...document.querySelectorAll("article input")];
      boxes[0].click();
      boxes[1].click();
      press("j", document.body);
      press("j", document.activeElement);
      press("a", document.activeElement);
      document.getElementById("kind").value = "extra";
      document.getElementById("filters").dispatchEvent(new Event("input", { bubbles: true }));
      document.querySelector("[data-all=reject]").click();
      document.querySelectorAll("th button")[1].click();
      const rows = [...document.querySelectorAll("#rows tr:not(.space)")];
      document.body.dataset.order = rows.map(row => row.cells[1].textContent).join(" ");
      document.querySelector("td a[href='#f0']").click();
      document.body.dataset.at = document.activeElement.id;
      document.getElementById("download").click();
    """
    html = dom(write_report(folder), tmp_path / "profile", script=script)
    assert 'data-order="0.90 0.95"' in html and 'data-at="f0"' in html
    assert drawn(html) == [0, 1, 2] and '<span id="decided">3</span>' in html
    text = json.loads(re.search(r'data-csv="([^"]*)"', html)[1].replace("&quot;", '"').replace("&amp;", "&"))
    assert text == 'case,number,decision\np1,1,reject\np1,2,accept\n"p,""2""",1,reject\n'
    path = tmp_path / "decisions.csv"
    path.write_text(text)
    read = read_decision_table(path, [("", each.case, each.number) for each in findings])
    assert {told.decision.key: told.decision.decision for told in read} == {
        ("", "p1", 1): "reject",
        ("", "p1", 2): "accept",
        ("", 'p,"2"', 1): "reject",
    }


def test_ten_thousand_cases_are_drawn_a_screen_at_a_time(tmp_path):
    findings = write_large_audit(tmp_path / "audit", 10_000, pictures=20)
    script = """
      const keep = text => { document.body.dataset.csv = text.replaceAll("\\n", " "); };
      URL.createObjectURL = blob => { blob.text().then(keep); return "#"; };
      const press = key => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      const told = { elements: document.querySelectorAll("*").length };
      told.pictures = document.querySelectorAll("article img").length;
      document.getElementById("next").click();
      told.second = document.activeElement.id;
      press("k");
      told.first = document.activeElement.id;
      document.getElementById("kind").value = "swap";
      document.getElementById("filters").dispatchEvent(new Event("input", { bubbles: true }));
      told.address = location.hash;
      document.querySelector("[data-all=accept]").click();
      told.accepted = Number(document.getElementById("decided").textContent);
      document.querySelector("[data-all='']").click();
      document.getElementById("undo").click();
      told.again = Number(document.getElementById("decided").textContent);
      const box = document.querySelector(".ranking");
      box.scrollTop = box.scrollHeight;
      box.dispatchEvent(new Event("scroll"));
      told.last = document.querySelector("#rows tr:nth-last-child(2)").getAttribute("aria-rowindex");
      document.getElementById("name").value = "patient00042";
      document.getElementById("narrow").dispatchEvent(new Event("input", { bubbles: true }));
      told.named = document.querySelectorAll("#rows tr:not(.space)").length;
      told.most = document.querySelectorAll("*").length;
      document.body.dataset.told = JSON.stringify(told);
      document.getElementById("download").click();
    """
    html = dom(write_report(tmp_path / "audit"), tmp_path / "profile", script=script)
    told = json.loads(re.search(r'data-told="([^"]*)"', html)[1].replace("&quot;", '"'))
    swaps = [each for each in findings if each.kind == "swap"]
    assert told["elements"] < 3500 and told["most"] < 3500 and told["pictures"] == 20
    assert (told["first"], told["second"], told["address"]) == ("f59", "f60", "#kind=swap")
    assert told["accepted"] == told["again"] == len(swaps) > 60
    assert (told["last"], told["named"]) == ("10001", 5)
    lines = re.search(r'data-csv="([^"]*)"', html)[1].split()
    assert lines == ["case,number,decision", *(f"{each.case},{each.number},accept" for each in swaps)]


def test_the_page_cannot_make_requests(tmp_path):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        path = write_report(usual(tmp_path / "audit"))
        root = f"http://127.0.0.1:{server.server_port}"
        script = f"""
          fetch("{root}/fetch").catch(() => 0);
          new Image().src = "{root}/image";
          const style = document.createElement("style");
          style.textContent = "body {{ background-image: url({root}/style) }}";
          document.head.append(style);
        """
        dom(path, tmp_path / "profile", script=script)
        assert asked == []
        path.write_text(re.sub(r"<meta http-equiv=[^>]*>", "", path.read_text(encoding="utf-8")), encoding="utf-8")
        dom(path, tmp_path / "profile", script=script)
        assert {"/fetch", "/image", "/style"} <= set(asked)
    finally:
        server.shutdown()
        server.server_close()


def test_a_long_doubt_is_read_to_its_end(tmp_path):
    folder = audit(tmp_path / "audit", [finding("p1", 1)], [line("p1"), line("p2", 2, 0.1, 0, "", 0)])
    head, *lines = (folder / "cases.csv").read_text().splitlines()
    doubt = "looks mirrored left to right by the edges of the image; " * 3
    (folder / "cases.csv").write_text("\n".join([f"{head},doubts", *(f"{each},{doubt}" for each in lines)]) + "\n")
    script = """
      const cells = [...document.querySelectorAll("#rows td.words:last-child")];
      document.body.dataset.cut = cells.filter(each => each.scrollWidth > each.clientWidth).length;
      document.body.dataset.lines = cells.filter(each => each.clientHeight > 40).length;
    """
    html = dom(write_report(folder), tmp_path / "profile", script=script)
    assert 'data-cut="0"' in html and 'data-lines="2"' in html
