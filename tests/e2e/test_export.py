"""Exported runs give what ``debride predict`` gives, by readers that know only the folder."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import monai.bundle
import nibabel as nib
import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from PIL import Image
from tests import exported_numpy
from tests.calibrations import write_calibration, write_class_calibration
from tests.training_jobs import small_class_job, small_job
from torch import nn

from debride.cli import main
from debride.data.open import open_dataset
from debride.data.pixels.images import read_image, read_values
from debride.evaluation.class_predictions import FILE, read_predictions
from debride.export import onnx_graph
from debride.export.run_export import export_run
from debride.training.fit import fit
from debride.training.predict import predict_folder
from debride.types import Case, DataError

WITHOUT_DEBRIDE = """
import sys

class Refusing:
    def find_spec(self, name, *_):
        if name.split(".")[0] == "debride":
            raise ImportError("debride is not there")

sys.meta_path.insert(0, Refusing())
"""

Ids = npt.NDArray[Any]

TRAINED: dict[str, dict[str, Any]] = {
    "size": {"method": "ce", "image_size": (24, 40), "intensity": "unit", "epochs": 4},
    "volumes": {"method": "gsd-net", "volumes": True, "spacing": (3.0, 2.5, 1.5), "crop": True, "intensity": "percentile:2:98"},
}
"""Runs of one kind each: several networks, windows, crops, spacings, rules for intensities."""


@pytest.fixture(scope="module", params=TRAINED)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, its data, the masks that it predicts of all cases after a calibration by offsets, and exports."""
    root = tmp_path_factory.mktemp(request.param)
    settings = dict(TRAINED[request.param])
    fit(small_job(root, settings.pop("method"), **settings))
    classes = len(json.loads((root / "run" / "run.json").read_text())["classes"])
    offsets = [0.0, *(balance(root, number) for number in range(1, classes))]
    write_calibration(root / "run", offsets, (0,) * classes, (0,) * classes)
    predict_folder(root / "run", root / "data", root / "masks", splits=("train", "val", "test"))
    for form in ("torchscript", "monai-bundle"):
        export_run(root / "run", form, root / form)
    return root


def balance(root: Path, number: int) -> float:
    """The offset that gives a class a third of the pixels, or what they let it have: so short a training would name one class
    alone."""
    out = root / "maps"
    if not out.exists():
        predict_folder(root / "run", root / "data", out, checkpoint="last", raw=True, probabilities=True)
    maps = [np.load(file) for file in sorted(out.glob("*.npy"))]
    ratios = np.concatenate([np.log(each[0] / each[number]).ravel() for each in maps])
    return float(np.quantile(ratios, 0.33))


def cases_of(root: Path) -> Sequence[Case]:
    return open_dataset(root / "data").cases


def expected_of(root: Path, case: Case) -> Ids:
    (mask,) = (file for file in (root / "masks").glob(f"{case.id}.*"))
    return read_values(mask)[0]


def share_equal(root: Path, predicted: dict[str, Ids]) -> float:
    """The share of all pixels that are as ``debride predict`` has them; there are several classes among them."""
    pairs = [(predicted[case.id], expected_of(root, case)) for case in cases_of(root)]
    assert len(np.unique(np.concatenate([expected.ravel() for _, expected in pairs]))) > 1
    return float(np.mean(np.concatenate([(found == expected).ravel() for found, expected in pairs])))


def test_onnx_with_what_is_described_gives_the_masks(trained: Path, tmp_path: Path) -> None:
    exported = export_run(trained / "run", "onnx", tmp_path / "onnx")
    assert exported.files == ("README.md", "model.onnx", "preprocessing.json")
    onnx.checker.check_model(str(tmp_path / "onnx" / "model.onnx"), full_check=True)
    assert "gives the method's probabilities, within" in exported.notes[0]
    images = {case.id: read_image(case.image) for case in cases_of(trained)}
    found = {
        name: exported_numpy.predict(tmp_path / "onnx", np.asarray(image), geometry.spacing)
        for name, (image, geometry) in images.items()
    }
    assert share_equal(trained, found) > 0.9995


