"""A MONAI bundle of a run: its TorchScript with all of the preparation in it, between MONAI's reader and MONAI's writer.

MONAI's own transforms would not give the same numbers: they resample otherwise, and know no windows of ours. So the
configuration reads, calls the module, and writes; debride is not needed.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from debride.export.about import AXES
from debride.export.plan import Plan
from debride.files import write_json
from debride.version import __version__

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
"""What the metadata say that they are checked by."""

ENDINGS = {2: ("png", "jpg", "jpeg", "bmp", "tif", "tiff", "nii", "nii.gz"), 3: ("nii", "nii.gz", "nrrd", "mha")}
"""The kinds of image files that are looked for, by the number of axes."""

IMAGES = r"\.(png|jpe?g|bmp|tiff?)$"
"""Pictures, whose masks are written as PNG; those of others are NIfTI."""

CHANNEL_FILE = r"(?i)(_[0-9]{4})?\.(nii|nii\.gz|nrrd|mha)$"
"""The end of a volume's name that tells its channels apart."""

MODES = {
    "segmentation": {"1": "1", "L": "L", "LA": "L", "RGB": "RGB", "RGBA": "RGB", "I;16": "I;16", "I": "I", "F": "F"},
    "classification": {"1": "L", "L": "L", "LA": "L", "RGB": "RGB", "RGBA": "RGB"},
}
"""What pictures of each of Pillow's modes are read as, by task. Others are refused, since debride does: a palette has no
intensities, Pillow cuts colours of 16 bits to 8, and reads one page of several. Alpha is dropped."""

KIND = (
    "$lambda picture: picture.mode + (' of 16 bits' if len(picture.getbands()) > 1 and ';16' in str(picture.tile) else '')"
    " + (' of several pages' if getattr(picture, 'n_frames', 1) > 1 else '')"
)
"""What a picture is called in ``MODES``."""


def write_bundle(plan: Plan, module: Any, folder: Path) -> None:
    """Writes models/ and configs/ of a bundle with a scripted module."""
    (folder / "models").mkdir()
    module.save(str(folder / "models" / "model.ts"))
    (folder / "configs").mkdir()
    write_json(folder / "configs" / "metadata.json", metadata(plan))
    write_json(folder / "configs" / "inference.json", inference(plan))


def inference(plan: Plan) -> dict[str, Any]:
    """The configuration that predicts a folder of images."""
    seen = "file[0] != '.' and file.lower().endswith(tuple('.' + ending for ending in @endings))"
    listed = f"[os.path.join(@dataset_dir, file) for file in os.listdir(@dataset_dir) if {seen}]"
    none = "(_ for _ in ()).throw(FileNotFoundError('no images in ' + @dataset_dir))"  # an expression that raises
    grouped = f"itertools.groupby(sorted({listed}), key=lambda file: re.sub({CHANNEL_FILE!r}, '', file))"
    several = plan.ndim == 3 and plan.trained.channels > 1
    files = "list(files)" if several else "[file]"
    loop = f"for _, files in {grouped}" if several else f"for file in sorted({listed})"
    load = {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True}
    return {
        "imports": [
            *(f"$import {module}" for module in ("itertools", "monai", "numpy", "os", "re", "torch")),
            "$from PIL import ImageOps",
        ],
        "bundle_root": ".",
        "dataset_dir": "$os.path.join(@bundle_root, 'input')",
        "output_dir": "$os.path.join(@bundle_root, 'output')",
        "endings": list(ENDINGS[plan.ndim]),
        "data": f"$[{{'image': {files}}} {loop}] or {none}",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": "$torch.jit.load(os.path.join(@bundle_root, 'models', 'model.ts'), map_location=@device).eval()",
        "modes": MODES[plan.task],
        "kind": KIND,
        "converter": "$lambda picture: (lambda mode: ImageOps.exif_transpose(picture).convert(mode))(@modes[@kind(picture)])",
        "load_picture": {**load, "reader": "PILReader", "converter": "@converter"},
        "load_volume": load,
        "load": f"$lambda case: (@load_picture if re.search({IMAGES!r}, case['image'][0], re.I) else @load_volume)(case)",
        "preprocessing": {"_target_": "Compose", "transforms": ["@load"]},
        "dataset": {"_target_": "Dataset", "data": "@data", "transform": "@preprocessing"},
        "inferer": "$lambda image: @network_def.predict_xyz(image.as_tensor().to(@device), image.pixdim.tolist()).cpu()",
        **TASKS[plan.task](plan),
    }


