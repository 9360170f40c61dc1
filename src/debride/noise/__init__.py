"""Label noise: simulators that take a clean label and give a wrong one, of masks and of the classes of whole images.

A noise is one module here and one line in ``NOISES`` or ``CLASS_NOISES`` (``by_name``); ``protocol`` says what it is made of.
For arrays each is a function of its name too: those of one mask are in ``one_mask``, those of many classes in ``many_classes``.
"""

from debride.noise.by_name import (
    CLASS_NOISES,
    NOISES,
    find_class_noise,
    find_noise,
    make_class_noise,
    make_noise,
    name_of,
    parameters,
)
from debride.noise.many_classes import asymmetric, instance, symmetric, transition
from debride.noise.one_mask import (
    coarse,
    dilate_erode,
    extra,
    flip,
    gaps,
    markov,
    missing,
    missing_boundary,
    shift,
    stray,
    swap,
)
from debride.noise.protocol import ClassNoise, Noise

__all__ = [
    "CLASS_NOISES",
    "NOISES",
    "ClassNoise",
    "Noise",
    "asymmetric",
    "coarse",
    "dilate_erode",
    "extra",
    "find_class_noise",
    "find_noise",
    "flip",
    "gaps",
    "instance",
    "make_class_noise",
    "make_noise",
    "markov",
    "missing",
    "missing_boundary",
    "name_of",
    "parameters",
    "shift",
    "stray",
    "swap",
    "symmetric",
    "transition",
]
