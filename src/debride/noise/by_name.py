"""Noises by name: those of masks and those of classes. Each is imported when it is asked for."""

from __future__ import annotations

import dataclasses
from typing import Any

from debride.noise.protocol import ClassNoise, Noise
from debride.plugins import Registry
from debride.settings import from_mapping

GROUP = "debride.noises"
"""The entry points by which installed packages bring noises, of masks and of classes."""

_OF_MASKS = ("needs_spacing", "sample", "strongest", "with_strength")
_OF_CLASSES = ("needs_images", "source", "with_file")


def _lacks(thing: object, names: tuple[str, ...], protocol: str) -> str:
    """What something lacks to be a noise."""
    if not (isinstance(thing, type) and dataclasses.is_dataclass(thing)):
        return "is no dataclass of a noise's parameters"
    defined = {name for cls in thing.__mro__ for name in vars(cls)}
    missing = [
        name for name in ("__call__", *names) if name not in defined or name in getattr(thing, "__abstractmethods__", ())
    ]
    return f"lacks {', '.join(missing)}: derive it from debride.noise.{protocol}" if missing else ""


NOISES: Registry[type[Noise]] = Registry(
    "noise",
    GROUP,
    lambda thing: _lacks(thing, _OF_MASKS, "Noise"),
    {
        "markov": "debride.noise.markov_noise:Markov",
        "dilate-erode": "debride.noise.morphology:DilateErode",
        "missing-boundary": "debride.noise.morphology:MissingOrBoundary",
        "coarse": "debride.noise.coarse_noise:Coarse",
        "missing": "debride.noise.errors:Missing",
        "extra": "debride.noise.errors:Extra",
        "swap": "debride.noise.errors:Swap",
        "flip": "debride.noise.errors:Flip",
        "gaps": "debride.noise.errors:Gaps",
        "stray": "debride.noise.errors:Stray",
        "shift": "debride.noise.errors:Shift",
    },
)
"""The noises of masks by name, with those that were registered; ``debride methods`` lists them."""

CLASS_NOISES: Registry[type[ClassNoise]] = Registry(
    "noise",
    GROUP,
    lambda thing: _lacks(thing, _OF_CLASSES, "ClassNoise"),
    {
        "symmetric": "debride.noise.class_noises:Symmetric",
        "asymmetric": "debride.noise.class_noises:Asymmetric",
        "transition": "debride.noise.class_noises:Transition",
        "instance": "debride.noise.class_noises:Instance",
        "file": "debride.noise.class_noises:FromFile",
    },
)
"""The noises of the classes of whole images by name."""


def find_noise(name: str, where: object = None) -> type[Noise]:
    """The noise of masks of a name, also one from outside: ``package.module:Class``, or a name that an installed package
    registers. DataError, naming ``where`` the name stands, for one that does not exist or is no such noise."""
    return NOISES.find(name, where)


def find_class_noise(name: str, where: object = None) -> type[ClassNoise]:
    """The same for noise among the classes of whole images."""
    return CLASS_NOISES.find(name, where)


def make_noise(name: str, /, **parameters: Any) -> Noise:
    """A noise of masks with the given parameters; DataError for an unknown name, parameter or a bad value."""
    return from_mapping(find_noise(name), parameters, f"noise {name}")


def make_class_noise(name: str, /, **parameters: Any) -> ClassNoise:
    """A noise among classes with the given parameters; DataError for an unknown name, parameter or a bad value."""
    return from_mapping(find_class_noise(name), parameters, f"noise {name}")


def name_of(noise: Noise | ClassNoise) -> str:
    """The name by which a noise is found again: a built-in one's own, else ``package.module:Class``."""
    return (CLASS_NOISES if isinstance(noise, ClassNoise) else NOISES).name_of(type(noise))


def parameters(noise: Noise | ClassNoise) -> dict[str, Any]:
    """The parameters of a noise as they make it again, and JSON gives them back: sequences as lists, keys as text."""
    plain: Any = noise  # a dataclass, which its protocol cannot say
    return {name: _plain(value) for name, value in dataclasses.asdict(plain).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else value
