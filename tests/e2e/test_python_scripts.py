"""Scripts of users: several processes without a guard, an end by Ctrl-C, and a bar in a notebook."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.datasets import build_folder

from debride import progress
from debride.spawning import not_run_again

TRAIN = """
import sys
from pathlib import Path
import debride

with Path("begun.txt").open("a") as file:
    file.write("x")
debride.train({method}, "data", "run", image_size=(16, 16), network="unet-small", width=2, device="cpu", log_to=(), **{more})
print("end")
"""


def run_script(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(code)
    return subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_script_needs_no_guard_for_several_processes(tmp_path: Path) -> None:
    build_folder(tmp_path / "data")
    done = run_script(tmp_path, TRAIN.format(method='"ce"', more={"devices": 2, "epochs": 1, "batch_size": 2, "jobs": 2}))
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("end\n") and done.stdout.count("end") == 1
    assert (tmp_path / "begun.txt").read_text() == "x"
    assert (tmp_path / "run" / "weights" / "best.safetensors").exists()


@pytest.mark.system
def test_a_script_that_is_interrupted_can_go_on(tmp_path: Path) -> None:
    build_folder(tmp_path / "data")
    (tmp_path / "script.py").write_text(TRAIN.format(method='"ce"', more={"epochs": 40, "jobs": 1}))
    process = subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    metrics, end = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") > 2) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode != 0 and "debride.stopping.Stopped: SIGTERM" in said
    assert 0 < metrics.read_text().count("\n") < 40
    done = run_script(tmp_path, TRAIN.format(method='"ce"', more={"epochs": 40, "jobs": 1, "resume": True}))
    assert done.returncode == 0, done.stderr
    assert "epoch 1/40" not in done.stdout and metrics.read_text().count("\n") == 40


def test_processes_do_not_see_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    main = SimpleNamespace(__file__="script.py", __spec__="spec", other=1)
    monkeypatch.setitem(sys.modules, "__main__", main)  # type: ignore[arg-type]
    with not_run_again("ce", "unet"):
        assert vars(main) == {"other": 1, "__spec__": None}
    assert vars(main) == {"__file__": "script.py", "__spec__": "spec", "other": 1}
    with not_run_again("ce", "__main__:network"):
        assert vars(main)["__file__"] == "script.py"
    with pytest.raises(KeyboardInterrupt), not_run_again():
        raise KeyboardInterrupt
    assert vars(main) == {"__file__": "script.py", "__spec__": "spec", "other": 1}


def test_a_notebook_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    handle = SimpleNamespace(update=shown.append)
    display = SimpleNamespace(HTML=str, display=lambda page, display_id: shown.append(page) or handle)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1)))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython.display", display)  # type: ignore[arg-type]
    clock = iter(range(100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with progress.track("looking <at> images", 4) as show:
        for done in (1, 2):
            show(done)
    first, second, last = shown
    assert first == 'looking &lt;at&gt; images: 1/4, about 3 s left <progress value="1" max="4"></progress>'
    assert second.startswith("looking &lt;at&gt; images: 2/4, about 2 s left") and last == ""
    assert progress.in_notebook()


def test_a_terminal_of_ipython_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=SimpleNamespace))  # type: ignore[arg-type]
    assert not progress.in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not progress.in_notebook()
