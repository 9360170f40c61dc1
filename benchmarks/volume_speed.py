"""Predicting whole volumes beside nnU-Net's predictor and MONAI's inferer: time and memory, all in one process.

Run ``python -m benchmarks.volume_speed`` (Linux). All use one network with the same weights, windows of one shape that overlap
by half, and Gaussian weights. Where nnunetv2 is not installed, MONAI is compared alone.

"windows": a working image (C, *S) to probabilities, by ``training.inference`` and by MONAI's ``sliding_window_inference`` of
logits and a softmax, with as many windows at once; and to logits by nnU-Net's ``predict_sliding_window_return_logits``, which
takes one window at a time. "file": a volume in .nii.gz to its mask in .nii.gz, by ``predict_masks`` and by nnU-Net's
``predict_from_files_sequential``; with ``--spacing`` working images have another grid than files.

Method of measurement. The sides take turns; figures are medians of the repeats. A time is that of the process's processors with
one thread, else that of the clock. "outside" is what does not pass in the network. Memory is how much the process's peak of
resident memory (VmHWM, which is set back before each) exceeds what it held before.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from benchmarks.large_volume import make_volume, untrained_run
from torch import Tensor, nn

from debride.networks.network import Network
from debride.training import inference
from debride.training.predict import load_run
from debride.training.predict_masks import predict_masks
from debride.training.trained import Request, Trained

MB = 10**6
CPU = torch.device("cpu")

Side = Callable[[], object]


class Clock:
    """Measures a call's seconds, those of them outside a network, and the memory that it takes, in MB."""

    def __init__(self, network: nn.Module, threads: int) -> None:
        self.now = time.process_time if threads == 1 else time.perf_counter
        self.inside = 0.0
        forward = network.forward

        def timed(image: Tensor) -> Any:
            started = self.now()
            try:
                return forward(image)
            finally:
                self.inside += self.now() - started

        network.forward = timed  # type: ignore[method-assign]

    def of(self, side: Side) -> tuple[float, float, float]:
        """(seconds, seconds outside the network, MB)"""
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before, self.inside = resident()["VmRSS"], 0.0
        started = self.now()
        side()
        seconds = self.now() - started
        return seconds, seconds - self.inside, (resident()["VmHWM"] - before) / MB


def resident() -> dict[str, int]:
    """The bytes of resident memory that this process holds (VmRSS), and the most that it held (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "VmHWM"))}


def monai_windows(network: nn.Module, image: Tensor, patch: tuple[int, ...]) -> Tensor:
    """MONAI's own way from a working image (C, *S) to probabilities."""
    from monai.inferers.utils import sliding_window_inference

    with torch.no_grad():
        logits: Tensor = sliding_window_inference(
            image[None], patch, inference.at_once(patch), network, overlap=0.5, mode="gaussian"
        )
    return logits.softmax(dim=1)


def nnunet_predictor(network: nn.Module, trained: Trained, spacing: tuple[float, ...]) -> Any:
    """nnU-Net's predictor of a network, with plans as it makes them for full resolution in 3D; None where it is absent."""
    try:
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
    except ImportError:
        return None
    resampling = "resample_data_or_seg_to_shape"
    kinds = {"data": (False, 3), "seg": (True, 1), "probabilities": (False, 1)}
    full = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(trained.config.patch_size or ()),
        "spacing": list(spacing),
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {"network_class_name": "", "arch_kwargs": {}, "_kw_requires_import": []},
    }
    for kind, (is_seg, order) in kinds.items():
        options = {"is_seg": is_seg, "order": order, "order_z": 0, "force_separate_z": None}
        full |= {f"resampling_fn_{kind}": resampling, f"resampling_fn_{kind}_kwargs": options}
    plans = PlansManager(
        {
            "dataset_name": "Dataset001_volumes",
            "plans_name": "nnUNetPlans",
            "image_reader_writer": "SimpleITKIO",
            "transpose_forward": [0, 1, 2],
            "transpose_backward": [0, 1, 2],
            "label_manager": "LabelManager",
            "foreground_intensity_properties_per_channel": {"0": {}},
            "configurations": {"3d_fullres": full},
        }
    )
    described = {
        "channel_names": {"0": "CT"},
        "labels": {name: number for number, name in enumerate(("background", *trained.labels.classes[1:]))},
        "file_ending": ".nii.gz",
    }
    predictor = nnUNetPredictor(use_mirroring=False, device=CPU, allow_tqdm=False)
    weights = [network.state_dict()]
    predictor.manual_initialization(network, plans, plans.get_configuration("3d_fullres"), weights, described, "", None)
    return predictor


