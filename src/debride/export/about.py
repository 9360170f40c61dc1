"""``preprocessing.json``: what is done to an image before the network and after it, as numbers and words."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from debride.data.preparation import NUMBERS, intensity_rules, read_rule
from debride.export.plan import Plan, steps
from debride.export.tracing import Traced
from debride.files import content_hash
from debride.training.checkpoint import weights_file
from debride.training.inference import WINDOW_OVERLAP
from debride.version import __version__
from debride.words import listed

FORMAT = 1
"""Of what ``about`` returns: raised where a reader of before would misread it."""

AXES = {2: ["channel", "y", "x"], 3: ["channel", "z", "y", "x"]}

RESIZING = (
    "linear with anti-aliasing, pixel centres at half integers (align_corners false): along each axis, last to first, "
    "output i is the mean of the inputs j with the weights max(0, 1 - |j + 0.5 - c| / s), where c = (i + 0.5) * old / new "
    "and s = max(1, old / new); the weights are divided by their sum"
)
"""How images and probabilities are resized."""

RULES = {
    "zscore": "minus the mean of the channel, divided by its standard deviation (that of a population, at least 1e-6)",
    "unit": "minus the minimum of the channel, divided by maximum minus minimum (at least 1e-6)",
    "clip": "cut at low and high, then low becomes -1 and high 1",
    "ct": "cut at low and high, then minus mean, divided by std",
    "byte": "divided by 255",
    "none": "nothing",
    "percentile": "cut at the percentiles low and high of the channel (linear between values), then as zscore",
}
"""What each rule for intensities does to a channel, computed after the crop and before the resizing."""


def about(plan: Plan, graph: Traced) -> dict[str, Any]:
    """All that is needed to use the graph of a plan, as plain JSON."""
    labels = plan.trained.labels
    return {
        "format": FORMAT,
        "made_by": {
            "run": plan.run.resolve().name,
            "method": plan.description["method"],
            "network": plan.trained.config.network,
            "checkpoint": plan.which,
            "weights": content_hash([weights_file(plan.run, plan.which)]),
            "debride": __version__,
            "torch": version("torch"),
        },
        "task": plan.task,
        "image": {
            "axes": AXES[plan.ndim],
            "channels": plan.trained.channels,
            "type": "float32",
        },
        **TASKS[plan.task](plan),
        "network": {
            "input": "image",
            "output": "probabilities",
            "axes": ["batch", *AXES[plan.ndim]],
            "predicts": _predicts(plan),
            **_sizes(plan, graph),
        },
        "class_weights": {
            "weights": plan.weights.tolist(),
            "from": "calibration of the run" if plan.calibrated else "none: the run has no calibration that is applied",
            "applied": "by the exported model: its probabilities are multiplied by them",
        },
        "classes": [
            {"id": number, "name": name, "value": value}
            for number, (name, value) in enumerate(zip(labels.classes, plan.values, strict=True))
        ],
    }


def _predicts(plan: Plan) -> str:
    """What the method's graph gives, as its docstring says it."""
    text = (type(plan.trained.method).predict.__doc__ or "Class probabilities.").strip()
    return " ".join(text.split())


def _sizes(plan: Plan, graph: Traced) -> dict[str, Any]:
    """Which sizes the graph takes."""
    size = list(graph.example.shape[2:])
    padding = "each axis is padded at its end by copies of its last values to a multiple, and the result is cut back"
    if graph.multiple > 1:
        padding += f"; where every axis would be {graph.multiple}, the last is padded to {2 * graph.multiple}"
    return {
        "batch": 1 if graph.fixed else "any",
        "size": size if graph.fixed else "any that the multiple divides",
        "multiple_of": graph.multiple,
        "padding": padding if graph.multiple > 1 else "none",
    }


