"""What a teacher costs: time and peak memory of a step of ``alc`` and ``mean-teacher`` beside a supervised one.

Run ``python benchmarks/teacher_cost.py`` (or with ``--device cuda``). A step is the loss, its backward and the teacher's moving
average; the optimiser and the data are left out. All see the same batch of trusted and other patches; "m at once" puts the
perturbed passes through the teacher as one batch. "own arithmetic" is what alc does outside the networks: agreement, refined
labels, selection and the moving average.

Times are CPU time of the process (clock time on a GPU), the least of the rounds, the steps taking turns within a round. Peak
memory is that of a process of its own (resident; allocated on a GPU) less what it holds before its first step.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from debride.batch import Batch, View
from debride.methods import METHODS
from debride.networks import build
from debride.refine.fusion import disagreement, fused, surest

ROUNDS = 4


class Setting:
    """The methods, a batch that they all see, and as much of a training as they ask for."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(0)
        cases, device, passes = args.trusted + args.others, args.device, args.passes

        def made(name: str, **config: Any) -> Any:
            def network() -> Any:
                return build(args.network, ndim=3, in_channels=1, classes=args.classes, width=args.width)

            method = METHODS[name](METHODS[name].Config(**config), network, args.classes)
            return method.to(device, memory_format=torch.channels_last_3d).train()

        self.makers: dict[str, Callable[[], Any]] = {
            "supervised": lambda: made("ce", dice=True),
            "mean-teacher": lambda: made("mean-teacher"),
            "alc, one at a time": lambda: made("alc", passes=passes, at_once=1),
            "alc, m at once": lambda: made("alc", passes=passes, at_once=passes),
        }
        image = torch.randn(cases, 1, *args.patch, device=device)
        label = torch.randint(args.classes, (cases, *args.patch), device=device)
        trusted = torch.arange(cases, device=device) < args.trusted
        view: Any = View(image=image, label=label, warp=None, origin=None, fields={})  # type: ignore[arg-type]  # unread
        rows = torch.arange(cases)
        self.batch = Batch(views=(view,), index=rows, stream=rows, trusted=trusted, cases={})
        self.run: Any = SimpleNamespace(epoch=1, epochs=2, step=100, optimise=_backward, log=lambda **_: None)
        self.passes = torch.rand(passes, args.others, args.classes, *args.patch, device=device).softmax(dim=2)

    def step(self, method: Any) -> None:
        method.zero_grad(set_to_none=True)
        method.step(self.batch, self.run)

    def arithmetic(self, method: Any) -> None:
        with torch.no_grad():
            surest(disagreement(self.passes), 0.5)
            fused(self.passes).max(dim=1)
            method.teacher.follow(method.network, 100, 0.99)


def _backward(loss: torch.Tensor, networks: Any = None) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


def milliseconds(action: Callable[[], None], gpu: bool) -> float:
    """What one call takes."""
    started = time.perf_counter() if gpu else time.process_time()
    action()
    if gpu:
        torch.cuda.synchronize()
    return 1e3 * ((time.perf_counter() if gpu else time.process_time()) - started)


def peak(name: str, args: argparse.Namespace) -> float:
    """MB that two steps need beyond what was there."""
    setting = Setting(args)
    method = setting.makers[name]()
    if args.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = resident("VmRSS")
    for _ in range(2):
        setting.step(method)
    after = torch.cuda.max_memory_allocated() if args.device == "cuda" else resident("VmHWM")
    return (after - before) / 1e6


def resident(which: str) -> int:
    """Bytes of this process in memory, now (VmRSS) or at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(which))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="vnet")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--patch", type=int, nargs=3, default=[40, 56, 56])
    parser.add_argument("--trusted", type=int, default=1)
    parser.add_argument("--others", type=int, default=3)
    parser.add_argument("--passes", type=int, default=4)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--one-process", action="store_true", help="no process for each peak of memory: to see whether everything works"
    )
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak_of:
        print(peak(args.peak_of, args))
        return
    setting, gpu = Setting(args), args.device == "cuda"
    methods = {name: make() for name, make in setting.makers.items()}
    actions = {name: (lambda method=method: setting.step(method)) for name, method in methods.items()}
    actions["own arithmetic"] = lambda: setting.arithmetic(methods["alc, m at once"])
    rounds = [{name: milliseconds(action, gpu) for name, action in actions.items()} for _ in range(ROUNDS)][1:]
    times = {name: min(taken[name] for taken in rounds) for name in actions}
    child = [sys.executable, __file__, *sys.argv[1:], "--peak-of"]

    def peak_of(name: str) -> float:
        if args.one_process:
            return peak(name, args)
        return float(subprocess.run([*child, name], capture_output=True, text=True, check=True).stdout.split()[-1])

    peaks = {name: peak_of(name) for name in methods}
    size = " x ".join(map(str, args.patch))
    batch = f"{args.trusted} + {args.others} patches of {size}"
    print(f"{args.network} of width {args.width}, {batch}, m = {args.passes}, {args.device}, {args.threads} threads")
    print(f"{'':20}{'ms':>8}{'ratio':>7}{'MB':>8}{'ratio':>7}")
    for name, taken in times.items():
        print(f"{name:20}{taken:8.0f}{taken / times['supervised']:7.2f}", end="")
        ratio = peaks[name] / peaks["supervised"] if peaks.get("supervised") and name in peaks else float("nan")
        print(f"{peaks[name]:8.0f}{ratio:7.2f}" if name in peaks else "")


if __name__ == "__main__":
    main()
