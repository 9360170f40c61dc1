"""The code on the page of arrays runs, and finds what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import debride
from debride import metrics, noise
from debride.evaluation.class_metrics import CLASS_METRICS
from debride.evaluation.mask_metrics import METRICS

PAGE = (Path(__file__).parents[2] / "docs" / "arrays.md").read_text()


def test_the_code_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    first, *others = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(first, names)
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert capsys.readouterr().out == shown
    found = names["found"]
    assert np.flatnonzero(found.flagged).tolist() == list(range(0, 40, 5))
    exec(others[0], names)
    assert found.share == pytest.approx(0.2, abs=0.1) and len(names["table"]) == 40
    better = [int((after != right).sum()) for after, right in zip(names["repaired"], names["right"], strict=True)]
    worse = [int((before != right).sum()) for before, right in zip(names["labels"], names["right"], strict=True)]
    assert sum(better) < 0.1 * sum(worse)
    exec(others[1], names)
    assert (names["given"] == names["classes"]).mean() == 0.8 and (names["repaired"] == names["classes"]).mean() > 0.95
    for block in others[2:]:
        exec(block.replace("jobs=1", "jobs=1, planted=4"), names)
    assert {"weaker", "moved", "logits"} <= set(names)


def test_the_page_names_all() -> None:
    for name in (*METRICS, *CLASS_METRICS):
        assert f"`{name}`" in PAGE and hasattr(metrics, name)
    for name in noise.NOISES:
        assert f"`{name.replace('-', '_')}`" in PAGE
    for attribute in re.findall(r"^\| `(\w+)`", PAGE.split("## What it gives")[1].split("## ")[0], re.MULTILINE):
        assert attribute in ("order", "wrong", "share", "findings", "noise", "summary", "doubts", "proposed") or hasattr(
            debride.audit.from_arrays.label_audit.MaskAudit, attribute
        )