def _of_masks(plan: Plan) -> dict[str, Any]:
    config = plan.trained.config
    rules = [read_rule(rule) for rule in intensity_rules(config.intensity)]
    patch = config.patch_size
    resize: dict[str, Any] | None = None
    if config.image_size:
        resize = {"size": list(config.image_size)}
    elif config.spacing:
        resize = {
            "spacing": list(config.spacing),
            "unit": "mm",
            "size": "max(1, round(length * own spacing / spacing)) along each axis, halves to the even number",
        }
    windows = patch and {
        "size": list(patch),
        "step": steps(patch),
        "overlap": WINDOW_OVERLAP,
        "used": "where an axis of the image is longer than the window; else the image goes through at once",
        "padding": "zeros on both sides of an axis that is shorter, half of them (rounded down) before it",
        "starts": "0, step, 2 step, ...; the last begins so that it ends with the image",
        "weights": "gaussian",
        "sigma": [length / 8 for length in patch],
        "least_weight": 1e-3,
        "stitching": "the sum of weight * probability is divided by the sum of the weights; weight is the product over axes of "
        "exp(-(i - (size - 1) / 2)^2 / (2 sigma^2)), at least the least_weight; then the classes are divided by their sum",
    }
    return {
        "crop": {"to": "the box of the pixels in which some channel is not 0", "outside": "class 0"} if config.crop else None,
        "intensity": {
            "rules": [
                {"rule": rule.kind, **{name: getattr(rule, name) for name in NUMBERS[rule.kind]}, "does": RULES[rule.kind]}
                for rule in rules
            ],
            "channels": "one rule for each" if len(rules) > 1 else "the same rule for each, by its own values",
            "when": "after the crop, before the resizing",
        },
        "resize": resize and {**resize, "interpolation": RESIZING},
        "windows": windows or None,
        "after": [
            "the probabilities of each class are resized to the size of the cropped image, by the same interpolation",
            "the class with the largest is taken, the first of equal ones",
            *(["what was cropped away is class 0"] if config.crop else []),
            "the id of a class is replaced by its value",
        ],
    }


def _of_classes(plan: Plan) -> dict[str, Any]:
    return {
        "crop": None,
        "intensity": {
            "rules": [{"rule": "clip", "low": 0.0, "high": 255.0, "does": "value / 127.5 - 1"}],
            "channels": "the same rule for each",
            "values": "8 bits, 0 to 255; of 16 bits the upper ones; of 1, 2 or 4 bits stretched to 255",
            "when": "after the resizing",
        },
        "resize": {
            "size": list(plan.size or ()),
            "interpolation": RESIZING,
            "then": "values are rounded, halves to the even number",
        },
        "windows": None,
        "after": ["the class with the largest probability is taken"],
    }


TASKS: dict[str, Callable[[Plan], dict[str, Any]]] = {"segmentation": _of_masks, "classification": _of_classes}
"""What is said of a task alone."""


def in_words(told: dict[str, Any]) -> list[str]:
    """Lines of Markdown on what is done to an image, from what ``about`` returned."""
    image, resize, windows, network = told["image"], told["resize"], told["windows"], told["network"]
    lines = [f"An image has the axes {listed(image['axes'])}, with {image['channels']} channel(s)."]
    if told["crop"]:
        lines.append(f"It is cut to {told['crop']['to']}.")
    rules = told["intensity"]["rules"]
    limits = [f" ({rule['low']:g} to {rule['high']:g})" if "low" in rule else "" for rule in rules]
    shown = "; ".join(f"{rule['rule']}{limit}: {rule['does']}" for rule, limit in zip(rules, limits, strict=True))
    lines.append(f"Intensities ({told['intensity']['when']}): {shown}.")
    if resize:
        lines.append(f"It is resized. Size: {resize.get('spacing') or resize['size']}{' mm' if 'spacing' in resize else ''}.")
    if windows:
        lines.append(f"Larger images go through in windows of {windows['size']}, {windows['step']} apart.")
    lines.append(
        f"Sizes that the network takes: {network['size']}, batch {network['batch']}, multiple {network['multiple_of']}."
    )
    lines.append(f"What it gives: {network['predicts']}")
    if any(weight != 1 for weight in told["class_weights"]["weights"]):
        weights = ", ".join(f"{weight:.4g}" for weight in told["class_weights"]["weights"])
        lines.append(f"The calibration is in the model: probabilities are multiplied by {weights}.")
    return [*lines, *(f"Then {step}." for step in told["after"])]