def test_torchscript_and_a_bundle_give_the_masks_where_debride_is_not(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for form in ("torchscript", "monai-bundle"):
        (tmp_path / form).symlink_to(trained / form)
    (tmp_path / "images").mkdir()
    for case in cases_of(trained):
        image, geometry = read_image(case.image)
        np.savez(tmp_path / f"{case.id}.npz", image=np.ascontiguousarray(image), spacing=geometry.spacing or ())
        for file in case.image:
            (tmp_path / "images" / file.name).symlink_to(file)
    code = (
        "import glob, numpy as np, torch, monai.bundle\n"
        "model = torch.jit.load('torchscript/model.ts')\n"
        "for file in glob.glob('*.npz'):\n"
        "    held = np.load(file)\n"
        "    mask = model.predict(torch.from_numpy(held['image']), held['spacing'].tolist())\n"
        "    np.save(file[:-4] + '.npy', mask.numpy())\n"
        "monai.bundle.run(config_file='monai-bundle/configs/inference.json', meta_file='monai-bundle/configs/metadata.json',\n"
        "    bundle_root='monai-bundle', dataset_dir='images', output_dir='out')\n"
    )
    if "volumes" in trained.name:
        run_apart(code, tmp_path)
    else:  # the same, without seconds of imports
        monkeypatch.chdir(tmp_path)
        exec(code, {})
    found = {case.id: np.load(tmp_path / f"{case.id}.npy") for case in cases_of(trained)}
    assert share_equal(trained, found) == 1
    assert len(list((tmp_path / "out").iterdir())) == len(cases_of(trained))
    found = {}
    for case in cases_of(trained):
        (file,) = (trained / "masks").glob(f"{case.id}.*")
        found[case.id], geometry = read_values(tmp_path / "out" / file.name)
        expected = read_values(file)[1]
        assert geometry.spacing == expected.spacing
        assert (geometry.affine is None) == (expected.affine is None)
        if geometry.affine is not None:
            np.testing.assert_allclose(geometry.affine, expected.affine)
    assert share_equal(trained, found) == 1
    bundle = trained / "monai-bundle"
    monai.bundle.verify_net_in_out(  # MONAI's own check of the metadata against what the network gives
        net_id="network_def",
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "inference.json"),
        bundle_root=str(bundle),
        device="cpu",
    )


def bundled(root: Path, images: Path, out: Path) -> dict[str, Ids]:
    """The masks that the bundle gives of a folder, by their files' names."""
    bundle = root / "monai-bundle"
    monai.bundle.run(
        config_file=str(bundle / "configs" / "inference.json"),
        bundle_root=str(bundle),
        dataset_dir=str(images),
        output_dir=str(out),
    )
    return {file.name: read_values(file)[0] for file in out.iterdir()}


def unusual(root: Path, images: Path) -> None:
    """Writes images that lie or are stored otherwise than most: turned by Exif, with alpha, in capitals, of permuted axes."""
    case = cases_of(root)[0]
    if "volumes" in root.name:
        affine = np.array([[-1.5, 0, 0, 3], [0, 0, 2, 4], [0, 3.0, 0, 1], [0, 0, 0, 1]])
        for file in case.image:
            nib.save(nib.Nifti1Image(nib.load(file).get_fdata(dtype=np.float32), affine), images / file.name)
        return
    picture = Image.open(case.image[0]).convert("RGB").resize((40, 24))
    turned = Image.Exif()
    turned[0x0112] = 6
    picture.save(images / "turned.JPG", exif=turned)
    picture.putalpha(7)
    picture.save(images / "alpha.png")
    picture.convert("RGB").save(images / "kind.tif")
    (images / "._alpha.png").write_bytes(b"what a Mac leaves")