def window_sides(trained: Trained, network: Network, predictor: Any, shape: tuple[int, ...]) -> dict[str, Side]:
    """Ways from a working image to what its windows give."""
    patch = trained.config.patch_size
    assert patch is not None
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    sides: dict[str, Side] = {
        "debride": lambda: inference.probabilities(trained.method, image[None], patch),
        "MONAI": lambda: monai_windows(network, image, patch),
    }
    if predictor is not None:
        sides["nnU-Net"] = lambda: predictor.predict_sliding_window_return_logits(image)
    return sides


def file_sides(trained: Trained, predictor: Any, root: Path) -> dict[str, Side]:
    """Ways from a file to the file of its mask."""
    number = iter(range(10**6))

    def debride() -> None:
        predict_masks(trained, root / "images", root / f"ours{next(number)}", Request(), CPU)

    def nnunet() -> None:
        (file,) = (root / "images").iterdir()
        predictor.predict_from_files_sequential([[str(file)]], [str(root / f"theirs{next(number)}")])

    return {"debride": debride} if predictor is None else {"debride": debride, "nnU-Net": nnunet}


def table(name: str, sides: dict[str, Side], clock: Clock, repeats: int) -> None:
    """Prints a line for each side; the sides take turns."""
    seen: dict[str, list[tuple[float, float, float]]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side, call in sides.items():
            with contextlib.redirect_stdout(io.StringIO()):
                seen[side].append(clock.of(call))
    print(f"\n{name:12}{'seconds':>9}{'outside':>9}{'MB':>8}   debride's share of time, outside, memory")
    middle = {side: [median(column) for column in zip(*rows, strict=True)] for side, rows in seen.items()}
    for side, figures in middle.items():
        shares = "".join(f"{own / other:9.3f}" for own, other in zip(middle["debride"], figures, strict=True))
        print(f"{side:12}{figures[0]:9.2f}{figures[1]:9.3f}{figures[2]:8.0f}   {shares}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[96, 160, 160], help="D H W (default: 96 160 160)")
    parser.add_argument("--patch", type=int, nargs=3, default=[64, 80, 80], help="default: 64 80 80")
    parser.add_argument("--classes", type=int, default=3, help="default: 3")
    parser.add_argument("--network", default="unet-small", help="default: unet-small")
    parser.add_argument("--width", type=int, default=8, help="of the network (default: 8)")
    parser.add_argument("--spacing", type=float, nargs=3, help="of the working image; voxels of the volume have 1 mm")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    parser.add_argument("--repeats", type=int, default=3, help="default: 3")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = {name: getattr(args, name) for name in ("network", "width")}
    settings |= {"patch_size": tuple(args.patch), "spacing": args.spacing and tuple(args.spacing)}
    with tempfile.TemporaryDirectory(prefix="debride-volume-") as folder:
        root = Path(folder)
        make_volume(root / "images" / "volume.nii.gz", tuple(args.shape))
        untrained_run(root / "run", args.classes, **settings)
        trained = load_run(root / "run", "best", CPU)
        (network,) = (module for module in trained.method.modules() if isinstance(module, Network))
        with contextlib.redirect_stdout(io.StringIO()):
            predictor = nnunet_predictor(network, trained, tuple(args.spacing or (1.0, 1.0, 1.0)))
        clock = Clock(network, args.threads)
        print(f"torch {torch.__version__}, threads {args.threads}" + ("" if predictor else "; nnunetv2 is not installed"))
        table("windows", window_sides(trained, network, predictor, tuple(args.shape)), clock, args.repeats)
        table("file", file_sides(trained, predictor, root), clock, args.repeats)


if __name__ == "__main__":
    main()
