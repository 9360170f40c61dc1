"""Contracts that anyone can run on what they add to debride: ``check_method`` on a method, ``check_noise`` on a noise.

Both raise AssertionError, with a text that says what is broken, and need no test framework. ``METHOD_CHECKS`` and
``NOISE_CHECKS`` list the single checks, for a test framework to run one by one.
"""

from debride.testing.method_checks import METHOD_CHECKS, QUICK_METHOD_CHECKS, SLOW_METHOD_CHECKS, Subject, check_method
from debride.testing.noise_checks import NOISE_CHECKS, check_noise

__all__ = [
    "METHOD_CHECKS",
    "NOISE_CHECKS",
    "QUICK_METHOD_CHECKS",
    "SLOW_METHOD_CHECKS",
    "Subject",
    "check_method",
    "check_noise",
]
