"""Names from outside: package.module:Class, entry points, and which of them a file may bring in."""

import sys
from pathlib import Path

import pytest

from debride.data import pixels
from debride.data.formats import FORMATS, find_format
from debride.data.pixels import PIXELS, find_pixels, outside_pixels, use_pixels
from debride.methods import METHODS, find_method
from debride.methods.ce import CrossEntropy
from debride.plugins import Registry, Trust, is_path, load, registered
from debride.types import DataError

OWN = """
from dataclasses import dataclass
from debride.methods.base import Method, Paper
from debride.methods.ce import CrossEntropy

class Good(CrossEntropy):
    pass

class NoPaper(Method):
    pass

class NoConfig(Method):
    paper = CrossEntropy.paper

class Bare(CrossEntropy):
    @dataclass(frozen=True, kw_only=True)
    class Config:
        needed: int

class NoTask(CrossEntropy):
    tasks = frozenset()

good = Good(CrossEntropy.Config(), lambda: None, 2) if False else object()
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on Python's path with a module own_methods, and an installed package that registers three names."""
    (tmp_path / "own_methods.py").write_text(OWN)
    (tmp_path / "broken_methods.py").write_text("raise ValueError('broken here')")
    names = "better = own_methods:Good\nce = own_methods:Good\nbroken = broken_methods:Any\nbare = own_methods:Bare"
    install(tmp_path, "own", names)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("own_methods", "broken_methods"):
        sys.modules.pop(name, None)


def install(folder: Path, package: str, names: str, group: str = "debride.methods") -> None:
    """What an installer writes of a package that registers names."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{names}\n")


def test_a_class_is_found_by_its_path(own: Path) -> None:
    found = find_method("own_methods:Good")
    assert issubclass(found, CrossEntropy) and found.__name__ == "Good"
    assert "own_methods:Good" not in METHODS


def test_a_registered_name_is_found_but_never_over_a_built_in_one(own: Path) -> None:
    assert {"better", "ce", "broken"} <= set(registered("debride.methods"))
    assert "own_methods" not in sys.modules, "listing names imports nothing"
    assert find_method("ce") is CrossEntropy
    assert "own_methods" not in sys.modules, "nor does a built-in name"
    assert find_method("better").__name__ == "Good"


def test_two_packages_with_one_name_are_told_apart(own: Path) -> None:
    install(own, "other", "better = other_methods:Good")
    with pytest.raises(DataError, match=r"'better' is registered by other and own.*package\.module:Class"):
        find_method("better")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("own_methods:Missing", r"cannot import .* \(own_methods has no Missing\)\. Correct the name.*own_methods\.py"),
        ("sys:Missing", r"method sys:Missing: cannot import 'sys:Missing' \(sys has no Missing\)"),
        ("./own_methods.py:Good", r"cannot import '\./own_methods\.py:Good'\. Give a module, not a file: own_methods:Good"),
        ("own_methods.py:Good", r"cannot import 'own_methods\.py:Good'\. Give a module, not a file: own_methods:Good"),
        ("no_such.module:Class", r"cannot import 'no_such\.module:Class' \(No module named 'no_such'\)\. Install"),
        ("broken_methods:Any", r"cannot import 'broken_methods:Any' \(ValueError: broken here\)"),
        ("broken", r"method broken: cannot import 'broken_methods:Any' \(ValueError: broken here\)"),
        ("own_methods:dataclass", r"own_methods:dataclass: is no class derived from debride\.methods\.base\.Method"),
        ("own_methods:good", r"own_methods:good: is no class derived from"),
        ("own_methods:NoPaper", r"has no paper: .*debride\.methods\.base\.Paper\. See the documentation, page how-to/method"),
        ("own_methods:NoConfig", r"has no Config: a dataclass of its settings"),
        ("own_methods:Bare", r"has a Config with settings that have no default: needed"),
        ("bare", r"has a Config with settings that have no default: needed"),
        ("own_methods:NoTask", r"has the tasks none; there are segmentation and classification"),
        ("nothing", r"method nothing: does not exist\. Choose one of ce, .*; installed: bare, better, broken, ce; or name"),
        (":", r"cannot import ':'"),
    ],
)  # fmt: skip
def test_what_is_no_method_is_refused_with_what_it_lacks(name: str, says: str, own: Path) -> None:
    with pytest.raises(DataError, match=says):
        find_method(name)


def test_a_refusal_names_the_file_that_the_name_stands_in(own: Path) -> None:
    for name in ("nothing", "own_methods:Missing", "own_methods:NoPaper", "broken"):
        with pytest.raises(DataError, match=r"^grid\.yaml, methods: .*"):
            find_method(name, "grid.yaml, methods")


def test_every_built_in_path_leads_to_a_method() -> None:
    for name, method in METHODS.items():
        assert find_method(name) is method and METHODS.lacks(method) == "", name


def test_a_registry_imports_what_is_asked_for_alone(own: Path) -> None:
    registry: Registry[object] = Registry(
        "thing", "no.group", lambda _: "", {"good": "own_methods:Good", "bad": "broken_methods:Any"}
    )
    assert list(registry) == ["good", "bad"] and "bad" in registry and len(registry) == 2
    assert "own_methods" not in sys.modules
    assert registry["good"] is load("own_methods:Good", "here")
    with pytest.raises(ValueError, match="broken here"):  # a mistake of the house's own is not a user's
        registry["bad"]
    with pytest.raises(KeyError):
        registry["missing"]
    registry["new"] = 3
    assert registry.find("new") == 3
    del registry["new"]
    assert "new" not in registry


@pytest.mark.parametrize(
    ("word", "path"),
    [("a:B", True), ("a.b.c:D.e", True), ("clip:0:1", False), ("C:\\data", False), ("a", False), (":", False), ("a.:b", False)],
)
def test_a_path_is_told_from_other_words(word: str, path: bool) -> None:
    assert is_path(word) is path


def test_trust_admits_what_the_user_named() -> None:
    for name in ("ce", "better", 3, None):
        Trust().admit(name, "run.json")  # no module is imported because of these
    Trust(everything=True).admit("mine:Method", "run.json")
    Trust(named=frozenset({"mine:Method"})).admit("mine:Method", "run.json")
    with pytest.raises(DataError, match=r"^run\.json: names mine:Other, a module that would be imported .*--trust-code"):
        Trust(named=frozenset({"mine:Method"})).admit("mine:Other", "run.json")
    with pytest.raises(DataError, match=r"--trust-code, or name it again: --method mine:Method\."):
        Trust().admit("mine:Method", "run.json", "--method")


LAYOUTS = """
from debride.data.formats import Format

