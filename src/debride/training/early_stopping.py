"""When a training with ``patience`` ends before its last epoch. What the validation labels say decides, right or wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from debride.training.config import TrainConfig


def validates(config: TrainConfig, epoch: int) -> bool:
    """Whether an epoch, from 1, ends with a validation."""
    return epoch % config.validate_every == 0 or epoch == config.epochs


def better(best: dict[str, Any], row: Mapping[str, Any], measure: str) -> dict[str, Any]:
    """The best epoch so far, {"epoch", measure}, after the record of one more; of equal ones the first."""
    value = row.get("val", {}).get(measure)
    if value is not None and (best[measure] is None or value > best[measure]):
        return {"epoch": row["epoch"], measure: value}
    return best


def spent(config: TrainConfig, best: Mapping[str, Any], epochs: int) -> bool:
    """Whether so many ``epochs`` are the last ones: ``patience`` of them came after the best, the last with a validation.

    It depends on the settings and the best epoch alone, so a resumed training ends where an uninterrupted one does.
    """
    if config.patience is None or epochs >= config.epochs or not validates(config, epochs):
        return False
    return epochs - (best["epoch"] or 0) >= config.patience


def stopped_words(config: TrainConfig, best: Mapping[str, Any], shown_measure: str, epochs: int) -> str:
    """Why a training stopped, in words."""
    best_epoch = best["epoch"] or 0
    waited = epochs - best_epoch
    found = f"the best is epoch {best_epoch}" if best_epoch else "none had one"
    return (
        f"stopped early after epoch {epochs} of {config.epochs}: no better {shown_measure} on the validation labels as given "
        f"for {waited} epoch{'s' if waited > 1 else ''} ({found}). Where these labels are wrong, another epoch may be better."
    )
