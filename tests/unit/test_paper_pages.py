"""The pages of the papers hold what their files and the committed rows say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from benchmarks import paper_pages
from benchmarks.paper_pages import PAGES, filled

from debride.bench.papers.paper_items import paper_names, read_paper
from debride.types import DataError

PAPER = """
title: A paper
items:
  table-1:
    title: Two methods
    kind: grid
    columns: [Kvasir]
    printed: {CE: ["70"], JoCoR: ["71"], SAM: ["80"]}
    rows: {CE: ce, JoCoR: jocor}
    cells: {Kvasir: [polyps, mild]}
    missing: {SAM: Its weights are not shipped.}
    here:
      - {file: rows.jsonl, budget: 8 images, command: make rows, rows: {CE: ce}, cells: {Kvasir: [Kvasir-SEG, S_R]}}
    grid:
      datasets: {polyps: {path: x}}
      noises: {mild: {noise: markov}}
      methods: {ce: null, jocor: null}
  figure-1: {title: A picture, kind: none, why: It is drawn by hand.}
"""

DRAWN = """
title: A paper
items:
  table-1:
    title: What methods cost
    kind: cost
    columns: [Time, Memory]
    measure: [training_min, memory]
    printed: {CE: ["4.4", "1.7"]}
    rows: {CE: ce}
    cells: &cells {Time: [polyps, mild], Memory: [polyps, mild]}
    here:
      - {file: costs.jsonl, budget: 8 images, command: make costs, rows: {CE: ce}, cells: *cells}
    grid: &grid
      datasets: {polyps: {path: x}}
      noises: {mild: {noise: markov}}
      methods: {ce: null}
  figure-2:
    title: A curve
    kind: curve
    figure: filter
    here:
      - file: curve.json
        picture: curve.svg
        budget: 8 images
        command: make curve
        shows: It ends at {0[ce by default][dice][1]:.2f}.
    grid: *grid
"""

ROW = '{"dataset":"Kvasir-SEG","noise":"S_R","method":"ce","seed":0,"failed":null,"best":{"dice":0.5}}\n'

TEXT = "Words.\n<!-- table-1 -->\nold\n<!-- /table-1 -->\nMore.\n<!-- figure-1 -->\n<!-- /figure-1 -->\nEnd.\n"


@pytest.mark.parametrize("name", paper_names())
def test_every_page_is_as_the_rows_say(name: str) -> None:
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert text == filled(text, name, read_paper(name)), "run python -m benchmarks.paper_pages"
    shown = {found["id"] for found in paper_pages.MARKED.finditer(text)}
    tables = {id for id in read_paper(name).items if re.fullmatch(r"table-\d+", id)}
    assert not tables - shown, "tables that the page leaves out"


def test_tables_are_put_between_their_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper_pages, "ROOT", tmp_path)
    (tmp_path / "rows.jsonl").write_text(ROW)
    (tmp_path / "paper.yaml").write_text(PAPER)
    paper = read_paper("paper", tmp_path)
    once = filled(TEXT, "paper", paper)
    assert filled(once, "paper", paper) == once
    assert once.startswith("Words.\n<!-- table-1 -->\n\n- Here: 8 images, `make rows`, [rows](../../rows.jsonl).\n")
    assert "| CE | 70 |\n| here: ce | 50.00 (1) |\n| JoCoR | 71 |\n| SAM | 80 |\n" in once and "old" not in once
    assert "- SAM: Its weights are not shipped.\n\nAt the paper's size: `debride bench --paper paper table-1 --out" in once
    assert once.endswith("<!-- figure-1 -->\n\nNot here: It is drawn by hand.\n\n<!-- /figure-1 -->\nEnd.\n")
    with pytest.raises(DataError, match="has a mark without the other one"):
        filled(TEXT.replace("<!-- /table-1 -->", ""), "paper", paper)
    with pytest.raises(DataError, match="has no table-2"):
        filled(TEXT.replace("table-1", "table-2"), "paper", paper)
    (tmp_path / "rows.jsonl").write_text(ROW.replace("S_R", "S_E"))
    with pytest.raises(DataError, match="has no row for Two methods"):
        filled(TEXT, "paper", paper)
    (tmp_path / "rows.jsonl").unlink()
    with pytest.raises(DataError, match="does not exist"):
        filled(TEXT, "paper", paper)


def test_costs_and_pictures_are_those_of_the_committed_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper_pages, "ROOT", tmp_path)
    (tmp_path / "paper.yaml").write_text(DRAWN)
    (tmp_path / "costs.jsonl").write_text('{"dataset":"polyps","method":"ce","training_min":1.234,"memory":null}\n')
    (tmp_path / "curve.json").write_text('{"ce by default": {"dice": [0.5, 0.756]}}')
    (tmp_path / "curve.svg").write_text("<svg/>")
    paper = read_paper("paper", tmp_path)
    page = filled("<!-- table-1 -->\n<!-- /table-1 -->\n<!-- figure-2 -->\n<!-- /figure-2 -->\n", "paper", paper)
    assert "- Here: 8 images, `make costs`, [rows](../../costs.jsonl).\n\n" in page
    assert "| CE | 4.4 | 1.7 |\n| here: ce | 1.23 | – |\n" in page
    assert (
        "- Here: 8 images, `make curve`, [numbers](../../curve.json).\n\n![A curve](../../curve.svg)\n\nIt ends at 0.76.\n"
        in page
    )
    (tmp_path / "curve.svg").unlink()
    with pytest.raises(DataError, match=r"curve.svg.*does not exist"):
        filled("<!-- figure-2 -->\n<!-- /figure-2 -->\n", "paper", paper)