def _of_masks(plan: Plan) -> dict[str, Any]:
    """Masks in the place of their images, as PNG or NIfTI."""
    save = {
        "_target_": "SaveImage",
        "output_dir": "@output_dir",
        "output_postfix": "",
        "output_dtype": "$numpy.uint8" if max(plan.values) < 256 else "$numpy.uint16",
        "separate_folder": False,
        "print_log": False,
        "output_name_formatter": "@name",
    }
    name = "os.path.basename(meta['filename_or_obj'])"
    return {
        "first_channels": "$all('_0000.' in os.path.basename(case['image'][0]) for case in @data)",  # as nnU-Net names them
        "name": f"$lambda meta, saver: {{'subject': {name}.replace('_0000.' if @first_channels else '/', '.'), 'idx': None}}",
        "save_picture": {**save, "output_ext": ".png", "resample": False},
        # Nothing is resampled: no transform changed the affine. But without `resample` MONAI 1.6 looks at two axes of it alone,
        # and fails on volumes whose first axes are no x and y.
        "save_volume": {**save, "output_ext": ".nii.gz", "resample": True, "mode": "nearest"},
        "postprocessing": f"$lambda mask, image: (@save_picture if re.search({IMAGES!r}, image.meta['filename_or_obj'], re.I) "
        "else @save_volume)(monai.data.MetaTensor(mask, meta=image.meta))",
        "run": [
            "$os.makedirs(@output_dir, exist_ok=True)",
            "$[@postprocessing(@inferer(item['image']), item['image']) is None for item in @dataset]",
        ],
    }


def _of_classes(plan: Plan) -> dict[str, Any]:
    """A table with a line for each image: its name, then the probability of each class."""
    header = ",".join(["case", *plan.trained.labels.classes])
    row = "','.join([os.path.basename(item['image'].meta['filename_or_obj']), *map(str, @inferer(item['image']).tolist())])"
    return {
        "header": header,
        "rows": f"$[{row} for item in @dataset]",
        "run": [
            "$os.makedirs(@output_dir, exist_ok=True)",
            "$open(os.path.join(@output_dir, 'predictions.csv'), 'w').write('\\n'.join([@header, *@rows, '']))",
        ],
    }


TASKS = {"segmentation": _of_masks, "classification": _of_classes}
"""What becomes of predictions, by task."""


def metadata(plan: Plan) -> dict[str, Any]:
    """What MONAI wants to be told of a bundle."""
    labels, channels = plan.trained.labels, plan.trained.channels
    classes = {str(number): name for number, name in enumerate(labels.classes)}
    axes = AXES[plan.ndim][1:]
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": f"Exported by debride {__version__}."},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"nibabel": version("nibabel"), "pillow": version("pillow")},
        "name": f"{plan.run.resolve().name} ({plan.description['method']})",
        "task": f"{plan.task} of {plan.ndim}D images",
        "description": f"A network trained by the method {plan.description['method']}, with the preparation of its images.",
        "authors": "unknown",
        "copyright": "that of the training's owner",
        "data_type": "pictures or NIfTI",
        "image_classes": f"{channels} channel(s), values as stored",
        "label_classes": ", ".join(f"{number} is {name}" for number, name in classes.items()),
        "pred_classes": ", ".join(f"{number} is {name}" for number, name in classes.items()),
        "eval_metrics": {},
        "intended_use": "Research. It is no medical device.",
        "references": [],
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "prepared by models/model.ts",
                    "num_channels": channels,
                    "spatial_shape": ["*"] * plan.ndim,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": bool(plan.trained.config.patch_size),
                    "channel_def": {str(number): f"channel {number}, axes {' '.join(axes)}" for number in range(channels)},
                }
            },
            "outputs": {
                "pred": {
                    "type": "probabilities",
                    "format": plan.task,
                    "num_channels": len(classes),
                    "spatial_shape": ["*"] * plan.ndim,
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": bool(plan.trained.config.patch_size),
                    "channel_def": classes,
                }
            },
        },
    }
