"""Weights that a training begins with: those of a run, of a safetensors file, or of nnU-Net, by name and shape."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from debride.files import content_hash
from debride.methods.base import Method
from debride.networks import Network
from debride.notes import tell
from debride.training.checkpoint import load_tensors, weights_file
from debride.types import DataError
from debride.words import some

NNUNET = ("checkpoint_final.pth", "checkpoint_best.pth", "checkpoint_latest.pth")
"""nnU-Net's weights in the folder of a fold, the first that is there."""

STATES = ("network_weights", "state_dict", "model_state_dict", "model")
"""The entries of a pickled checkpoint that may hold the weights: nnU-Net's first."""

TRUNKS = ("", "trunk.", "trunk.0.")
"""Beginnings of names that a network has in a ``Network`` and not by itself."""

HEADS = ("final_conv.", "final_conv_0_4.", *(f"decoder.seg_layers.{stage}." for stage in range(16)))
"""What ``head.`` is called in MONAI's U-Net and U-Net++, and in nnU-Net's, whose last one is of full resolution."""

SAFE_TORCH = (2, 10)
"""The first torch whose ``weights_only`` runs no code of a file, as far as is known: before it CVE-2025-32434 (to 2.5) and
CVE-2026-24747 (to 2.9) do."""

LOGGED = (
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
)
"""What NumPy's numbers are pickled by, in versions 1 and 2: nnU-Net's log of losses has them."""

_REMEDY = "Give a run, a .safetensors file, or a checkpoint of nnU-Net by `init`."


@dataclass(frozen=True)
class Loaded:
    """What of a file became the beginning of a network: ``loaded`` names of the network, those that ``kept`` their random
    values for want of any, and those whose ``shapes`` differ, with both."""

    network: str
    loaded: tuple[str, ...]
    kept: tuple[str, ...]
    shapes: tuple[str, ...]

    def said(self) -> Iterator[str]:
        """Sentences on it."""
        total = len(self.loaded) + len(self.kept) + len(self.shapes)
        yield f"`{self.network}`: {len(self.loaded)} of {total} tensors are loaded."
        if self.shapes:
            yield f"`{self.network}`: {len(self.shapes)} of another shape stay random: {some(self.shapes, 3)}."
        if self.kept:
            yield f"`{self.network}`: {len(self.kept)} that the file does not have stay random: {some(self.kept, 3)}."


def initial_file(init: Path) -> Path:
    """The file with the weights of a run (its best, or its last where there are none), of a folder of nnU-Net, or itself.

    Raises DataError where there is none.
    """
    if init.is_file():
        return init
    if (init / "run.json").exists():
        best = (init / "weights" / "best.safetensors").exists()
        return weights_file(init, "best" if best else "last")
    for name in NNUNET:
        if (init / name).is_file():
            return init / name
    raise DataError(
        init, "is no run, no file of weights and no fold of nnU-Net" if init.exists() else "does not exist", _REMEDY
    )


def initial_entry(init: Path) -> dict[str, str]:
    """What ``run.json`` says of the weights: where they were, and a hash of them."""
    file = initial_file(init)
    return {"weights": str(file.resolve()), "hash": content_hash([file])}


def load_initial(method: Method, init: Path, say: bool = True) -> list[Loaded]:
    """Loads into each network of a method, by name and shape, what a file has for it, and says what.

    Of several networks in the file each takes that of its own name, or else the first that fits best. Raises DataError for a
    file that cannot be read, and where nothing fits.
    """
    file = initial_file(init)
    held = read_initial(file)
    used: set[str] = set()
    done = []
    networks = [(name, module) for name, module in method.named_modules() if isinstance(module, Network)]
    for name, network in networks:
        own = network.state_dict()
        places = placed(own, held, name)
        fits = {mine: theirs for mine, theirs in places.items() if own[mine].shape == held[theirs].shape}
        network.load_state_dict({mine: held[theirs] for mine, theirs in fits.items()}, strict=False)
        used |= set(places.values())
        others = (f"{mine} {_by(held[places[mine]])}, not {_by(own[mine])}" for mine in places if mine not in fits)
        done.append(Loaded(name, tuple(fits), tuple(mine for mine in own if mine not in places), tuple(others)))
    parameters = {f"{name}.{own}" for name, network in networks for own, _ in network.named_parameters()}
    if not any(f"{each.network}.{own}" in parameters for each in done for own in each.loaded):
        problem = f"has no weights that fit the network in name and shape; it has {some([*held])}"
        raise DataError(file, problem, "Give weights of a network of the same kind, `width` and number of channels.")
    if say:
        taken = {held[name].data_ptr() for name in used}  # some networks hold one tensor under several names
        _say(file, done, [name for name in held if name not in used and held[name].data_ptr() not in taken])
    return done


