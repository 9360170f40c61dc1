"""Networks compiled by ``torch.compile``, and used as they are where that fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from debride.escapes import one_line
from debride.methods.base import Method
from debride.networks.network import Network
from debride.training.memory import is_memory
from debride.types import DataError
from debride.words import short

BACKEND = "inductor"
"""What ``torch.compile`` makes code with: its default."""


def compile_networks(method: Method) -> None:
    """Compiles all of every network of a method but its last layer, in place; weights keep their names.

    Code is made when an image of a new shape first comes. Where that fails, the network is used as it is, and that is said.
    Results differ from those of networks as they are in rounding. Raises DataError for a method that looks ahead: it asks for
    derivatives that compiled code has not.
    """
    if method.look_ahead_cases(1):
        raise DataError("`compile`", "does not go with a method that looks ahead", "Leave it out.")
    for network in method.modules():
        if isinstance(network, Network):
            _compile(network.trunk)


def _compile(trunk: Any) -> None:
    compiled: Any = torch.compile(trunk._call_impl, backend=BACKEND)

    def call(*inputs: Any, **named: Any) -> Any:
        try:
            return compiled(*inputs, **named)
        except Exception as error:
            if is_memory(error):
                raise
            trunk._compiled_call_impl = None
            output = trunk(*inputs, **named)  # raises what is wrong with the network itself
            name, why = type(trunk).__name__, short(one_line(str(error)), 200)
            sys.stderr.write(
                f"debride: warning: {name} is not compiled, and is used as it is ({type(error).__name__}: {why}).\n"
            )
            return output

    trunk._compiled_call_impl = call


@contextmanager
def refusing_failed_code() -> Iterator[None]:
    """Raises DataError for whatever a training with compiled networks fails with, but for memory: code that fails in the
    backward pass is known too late to go on without."""
    try:
        yield
    except Exception as error:
        if isinstance(error, DataError) or is_memory(error):
            raise
        why = f"{type(error).__name__}: {short(one_line(str(error)), 200)}"
        raise DataError("`compile`", f"failed, or the network did ({why})", "Train without it.") from error
