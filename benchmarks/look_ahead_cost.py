"""What a look-ahead costs: time and peak memory of a step at each scope, beside a plain step, its floor and double backward.

Run ``python benchmarks/look_ahead_cost.py`` (or with ``--device cuda``). A step is forward, look-ahead, and backward of the
weighted loss; the optimiser, the data and the boundary term are left out (``step_cost.py`` has them). "double backward" is
the same derivative by a graph of the virtual step's gradient (reverse over reverse), with the real step after it, as L2B and
its relatives compute it. "zero weights" is L2B's look-ahead, whose virtual step stays where it is; "every second" looks ahead
in every second step. "full, PyTorch's rules" leaves the second pass to PyTorch's forward-mode differentiation, which computes
the first pass's outputs anew; it fails where groups of channels are normalised that come last in memory, and has no time then.

The floor is the time of the passes that a step cannot do without, each measured by itself in the same rounds. With F and B
for the training batch forward and backward, and f, b (f' without a graph) for the trusted one: "head" F + B + f', "full" F +
2 B + f + b + 2 F (the tangent of a convolution is two convolutions), with zero weights B less, by difference F less. The
scope "decoder" is given no floor: its passes go through a part of the network.

Times are CPU time of the process (clock time on a GPU), the least of the rounds, the steps taking turns within a round. Peak
memory is that of a process of its own (resident; allocated on a GPU) less what it holds before its first step.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor
from torch.func import functional_call

from debride.losses.pixel import along, cross_entropy
from debride.networks import Network, build
from debride.networks.network import Derivative, Scope
from debride.training import look_ahead
from debride.training.look_ahead import LookAhead

ROUNDS = 4
RATE = 0.05
SIZES = {"half": (8, 4, 128), "paper": (2, 2, 256)}
"""Training cases, trusted cases, side of an image: a trusted batch of half the size, and MetaDCSeg's 2 + 2 at 256 x 256."""

SMALLEST = (1, 1, 32)
"""A size that shows that everything works, and nothing of its cost."""


class Setting:
    """A network and two batches of one size."""

    def __init__(self, network: str, size: tuple[int, int, int], device: str) -> None:
        torch.manual_seed(0)
        cases, trusted, side = size
        net = build(network, ndim=2, in_channels=3, classes=2, width=16)
        self.network: Network = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.image, self.trusted = (torch.randn(number, 3, side, side, device=device) for number in (cases, trusted))
        self.image, self.trusted = (x.to(memory_format=torch.channels_last) for x in (self.image, self.trusted))
        self.label, self.trusted_label = ((x[:, 0] > 0).long() for x in (self.image, self.trusted))
        self.weights = torch.rand(cases, side, side, device=device)

    def trusted_loss(self, logits: Tensor) -> Tensor:
        return cross_entropy(logits, self.trusted_label).mean()

    def backward(self, loss: Tensor) -> None:
        self.network.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]


def plain(s: Setting) -> None:
    """A step on cross-entropy."""
    s.backward(cross_entropy(s.network(s.image), s.label).mean())


def looking(s: Setting, scope: Scope, virtual: bool = True, derivative: Derivative = "exact") -> None:
    """A step on the losses weighted by what a look-ahead finds."""
    ahead = LookAhead(s.network, s.image, scope, derivative)
    loss = cross_entropy(ahead.logits, s.label)
    tangent = ahead.tangent(s.trusted, s.trusted_loss, RATE, (s.weights * loss).mean() if virtual else None)
    gradient = -RATE * along(lambda logits: cross_entropy(logits, s.label), ahead.logits, tangent)
    s.backward(((s.weights - gradient).clamp(min=0) * loss).mean())


def by_pytorch(s: Setting) -> None:
    """The same, without rules of our own for the second pass."""
    with (
        mock.patch.object(look_ahead, "Keeping", contextlib.nullcontext),
        mock.patch.object(look_ahead, "TangentPass", contextlib.nullcontext),
    ):
        looking(s, "full")


def double_backward(s: Setting) -> None:
    """The same by differentiating through the virtual step's gradient."""
    weights = s.weights.clone().requires_grad_()
    parameters = dict(s.network.named_parameters())
    buffers = {name: buffer.clone() for name, buffer in s.network.named_buffers()}
    loss = cross_entropy(s.network(s.image), s.label)
    slopes = torch.autograd.grad((weights * loss).mean(), list(parameters.values()), create_graph=True)
    stepped = {name: value - RATE * slope for (name, value), slope in zip(parameters.items(), slopes, strict=True)}
    trusted = s.trusted_loss(functional_call(s.network, {**stepped, **buffers}, (s.trusted,)))
    (gradient,) = torch.autograd.grad(trusted, weights, retain_graph=True)
    s.backward(((weights.detach() - gradient * loss.numel()).clamp(min=0) * loss).mean())


def every_second(s: Setting) -> None:
    """Two steps, of which one looks ahead; their time is halved."""
    looking(s, "full")
    plain(s)