def _say(file: Path, done: Iterable[Loaded], unused: list[str]) -> None:
    lines = [f"begins with {file}"]
    lines += [sentence for each in done for sentence in each.said()]
    if unused:
        lines.append(f"{len(unused)} tensors of the file have no place: {some(unused, 3)}.")
    sys.stdout.write("\n".join(lines) + "\n")
    if len([*done]) > 1:
        tell("warning: by `init` all networks of the method begin alike. Methods that compare networks rely on different ones.")


def placed(own: Mapping[str, Tensor], held: Mapping[str, Tensor], name: str) -> dict[str, str]:
    """The name in a file for each name of a network that it has: those with one beginning, for which most shapes agree.

    ``name`` is the network's in its method: where several beginnings do as well, that one is taken, else the first.
    """
    best: dict[str, str] = {}
    most = (-1, False)
    for trunk in TRUNKS:
        views = _views(own, trunk)
        for prefix in _prefixes(views, held):
            found = {mine: prefix + seen for seen, mine in views.items() if prefix + seen in held}
            agree = sum(own[mine].shape == held[theirs].shape for mine, theirs in found.items())
            if (agree, prefix == f"{name}.") > most:
                best, most = found, (agree, prefix == f"{name}.")
    return best


def _views(own: Iterable[str], trunk: str) -> dict[str, str]:
    """The names of a network as it has them without a beginning, its last layer as MONAI names it, to what they are here."""
    views = {}
    for name in own:
        if name.startswith(trunk):
            views[name.removeprefix(trunk)] = name
        elif name.startswith("head."):
            views |= {head + name.removeprefix("head."): name for head in HEADS}
    return views


def _prefixes(views: Mapping[str, str], held: Iterable[str]) -> list[str]:
    """Beginnings of names in a file after which names of a network follow, in the file's order."""
    prefixes: Counter[str] = Counter()
    for name in held:
        parts = name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in views:
                prefixes["".join(f"{part}." for part in parts[:start])] += 1
    return [*prefixes]


def read_initial(file: Path) -> dict[str, Tensor]:
    """The weights in a file, by name. Nothing is unpickled but by torch's ``weights_only``, which runs no code.

    Raises DataError for a file that cannot be read so, for a pickle where torch is older than ``SAFE_TORCH``, and for numbers
    that are not finite.
    """
    if file.suffix == ".safetensors":
        held = load_tensors(file)
    elif file.suffix in (".pth", ".pt"):
        held = _of_checkpoint(file)
    else:
        raise DataError(file, "is of no kind that is read", _REMEDY)
    for name, tensor in held.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise DataError(file, f"holds weights that are not finite ({name})", _REMEDY)
    return held


class _Unread:
    """Stands where a file has numbers of NumPy, of which nothing is made: its own types would take any bytes."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _of_checkpoint(file: Path) -> dict[str, Tensor]:
    own = tuple(map(int, torch.__version__.split(".")[:2]))
    if own < SAFE_TORCH:
        problem = f"is a pickle, of which torch {torch.__version__} may run code"
        remedy = (
            f"Update torch to {'.'.join(map(str, SAFE_TORCH))}, or give safetensors: the documentation, page export, says how."
        )
        raise DataError(file, problem, remedy)
    try:
        with torch.serialization.safe_globals([(_Unread, name) for name in LOGGED]):
            held: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # of pickle, zip files and torch, unrelated kinds
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        remedy = "Where you trust it, save its weights as safetensors: the documentation, page export, says how."
        raise DataError(file, f"is not read: it holds more than weights, or is damaged ({line})", remedy) from error
    if isinstance(held, Mapping):
        held = next((held[name] for name in STATES if isinstance(held.get(name), Mapping)), held)
        tensors = {str(name): each for name, each in held.items() if isinstance(each, Tensor)}
        if tensors:
            return tensors
    raise DataError(file, "holds no weights by name", _REMEDY)


def _by(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