def test_a_bundle_reads_unusual_images_as_predict_does(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    unusual(trained, tmp_path / "images")
    predict_folder(trained / "run", tmp_path / "images", tmp_path / "masks")
    found = bundled(trained, tmp_path / "images", tmp_path / "out")
    expected = {name: read_values(tmp_path / "masks" / name)[0] for name in found}
    assert len(found) == (1 if "volumes" in trained.name else 3)
    for name, mask in found.items():
        np.testing.assert_array_equal(mask, expected[name])
    assert len(np.unique(np.concatenate([mask.ravel() for mask in expected.values()]))) > 1


def test_a_bundle_refuses_what_it_would_misread(trained: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    with pytest.raises(RuntimeError) as none:
        bundled(trained, images, tmp_path / "out")
    assert "no images in" in str(none.getrepr())
    model = torch.jit.load(trained / "torchscript" / "model.ts")
    image = torch.rand(model.channels, *[24] * model.ndim)
    image[0, 3] = float("nan")
    with pytest.raises(torch.jit.Error, match="NaN or infinite"):
        model.predict(image, [1.0] * model.ndim)
    if "volumes" in trained.name:
        return
    picture = Image.open(cases_of(trained)[0].image[0]).convert("RGB")
    for name, save in (
        ("palette.png", lambda file: picture.convert("P").save(file)),
        ("wide.png", lambda file: file.write_bytes(png_of_16_bits(np.arange(48, dtype=">u2").reshape(4, 4, 3)))),
        ("pages.tif", lambda file: picture.save(file, save_all=True, append_images=[picture])),
    ):
        save(images / name)
        with pytest.raises(RuntimeError) as refused:
            bundled(trained, images, tmp_path / "out")
        assert "KeyError" in str(refused.getrepr())
        (images / name).unlink()


def png_of_16_bits(pixels: npt.NDArray[np.uint16]) -> bytes:
    """A colour PNG (H, W, 3) of 16 bits, which Pillow cannot write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def run_apart(code: str, folder: Path) -> None:
    """Runs code in another process, to which debride cannot be imported."""
    words, environment = [sys.executable, "-c", WITHOUT_DEBRIDE + code], dict(os.environ)
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_graphs_take_other_sizes_and_several_images(trained: Path) -> None:
    model = torch.jit.load(trained / "torchscript" / "model.ts")
    told = json.loads((trained / "torchscript" / "preprocessing.json").read_text())
    size = (21, 33, 18)[: len(told["image"]["axes"]) - 1]
    images = torch.randn(3, told["image"]["channels"], *size)
    scores = model(images)
    assert scores.shape == (3, len(told["classes"]), *size)
    weights = torch.tensor(told["class_weights"]["weights"]).reshape(-1, *[1] * len(size))
    torch.testing.assert_close((scores / weights).sum(dim=1), torch.ones(3, *size))
    torch.testing.assert_close(model(images[1:2]), scores[1:2], atol=1e-5, rtol=0)
    with pytest.raises(torch.jit.Error, match=r"not \d channels"):
        model.predict(torch.zeros(9, *size), [])


def test_classes(tmp_path: Path) -> None:
    job = small_class_job(tmp_path, "ce", n=24)
    fit(replace(job, config=replace(job.config, image_size=(16, 20))))
    write_class_calibration(tmp_path / "run", (0, 1, 0))
    images = tmp_path / "images"
    images.mkdir()
    channels = json.loads((tmp_path / "run" / "run.json").read_text())["channels"]
    rng = np.random.default_rng(0)
    for number in range(4):  # of another size than those trained on
        pixels = rng.integers(0, 256, (30, 17, channels), np.uint8)
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(images / f"{number}.png")
    predict_folder(tmp_path / "run", images, tmp_path / "predicted")
    ids, expected = read_predictions(tmp_path / "predicted" / FILE, job.dataset.classes)
    assert main(["export", str(tmp_path / "run"), "--to", "onnx", "--out", str(tmp_path / "onnx")]) == 0
    export_run(tmp_path / "run", "torchscript", tmp_path / "ts")
    model = torch.jit.load(tmp_path / "ts" / "model.ts")
    for name, probability in zip(ids, expected, strict=True):
        image = np.asarray(read_image([images / f"{name}.png"])[0])
        np.testing.assert_allclose(exported_numpy.predict(tmp_path / "onnx", image), probability, atol=1e-4)
        np.testing.assert_allclose(model.predict(torch.from_numpy(image), []), probability, atol=1e-6)
    for wrong in (-1.0, 256.0, float("nan")):
        with pytest.raises(torch.jit.Error, match="not from 0 to 255"):
            model.predict(torch.full((channels, 16, 20), wrong), [])
    export_run(tmp_path / "run", "monai-bundle", tmp_path / "bundle")
    monai.bundle.run(
        config_file=str(tmp_path / "bundle" / "configs" / "inference.json"),
        bundle_root=str(tmp_path / "bundle"),
        dataset_dir=str(images),
        output_dir=str(tmp_path / "out"),
    )
    lines = [line.split(",") for line in (tmp_path / "out" / FILE).read_text().splitlines()]
    assert lines[0] == ["case", *job.dataset.classes]
    assert [line[0] for line in lines[1:]] == [f"{name}.png" for name in ids]
    np.testing.assert_allclose(np.array([line[1:] for line in lines[1:]], float), expected, atol=1e-6)


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    fit(small_job(tmp_path, "ce", epochs=1))
    run, out = tmp_path / "run", tmp_path / "out"
    write_calibration(run, shifts=(0, 2, 0))
    with pytest.raises(DataError, match=r"calibration\.json: moves outlines.*`raw`"):
        export_run(run, "onnx", out)
    assert main(["export", str(run), "--to", "torchscript", "--out", str(out), "--raw"]) == 0
    assert json.loads((out / "preprocessing.json").read_text())["class_weights"]["weights"] == [1, 1, 1]
    with pytest.raises(DataError, match="is not empty"):
        export_run(run, "onnx", out, raw=True)
    with pytest.raises(DataError, match="is no form of export"):
        export_run(run, "coreml", tmp_path / "other", raw=True)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="lies in the run"):
        export_run(run, "onnx", run / "onnx", raw=True)
    for fold in ("fold-1", "fold-2"):
        shutil.copytree(run, tmp_path / "cv" / fold)
    with pytest.raises(DataError, match="holds several runs"):
        export_run(tmp_path / "cv", "onnx", tmp_path / "other")
    assert main(["export", str(tmp_path / "nothing"), "--to", "onnx", "--out", str(tmp_path / "other")]) == 2
    assert not (tmp_path / "other").exists()


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_graph, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'debride\[export\]'"):
        export_run(tmp_path / "run", "onnx", tmp_path / "out")


class Choosing(nn.Module):
    """A network that does something else with dark images."""

    def __init__(self, ndim: int, in_channels: int, classes: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(in_channels, classes, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layer(image)
        return logits if image[0, 0, 0, 0] > 0 else -5 * logits


class OneSize(nn.Module):
    """A network that takes one size of image, one by one."""

    def __init__(self, ndim: int, in_channels: int, classes: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(in_channels, classes, 1)
        self.place = nn.Parameter(torch.randn(classes, 64, 64))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layer(image) + self.place
        return logits


@pytest.mark.parametrize("constructor", [Choosing, OneSize])
def test_networks_of_ones_own(constructor: type[nn.Module], tmp_path: Path) -> None:
    name = f"{__name__}:{constructor.__name__}"
    job = small_job(tmp_path, "ce", epochs=1, image_size=(64, 64), network=name)
    fit(job)
    run = tmp_path / "run"
    with pytest.raises(DataError, match="a module that would be imported and run"):
        export_run(run, "onnx", tmp_path / "out")
    if constructor is Choosing:
        with pytest.raises(DataError, match=r"network Choosing: cannot be made a graph .*depends on the values of an image"):
            export_run(run, "onnx", tmp_path / "out", trust=job.trust)
        assert not (tmp_path / "out").exists()
        return
    exported = export_run(run, "onnx", tmp_path / "out", trust=job.trust)
    assert exported.notes[-1] == "The network takes images of 64 x 64 alone, one at a time."
    export_run(run, "torchscript", tmp_path / "ts", trust=job.trust)
    model = torch.jit.load(tmp_path / "ts" / "model.ts")
    predict_folder(run, tmp_path / "data", tmp_path / "masks", trust=job.trust, splits=("train", "val", "test"))
    case = cases_of(tmp_path)[0]
    image = np.asarray(read_image(case.image)[0])
    np.testing.assert_array_equal(model.predict(torch.from_numpy(image), []), expected_of(tmp_path, case))
    np.testing.assert_array_equal(exported_numpy.predict(tmp_path / "out", image), expected_of(tmp_path, case))
    with pytest.raises(torch.jit.Error, match="this network takes images of"):
        model(torch.zeros(1, 3, 32, 32))