STEPS: dict[str, Callable[[Setting], None]] = {
    "ce": plain,
    "full": functools.partial(looking, scope="full"),
    "full, PyTorch's rules": by_pytorch,
    "full, difference": functools.partial(looking, scope="full", derivative="difference"),
    "full, every second": every_second,
    "full, zero weights": functools.partial(looking, scope="full", virtual=False),
    "decoder": functools.partial(looking, scope="decoder"),
    "head": functools.partial(looking, scope="head"),
    "double backward": double_backward,
}

FLOORS: dict[str, dict[str, int]] = {
    "ce": {"F": 1, "B": 1},
    "full": {"F": 3, "B": 2, "f": 1, "b": 1},
    "full, difference": {"F": 2, "B": 2, "f": 1, "b": 1},
    "full, zero weights": {"F": 3, "B": 1, "f": 1, "b": 1},
    "head": {"F": 1, "B": 1, "f'": 1},
}
"""How often a step needs each pass, at least."""


def passes(s: Setting) -> dict[str, float]:
    """What each pass takes by itself."""
    losses: list[Tensor] = []
    network = s.network
    return {
        "F": milliseconds(lambda s: losses.append(cross_entropy(network(s.image), s.label).mean()), s),
        "B": milliseconds(lambda s: s.backward(losses.pop()), s),
        "f": milliseconds(lambda s: losses.append(s.trusted_loss(network(s.trusted))), s),
        "b": milliseconds(lambda s: s.backward(losses.pop()), s),
        "f'": milliseconds(torch.no_grad()(lambda s: s.trusted_loss(network(s.trusted))), s),
    }


def milliseconds(step: Callable[[Setting], None], setting: Setting) -> float:
    """What one step takes; not a number where PyTorch has no rule for it."""
    gpu = setting.image.is_cuda
    started = time.perf_counter() if gpu else time.process_time()
    try:
        step(setting)
    except RuntimeError:
        if step is not by_pytorch:
            raise
        return math.nan
    if gpu:
        torch.cuda.synchronize()
    taken = 1e3 * ((time.perf_counter() if gpu else time.process_time()) - started)
    return taken / 2 if step is every_second else taken


def peak(name: str, setting: Setting) -> float:
    """MB that two steps need beyond what was there."""
    if setting.image.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = resident("VmRSS")
    for _ in range(2):
        milliseconds(STEPS[name], setting)
    after = torch.cuda.max_memory_allocated() if setting.image.is_cuda else resident("VmHWM")
    return (after - before) / 1e6


def resident(which: str) -> int:
    """Bytes of this process in memory, now (VmRSS) or at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(which))


def memory(name: str, network: str, size: str, device: str, threads: int) -> float:
    """``peak`` in a process of its own."""
    command = [sys.executable, __file__, "--peak-of", name, "--networks", network, "--sizes", size, "--device", device]
    done = subprocess.run([*command, "--threads", str(threads)], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def measure(network: str, size: str, device: str, threads: int) -> None:
    """Prints a line for each kind of step."""
    setting = Setting(network, SIZES[size], device)
    rounds = [{**passes(setting), **{name: milliseconds(step, setting) for name, step in STEPS.items()}} for _ in range(ROUNDS)]
    times = {name: min(taken[name] for taken in rounds[1:]) for name in rounds[0]}
    peaks = {name: memory(name, network, size, device, threads) for name in STEPS}
    cases, trusted, side = SIZES[size]
    print(f"\n{network}, {cases} + {trusted} images of {side} x {side}, {device}, {threads} threads")
    print(", ".join(f"{name} {times[name]:.0f} ms" for name in ("F", "B", "f", "b", "f'")))
    print(f"{'':22}{'ms':>8}{'/ ce':>7}{'floor':>8}{'/ floor':>8}{'MB':>8}{'/ ce':>7}")
    for name in STEPS:
        floor = sum(number * times[part] for part, number in FLOORS.get(name, {}).items()) or math.nan
        print(
            f"{name:22}{times[name]:8.0f}{times[name] / times['ce']:7.2f}{floor:8.0f}{times[name] / floor:8.2f}"
            f"{peaks[name]:8.0f}{peaks[name] / peaks['ce']:7.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["unet-small", "unet++"])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU (default: 1)")
    parser.add_argument("--smallest", action="store_true", help="one tiny step of each kind, to see whether everything works")
    parser.add_argument("--peak-of", choices=list(STEPS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.peak_of:
        print(peak(arguments.peak_of, Setting(arguments.networks[0], SIZES[arguments.sizes[0]], arguments.device)))
        return
    print(f"torch {torch.__version__}")
    if arguments.smallest:
        setting = Setting("unet-small", SMALLEST, arguments.device)
        passes(setting)
        for name, step in STEPS.items():
            print(f"{name:22}{milliseconds(step, setting):8.0f} ms{peak(name, setting):8.0f} MB")
        return
    for network in arguments.networks:
        for size in arguments.sizes:
            measure(network, size, arguments.device, arguments.threads)


if __name__ == "__main__":
    main()
