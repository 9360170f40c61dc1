"""In which precision a training computes: what "auto" stands for, and what half precision costs where it is emulated."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from debride.training.config import TrainConfig
from debride.training.description import read_description

AUTOCAST: dict[str, torch.dtype | None] = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}

SLOWER = "7 to 12"
"""How many times as long as in 32 a step of ``unet-small`` took on a processor that computes in single precision only, by the
size of the images (docs/benchmarks/fast-steps.md)."""


def settle(config: TrainConfig, device: str, resumed: Path | None = None) -> TrainConfig:
    """The settings with the precision that they mean on a ``device``, "cpu" or "cuda"; says where that one is slow.

    "auto" is "bf16" where the device computes in it, and else "32". A training that is ``resumed``, by its folder, keeps the
    precision that it began with.
    """
    precision = config.precision
    if precision == "auto":
        precision = _begun_with(resumed) if resumed else "bf16" if computes_in("bf16", device) else "32"
    if device == "cpu" and precision != "32" and not computes_in(precision, device):
        _warn(precision)
    return replace(config, precision=precision)


def computes_in(precision: str, device: str) -> bool:
    """Whether a ``device``, "cpu" or "cuda", has instructions for "bf16" or "16"."""
    if device == "cuda":
        return precision == "16" or torch.cuda.is_bf16_supported(including_emulation=False)
    if not hasattr(torch.cpu, "get_capabilities"):  # an older torch
        return bool(getattr(torch.ops.mkldnn, f"_is_mkldnn_{'bf16' if precision == 'bf16' else 'fp16'}_supported")())
    capabilities = torch.cpu.get_capabilities()
    names = ("avx512_bf16", "amx_bf16", "bf16") if precision == "bf16" else ("avx512_fp16", "amx_fp16", "fp16_arith")
    return any(capabilities.get(name, False) for name in names)


def _begun_with(run_folder: Path) -> Literal["32", "bf16", "16"]:
    """The precision in ``run.json`` of the training that goes on."""
    precision = read_description(run_folder / "run.json")["training"].get("precision")
    begun: Literal["32", "bf16", "16"] = precision if precision in ("bf16", "16") else "32"
    return begun


@functools.cache
def _warn(precision: str) -> None:
    """Says it once, whatever number of trainings a process does."""
    sys.stderr.write(
        f"debride: warning: this processor has no instructions for precision {precision}: a step takes "
        f"{SLOWER} times as long as in 32.\n"
    )