class Half(Format):
    name = "half"

    def detects(self, root):
        return False

class Whole(Half):
    task, about = "segmentation", "nothing"

    def read(self, root, report, *, fold=0): ...

    def write(self, dataset, folder, labels): ...

class Asks(Whole):
    def __init__(self, root): ...

class Other:
    pass
"""


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Half", r"own_layouts:Half lacks about, read, task, write\. See the documentation, page how-to/format"),
        ("Other", r"own_layouts:Other is no Format: derive it from debride\.data\.formats\.layout\.Format"),
        ("Asks", r"own_layouts:Asks cannot be made \(TypeError: .*'root'\)"),
    ],
)
def test_what_is_no_layout_is_refused_with_what_it_lacks(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_layouts.py").write_text(LAYOUTS)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match=says):
        find_format(f"own_layouts:{name}")
    assert find_format("own_layouts:Whole").task == "segmentation"
    sys.modules.pop("own_layouts")


def test_a_registered_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_layouts.py").write_text(LAYOUTS)
    install(tmp_path, "own", "whole = own_layouts:Whole\nfolder = own_layouts:Whole\nother = own_layouts:Other", FORMATS.group)
    monkeypatch.syspath_prepend(tmp_path)
    assert find_format("folder") is FORMATS["folder"] and "own_layouts" not in sys.modules, "a built-in name is never taken"
    layout = find_format("whole")
    assert type(layout).__name__ == "Whole" and layout.name == "whole" and "whole" not in FORMATS
    with pytest.raises(DataError, match=r"^--format: other is no Format"):
        find_format("other", "--format")
    with pytest.raises(DataError, match=r"'none' is no format\..*; installed: folder, other, whole; or"):
        find_format("none")
    sys.modules.pop("own_layouts")


KINDS = """
from debride.data.pixels.pictures import Pictures

class Own(Pictures):
    name, endings = "own", (".own",)
"""


def test_a_registered_kind_of_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_kinds.py").write_text(KINDS)
    install(tmp_path, "own", "mine = own_kinds:Own\nnifti = own_kinds:Own", PIXELS.group)
    monkeypatch.syspath_prepend(tmp_path)
    known = outside_pixels()
    use_pixels("nifti")
    assert "own_kinds" not in sys.modules and outside_pixels() == known, "a built-in name is never taken"
    with pytest.raises(DataError, match="is of a kind that is not read"):
        find_pixels(Path("a.own"))
    monkeypatch.setattr(pixels, "_outside", {})
    try:
        use_pixels("mine")
        assert type(find_pixels(Path("a.own"))).__name__ == "Own" and outside_pixels() == ("mine",)
    finally:
        PIXELS.pop("own", None)
    sys.modules.pop("own_kinds")
    with pytest.raises(DataError, match=r"^--pixels: 'none' is no kind of file\..*; installed: mine, nifti; or"):
        use_pixels("none", "--pixels")
