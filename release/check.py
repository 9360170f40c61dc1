"""What is looked at before a release, in new environments of its own. It takes minutes, and gigabytes of a temporary folder.

    python release/check.py built                        # a wheel: what is in it, and whether it installs and works alone
    python release/check.py oldest                       # the tests of single parts with the oldest versions that are allowed
    python release/check.py other --python python3.13    # what needs no PyTorch, on another Python

``--torch`` says what to install in place of the PyTorch that an index would give, such as ``torch==2.13.0+cpu`` with
``PIP_FIND_LINKS``. What is committed is built, and nothing else.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEARNING = ("torch", "monai", "lightning-fabric", "tensorboard")
USED = """\
debride --version
debride methods
debride datasets generated --out scans --set cases=12 wrong=2
debride check scans
debride corrupt scans noisy --noise markov
debride evaluate noisy/masks scans --splits train --out measured
debride choose scans --count 2 --out verified.txt
debride completions bash
"""
LEARNT = """\
debride train ce scans --out run --epochs 1 --image-size 32 32 --network unet-small --width 2 --device cpu --log-to none
debride predict run scans --out masks --device cpu
debride audit scans --without-predictions --out first
debride audit scans --predictions masks --out audit --planted 6
debride repair scans audit --out repaired --accept all
"""


def do(*command: object, cwd: Path = ROOT, **environment: str) -> str:
    """The standard output of a command, whose words are shown; ends everything where it fails."""
    print("$", *command, flush=True)
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    words = list(map(str, command))
    done = subprocess.run(words, cwd=cwd, env={**clean, **environment}, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}\n{words[0]} ended with {done.returncode}")
    return done.stdout


def build(folder: Path) -> tuple[Path, Path]:
    """The wheel and the source archive of what is committed. The wheel is made from the source archive alone."""
    clone = folder / "clone"
    do("git", "clone", "-q", ROOT, clone)
    do("git", "-C", clone, "checkout", "-q", do("git", "rev-parse", "HEAD").strip())
    do(sys.executable, "-m", "build", "--outdir", folder / "dist", clone)
    wheel, source = next((folder / "dist").glob("*.whl")), next((folder / "dist").glob("*.tar.gz"))
    do(sys.executable, "-m", "twine", "check", "--strict", wheel, source)
    return wheel, source


def check_content(wheel: Path, source: Path) -> None:
    """Every file of the package is in the wheel, and nothing else but what a wheel says of itself."""
    committed = do("git", "ls-files", "src/debride").split()
    expected = {path.removeprefix("src/") for path in committed}
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == expected, (sorted(found - expected), sorted(expected - found))
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "SECURITY.md", "pyproject.toml", *committed}
    assert needed <= names, sorted(needed - names)
    print(f"{wheel.name}: {len(found)} files, {wheel.stat().st_size >> 10} kB; {source.name}: {source.stat().st_size >> 10} kB")


def environment(folder: Path, python: str | None) -> Path:
    """The folder of programs of a new environment."""
    if python is None:
        venv.create(folder, with_pip=True)
    else:
        do(python, "-m", "venv", folder)
    return folder / "bin"


def use(programs: Path, lines: str, folder: Path) -> None:
    """Does commands in a folder, by an environment."""
    for line in lines.splitlines():
        verb, *words = line.split()
        do(programs / verb, *words, cwd=folder, OMP_NUM_THREADS="1")


def built(folder: Path, torch: str, python: str | None) -> None:
    """A wheel that is installed without any constraints, and used."""
    wheel, source = build(folder)
    check_content(wheel, source)
    programs = environment(folder / "clean", python)
    do(programs / "pip", "install", "-q", torch)
    do(programs / "pip", "install", "-q", f"{wheel}[review]")
    do(programs / "pip", "check")
    use(programs, USED + LEARNT, folder)


def other(folder: Path, torch: str, python: str | None) -> None:
    """A wheel on a Python for which there may be no PyTorch: what needs none works, and the rest says so."""
    wheel, _ = build(folder)
    programs = environment(folder / "other", python)
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    do(programs / "pip", "install", "-q", *(name for name in dependencies if not name.startswith(LEARNING)))
    do(programs / "pip", "install", "-q", "--no-deps", wheel)
    use(programs, USED, folder)
    command = [programs / "debride", "train", "ce", "scans", "--out", "run"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert said.returncode == 2 and "this needs torch" in said.stderr, said.stderr


def oldest(folder: Path, torch: str, python: str | None) -> None:
    """The tests of single parts with the oldest versions that pyproject.toml allows, but for PyTorch's."""
    (folder / "torch.txt").write_text(torch + "\n")
    programs = environment(folder / "oldest", python)
    links = ["--find-links", os.environ["PIP_FIND_LINKS"]] if "PIP_FIND_LINKS" in os.environ else []
    lowest = ("--resolution", "lowest-direct", "--extra", "test", "--override", folder / "torch.txt")
    uv, chosen = Path(sys.executable).with_name("uv"), folder / "chosen.txt"
    interpreter = ("--python", programs / "python")
    do(uv, "pip", "compile", "-q", *interpreter, *lowest, *links, "pyproject.toml", "-o", chosen)
    do(uv, "pip", "install", "-q", *interpreter, *links, "--no-deps", "-r", chosen)
    do(uv, "pip", "install", "-q", *interpreter, "--no-deps", ROOT)
    tests = ("-m", "not slow and not system", "tests/unit", "tests/contract")
    print(do(programs / "python", "-m", "pytest", "-q", *tests, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")[-500:])


CHECKS = {"built": built, "oldest": oldest, "other": other}


def main() -> None:
    """Does the checks that are named, each in a temporary folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checks", nargs="+", choices=CHECKS)
    parser.add_argument("--torch", default="torch", help="the requirement for PyTorch (default: torch)")
    parser.add_argument("--python", help="another Python than the one that runs this")
    arguments = parser.parse_args()
    for name in arguments.checks:
        with tempfile.TemporaryDirectory(prefix="debride-release-") as folder:
            CHECKS[name](Path(folder), arguments.torch, arguments.python)
            print(f"{name}: all is well", flush=True)


if __name__ == "__main__":
    main()
