"""What a loss that is a module costs: forward and backward to the logits, and what it adds to a step with cross-entropy.

Run ``python benchmarks/loss_cost.py`` (or with ``--device cuda``). A step is forward, torch's cross-entropy and backward of a
network, in 2D (8 x 3 x 128 x 128) and in 3D (2 x 1 x 48 x 64 x 64). Each loss sees logits of those sizes and class ids
(B, *S); "soft" is its form for probabilities (B, K, *S), "regions" that of a sigmoid. MONAI's DiceCELoss stands beside them.
The sides take turns. Times are CPU time of the process (clock time on a GPU), the least of the repeats after a first. The last
column is the loss less torch's cross-entropy, relative to the step.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable

import torch
from monai.losses import DiceCELoss
from torch import Tensor
from torch.nn import functional as F

from debride import losses
from debride.networks import build

CLASSES = 3
SHAPES = {2: (8, 3, 128, 128), 3: (2, 1, 48, 64, 64)}
SMALLEST = {2: (2, 3, 16, 16), 3: (2, 1, 16, 16, 16)}
Loss = Callable[[Tensor, Tensor], Tensor]


def sides(shape: tuple[int, ...], ids: Tensor, soft: Tensor) -> dict[str, tuple[Loss, Tensor]]:
    """Each loss and its target."""
    memory = losses.EarlyLearningRegularizationLoss(shape[0], CLASSES, shape[2:]).to(ids.device)
    places = torch.arange(shape[0], device=ids.device)
    generalised = losses.GeneralizedCrossEntropyLoss
    return {
        "torch's cross-entropy": (functools.partial(F.cross_entropy, ignore_index=255), ids),
        "MONAI's DiceCELoss": (DiceCELoss(softmax=True, to_onehot_y=True), ids[:, None]),
        "GeneralizedCrossEntropyLoss": (generalised(), ids),
        "  soft": (generalised(), soft),
        "  regions": (generalised(sigmoid=True), soft),
        "SymmetricCrossEntropyLoss": (losses.SymmetricCrossEntropyLoss(), ids),
        "MeanAbsoluteErrorLoss": (losses.MeanAbsoluteErrorLoss(), ids),
        "BootstrappingLoss": (losses.BootstrappingLoss(), ids),
        "SpatiallyVaryingLabelSmoothingLoss": (losses.SpatiallyVaryingLabelSmoothingLoss(), ids),
        "NoiseRobustDiceLoss": (losses.NoiseRobustDiceLoss(), ids),
        "TLoss": (losses.TLoss().to(ids.device), ids),
        "EarlyLearningRegularizationLoss": (lambda logits, target: memory(logits, target, places), ids),
    }


def milliseconds(work: Callable[[], object], gpu: bool) -> float:
    """What one call takes."""
    if gpu:
        torch.cuda.synchronize()
    started = time.perf_counter() if gpu else time.process_time()
    work()
    if gpu:
        torch.cuda.synchronize()
    return 1e3 * ((time.perf_counter() if gpu else time.process_time()) - started)


def measure(shape: tuple[int, ...], network: str, device: str, repeats: int) -> tuple[float, dict[str, float]]:
    """Milliseconds of a step, and of each loss."""
    torch.manual_seed(0)
    image = torch.randn(shape, device=device)
    ids = torch.randint(CLASSES, (shape[0], *shape[2:]), device=device)
    soft = F.one_hot(ids, CLASSES).movedim(-1, 1).float().contiguous()
    net = build(network, ndim=len(shape) - 2, in_channels=shape[1], classes=CLASSES, width=16).to(device)
    logits = net(image).detach().requires_grad_()
    taken: dict[str, list[float]] = {}
    for _ in range(repeats + 1):
        whole = milliseconds(lambda: F.cross_entropy(net(image), ids).backward(), image.is_cuda)  # type: ignore[no-untyped-call]
        taken.setdefault("step", []).append(whole)
        for name, (loss, target) in sides(shape, ids, soft).items():
            one = milliseconds(lambda f=loss, t=target: torch.autograd.grad(f(logits, t), logits), image.is_cuda)  # type: ignore[misc]
            taken.setdefault(name, []).append(one)
    least = {name: min(each[1:] or each) for name, each in taken.items()}
    return least.pop("step"), least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="unet")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--smallest", action="store_true", help="one tiny step with each, to see whether everything works")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for ndim, shape in (SMALLEST if arguments.smallest else SHAPES).items():
        step, taken = measure(shape, arguments.network, arguments.device, 0 if arguments.smallest else arguments.repeats)
        first = taken["torch's cross-entropy"]
        print(f"\n{arguments.network} in {ndim}D, {' x '.join(map(str, shape))}, {arguments.device}, torch {torch.__version__}")
        print(f"{'a step with cross-entropy':38}{step:8.1f} ms")
        for name, found in taken.items():
            print(f"{name:38}{found:8.1f} ms{100 * (found - first) / step:8.1f} %")


if __name__ == "__main__":
    main()
