"""How fast the Markov boundary process is, beside a plain whole-image version, on one core.

Run ``python benchmarks/markov_speed.py``. With DEBRIDE_DATA set it also prints how strong the noise is on real masks.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from debride.noise import Noise
from debride.noise.markov_noise import S_E, S_R, Markov, boundary_process
from debride.noise.morphology import S_DE
from debride.noise.strength import label_dice
from debride.rng import generator

Mask = npt.NDArray[np.bool_]


def whole_image(object_: Mask, valid: Mask, steps: int, preference: float, variance: float, rng: np.random.Generator) -> Mask:
    """The same process with the morphology of SciPy on the whole image in every step."""
    noisy = object_.copy()
    touching = ndimage.generate_binary_structure(noisy.ndim, 1)
    for grows in rng.random(steps) < preference:
        source, target = (noisy, valid & ~noisy) if grows else (valid & ~noisy, noisy)
        at = np.flatnonzero(ndimage.binary_dilation(source, touching) & target)
        noisy.flat[at[rng.random(at.size) < variance]] = grows
    return noisy


def ellipsoid(shape: tuple[int, ...], radii: tuple[int, ...]) -> Mask:
    axes = np.ix_(*(np.arange(size) - size // 2 for size in shape))
    return np.asarray(sum((axis / radius) ** 2 for axis, radius in zip(axes, radii, strict=True)) <= 1)


def milliseconds(repeats: int, function: Callable[..., object], *values: object) -> float:
    """The fastest of several runs, each with the same random numbers."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(*values, generator(0))
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def print_speed(smallest: bool) -> None:
    masks = {f"256 x 256, radius {radius}": ellipsoid((256, 256), (radius, radius)) for radius in (15, 30, 50, 90)}
    masks["1024 x 1024, radius 60"] = ellipsoid((1024, 1024), (60, 60))
    masks["44 x 70 x 92, radii 14 20 24"] = ellipsoid((44, 70, 92), (14, 20, 24))
    if smallest:
        masks = {"32 x 32, radius 8": ellipsoid((32, 32), (8, 8))}
    print(f"{'T = 200':32}{'noise':>7}{'process':>10}{'+ smoothing':>13}{'whole image':>13}{'ratio':>8}")
    for name, mask in masks.items():
        for noise_name, noise in {"S_R": S_R, "S_E": S_E}.items():
            values = (mask, np.ones_like(mask), noise.steps, noise.preference, noise.variance)
            fast, slow = milliseconds(15, boundary_process, *values), milliseconds(3, whole_image, *values)
            smoothed = milliseconds(15, noise, mask.astype(np.uint8), 2)
            print(f"{name:32}{noise_name:>7}{fast:>7.1f} ms{smoothed:>10.1f} ms{slow:>10.0f} ms{slow / fast:>8.1f}")


def print_strength(data: Path, count: int = 100) -> None:
    def read(path: Path, side: int) -> npt.NDArray[np.uint8]:
        return np.asarray(Image.open(path).convert("L").resize((side, side), Image.Resampling.NEAREST))

    kvasir = sorted((data / "kvasir-seg/masks").glob("*.png"))[:count]
    acdc = sorted((data / "nnUNet_raw/Dataset102_ACDC/labelsTr").glob("*.png"))[::15][:count]
    samples = {
        "Kvasir 256": (2, [(read(path, 256) > 127).astype(np.uint8) for path in kvasir]),
        "ACDC 128": (4, [read(path, 128) for path in acdc]),
    }
    noises: dict[str, Noise] = {"S_R": S_R, "S_E": S_E, "M(90,0.2,0.05)": Markov(90, 0.2), "M(90,0.8,0.05)": Markov(90, 0.8)}
    for name, (classes, labels) in samples.items():
        for noise_name, noise in {**noises, "S_DE": S_DE}.items():
            scores = [label_dice(label, noise(label, classes, generator(0, row)), classes) for row, label in enumerate(labels)]
            dice = float(np.mean([score for score in scores if score is not None]))
            print(f"{name:12}{noise_name:>16}  mean Dice {dice:.3f} over {len(labels)} labels")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smallest", action="store_true", help="one tiny mask, to see whether everything works")
    arguments = parser.parse_args()
    print_speed(arguments.smallest)
    if "DEBRIDE_DATA" in os.environ:
        print_strength(Path(os.environ["DEBRIDE_DATA"]))


if __name__ == "__main__":
    main()
