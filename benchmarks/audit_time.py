"""What a whole `debride audit` costs for each case: CPU time on one core and peak memory, beside another version.

    git worktree add ../before COMMIT
    python benchmarks/audit_time.py --beside ../before/src

Objects are ellipsoids with wavy outlines; predictions have other waves, and lie a voxel aside. Of four labels one is mirrored,
and in a volume one lacks two slices. Predictions are compressed float16, as nnU-Net leaves them. Errors are planted into all
cases, and into one: from both follows what 10,000 cases take. Every audit is a process of its own on one core. It has done a
tiny audit before, and what such a one takes is left out. Versions take turns, and of several turns the shortest time counts.
Without `--beside` all is done in this process, and imports count.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from scipy import ndimage

KINDS = {
    "volumes of 40 x 192 x 192, 2 classes": ((40, 192, 192), 2, 8),
    "volumes of 128 x 128 x 128, 2 classes": ((128, 128, 128), 2, 6),
    "volumes of 128 x 128 x 128, 4 classes": ((128, 128, 128), 4, 6),
    "images of 128 x 128, 4 classes": ((128, 128), 4, 200),
}
SMALLEST = {"volumes of 8 x 20 x 20, 2 classes": ((8, 20, 20), 2, 3)}
PLANTED, MANY = 300, 10_000


def make(shape: tuple[int, ...], classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A label (*S), and probabilities (K, *S) that disagree with it at its outlines."""
    rng = np.random.default_rng(seed)
    coarse = [max(3, length // 8) for length in shape]
    zoom = [length / few for length, few in zip(shape, coarse, strict=True)]
    wave = ndimage.zoom(rng.standard_normal(coarse).astype(np.float32), zoom, order=1)
    label, logits = np.zeros(shape, np.uint8), [np.zeros(shape, np.float32)]
    for number in range(1, classes):
        centre, radii = ([rng.uniform(*of) * length for length in shape] for of in ((0.3, 0.7), (0.1, 0.22)))
        axes = np.ix_(*(((np.arange(n) - c) / r) ** 2 for n, c, r in zip(shape, centre, radii, strict=True)))
        inside = ((1 - np.sqrt(sum(axes))) * min(20, np.mean(radii))).astype(np.float32)
        label[inside + 0.8 * ndimage.gaussian_filter(wave, 1) > 0] = number
        logits.append(np.roll(inside, 1, axis=-1) + 0.8 * wave)
    likelihood = np.exp(logits - np.max(logits, axis=0))
    return label, likelihood / likelihood.sum(axis=0)


def write(folder: Path, shape: tuple[int, ...], classes: int, count: int) -> None:
    """A data set of so many cases, and their predictions."""
    for name in ("data/images", "data/masks", "predictions"):
        (folder / name).mkdir(parents=True)
    (folder / "data/dataset.json").write_text(json.dumps({"classes": ["background", *"abcdefg"[: classes - 1]]}))
    for number in range(count):
        label, probability = make(shape, classes, number)
        if number % 4 == 1:
            label = label[..., ::-1]
        if number % 4 == 2 and len(shape) == 3:
            label[len(label) // 2 - 1 : len(label) // 2 + 1] = 0
        np.savez_compressed(folder / f"predictions/case{number}.npz", probabilities=probability.astype(np.float16))
        image = np.random.default_rng(number).integers(0, 255, shape, np.uint8)
        for name, values in (("images", image), ("masks", np.ascontiguousarray(label))):
            if len(shape) == 3:
                spacing = np.diag([0.8, 0.8, 2.5, 1.0])
                nib.save(nib.Nifti1Image(values.T, spacing), folder / f"data/{name}/case{number}.nii.gz")
            else:
                Image.fromarray(values).save(folder / f"data/{name}/case{number}.png")


def cpu() -> float:
    """Seconds that this process and those it has waited for have worked."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(of.ru_utime + of.ru_stime for of in used)


def audit(folder: Path, out: Path, planted: int, *more: object) -> float:
    """Seconds of CPU time of an audit in this process."""
    from debride.cli import main

    words = ["audit", folder / "data", "--predictions", folder / "predictions", "--out", out, "--planted", planted]
    started = cpu()
    code = main([str(word) for word in (*words, "--pictures", 0, *more)])
    assert code == 0, code
    return cpu() - started


def warm_audit(small: Path, folder: Path, out: Path, planted: int) -> float:
    """Seconds of CPU time of an audit beyond those of a small one."""
    fixed = [audit(small, out.with_name(f"{out.name}-small-{turn}"), 3) for turn in range(2)][-1]
    return audit(folder, out, planted) - fixed


def apart(source: Path, small: Path, folder: Path, out: Path, planted: int) -> tuple[float, float]:
    """Seconds of CPU time and peak memory in MB of an audit by the version in ``source``."""
    words = [sys.executable, __file__, "--child", small, folder, out, planted]
    told = subprocess.run(
        [str(word) for word in words],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"},
    ).stdout
    seconds, peak = told.split()[-2:]
    return float(seconds), float(peak)


def child(small: str, folder: str, out: str, planted: str) -> None:
    """One audit in this process, after a small one."""
    os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
    print(
        warm_audit(Path(small), Path(folder), Path(out), int(planted)),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def differences(one: Path, other: Path) -> str:
    """Whether two audits rank, flag and find the same, and by how much the numbers of cases.csv differ."""
    rows, others = (list(csv.DictReader((audit / "cases.csv").open())) for audit in (one, other))
    same = all(
        a[name] == b[name] for a, b in zip(rows, others, strict=True) for name in ("case", "flagged", "kind", "findings")
    )
    found = [[json.loads(line) for line in (audit / "findings.jsonl").open()] for audit in (one, other)]
    for findings in found:
        for finding in findings:
            finding.pop("confidence")
            finding["severity"] = round(finding["severity"], 4)  # of sums that may be rounded otherwise
    names = ("wrong", "score", "dice", "self_confidence", "surprise")
    far = max(abs(float(a[name]) - float(b[name])) for a, b in zip(rows, others, strict=True) for name in names if a[name])
    equal = "the same" if same and found[0] == found[1] else "ANOTHER"
    return f"{equal} ranking, flags and findings; numbers differ by {far:.1e} at most"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", type=Path, help="the folder src of another version")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--smallest", action="store_true", help="tiny volumes, to see whether everything works")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    here = Path(__file__).resolve().parents[1] / "src"
    sources = {"before": arguments.beside.resolve(), "now": here} if arguments.beside else {"now": here}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write(root / "small", *SMALLEST["volumes of 8 x 20 x 20, 2 classes"])
        print("| data | version | s per case, planted | not planted | h for 10,000, 300 planted | all planted | peak, MB |")
        print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
        for number, (kind, (shape, classes, count)) in enumerate((SMALLEST if arguments.smallest else KINDS).items()):
            folder = root / str(number)
            write(folder, shape, classes, count)
            best: dict[tuple[str, int], tuple[float, float]] = {}
            outs = []
            for turn in range(arguments.repeats):
                for version, source in sources.items():
                    for planted in (count, 1):
                        out = root / f"{number}-{turn}-{version}-{planted}"
                        if arguments.beside:
                            took = apart(source, root / "small", folder, out, planted)
                        else:
                            took = audit(folder, out, planted, "--jobs", 1), float("nan")
                        best[version, planted] = min(took, best.get((version, planted), took))
                        outs += [out] if planted == count else []
            for version in sources:
                each = best[version, count][0] / count
                plain = (best[version, 1][0] - each) / max(1, count - 1)
                hours = [(MANY * plain + some * (each - plain)) / 3600 for some in (PLANTED, MANY)]
                peak = best[version, count][1]
                print(
                    f"| {kind} | {version} | {each:.3f} | {plain:.3f} | {hours[0]:.2f} | {hours[1]:.2f} | {peak:.0f} |",
                    flush=True,
                )
            if arguments.beside:
                print(f"{kind}: {differences(*outs[:2])}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
