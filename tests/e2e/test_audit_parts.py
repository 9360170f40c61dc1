"""Audits by several processes, in shards, and since an earlier one, from the command line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.audits import QUICK, Audited, about, contents, picture_set, refused, table
from tests.e2e.conftest import Command

from debride.execute import local


def test_two_processes_and_two_shards_come_to_the_same_bytes(
    debride: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first look of the whole is by two processes; the rest in this one."""
    picture_set(tmp_path, n=8, size=24)
    words = ["audit", tmp_path / "data", "--predictions", tmp_path / "probability", "--planted", 3, "--pictures", 1]
    with monkeypatch.context() as patch:
        patch.setattr(local, "ALONE", 0.0)
        answer = debride(*words, "--out", tmp_path / "whole", "--jobs", 2)
        assert answer.code == 0, answer.err
    first = debride(*words, "--out", tmp_path / "parts", "--jobs", 1, "--shard", "2/2")
    assert first.code == 0 and "4 of 8 labels were looked at, 0 of 8 judged" in first.out
    refused(debride(*words, "--out", tmp_path / "parts", "--merge"), "has not looked at 4 of 8 cases")
    second = debride(*words, "--out", tmp_path / "parts", "--jobs", 1, "--shard", "1/2")
    assert second.code == 0 and "8 of 8 labels were looked at, 4 of 8 judged" in second.out and "--merge" in second.out
    merged = debride(*words, "--out", tmp_path / "parts", "--jobs", 1, "--merge")
    assert merged.code == 0 and str(tmp_path / "parts" / "report.html") in merged.out
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_work_on_cases_loads_no_network() -> None:
    for module, others in (("each_case", ("torch", "monai", "sklearn")), ("passes", ("torch", "monai"))):
        code = f"import sys, debride.audit.{module}; sys.exit(any(name in sys.modules for name in {others}))"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_since_an_audit(audited: Audited, debride: Command, tmp_path: Path) -> None:
    words = ["audit", audited.data, "--predictions", audited.root / "probability", *QUICK, "--jobs", 1]
    val = {case.id for case in audited.dataset().of("val")}
    assert debride(*words, "--out", tmp_path / "val", "--splits", "val").code == 0
    answer = debride(*words, "--out", tmp_path / "all", "--since", tmp_path / "val")
    assert answer.code == 0, answer.err
    assert f"since {tmp_path / 'val'}: {30 - len(val)} new, 0 changed, 0 gone, {len(val)} unchanged" in answer.out
    told, rows = about(tmp_path / "all")["since"], table(tmp_path / "all" / "cases.csv")
    flagged = {row["case"] for row in rows if row["flagged"] == "1"}
    assert set(told["newly_flagged"]) <= flagged and f"newly flagged: {told['newly_flagged'][0]}" in answer.out
    assert {row["case"] for row in rows if row["since"] == "new"} == {row["case"] for row in rows} - val


def test_parts_and_earlier_audits_that_are_refused(audited: Audited, debride: Command, tmp_path: Path) -> None:
    maps = audited.root / "probability"
    words = ["audit", audited.data, "--out", tmp_path / "a"]
    for part in ("0/2", "3/2", "1", "1/2/3", "a/b", "1/0"):
        assert debride(*words, "--predictions", maps, "--shard", part).code == 2
    assert debride(*words, "--predictions", maps, "--shard", "1/2", "--merge").code == 2
    refused(debride(*words, "--shard", "1/2"), "--shard", "is for predictions or networks that there are already")
    refused(debride(*words, "--merge"), "--merge", "is for predictions")
    refused(debride(*words, "--predictions", maps, "--merge"), "has not looked at 30 of 30 cases")
    refused(debride(*words, "--since", audited.audit), "--since", "Give --predictions too")
    refused(debride(*words, "--predictions", maps, "--since", maps), "is not a folder of an audit")
    old = shutil.copytree(audited.audit, tmp_path / "old")
    (old / "results.jsonl").unlink()
    refused(debride(*words, "--predictions", maps, "--since", old), "has no results.jsonl", "Audit without --since")
    refused(debride(*words[:3], old / "in", "--predictions", maps, "--since", old), "lies in the earlier audit")
    assert not (tmp_path / "a" / "audit.json").exists()
