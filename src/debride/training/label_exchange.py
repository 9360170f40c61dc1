"""Label state on several machines: each has all of it, and gets from the others the rows that changed there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from lightning_fabric import Fabric

from debride.state import Field, LabelState
from debride.training.launch import WAIT
from debride.types import DataError

PIECE = 1 << 24
"""Bytes that travel at once."""


@dataclass(frozen=True)
class Exchange:
    """The label state of one of several machines. ``leaders`` are the first processes of each, in the order of the machines,
    and ``group`` is theirs."""

    fabric: Fabric
    store: LabelState
    names: tuple[str, ...]
    leaders: tuple[int, ...]
    group: Any

    def __call__(self) -> None:
        """Gives every machine the rows that changed on others since the last call, bit for bit. All processes take part.

        Raises DataError where a row was changed on two machines: it has one visitor in between.
        """
        self.fabric.barrier()
        if self.fabric.local_rank == 0:
            for name in self.names:
                self._exchange(name)
        self.fabric.barrier()

    def _exchange(self, name: str) -> None:
        own = torch.from_numpy(self.store.moved(name).copy())
        masks = [torch.empty_like(own) for _ in self.leaders]
        dist.all_gather(masks, own, group=self.group)
        moved = torch.stack(masks).numpy()
        if (twice := np.flatnonzero(moved.sum(axis=0, dtype=np.int64) > 1)).size:
            problem = f"of {name} was changed on two machines at once, in row {twice[0]} of the training cases"
            raise DataError("label state", problem, "Train this method on one machine.")
        here = self.leaders.index(self.fabric.global_rank)
        for machine, leader in enumerate(self.leaders):
            for parts in self.store.raw(name, np.flatnonzero(moved[machine]), PIECE):
                if machine == here:
                    dist.broadcast(torch.from_numpy(np.concatenate(parts)), leader, group=self.group)
                    continue
                bytes_taken = torch.empty(sum(map(len, parts)), dtype=torch.uint8)
                dist.broadcast(bytes_taken, leader, group=self.group)
                for part, taken in zip(parts, torch.split(bytes_taken, [len(part) for part in parts]), strict=True):
                    part[...] = taken.numpy()
        others = np.delete(moved, here, axis=0)
        self.store.took(name, np.flatnonzero(others.any(axis=0)))


def exchange_of(fabric: Fabric, store: LabelState, fields: Sequence[Field]) -> Exchange:
    """The exchange of a label state between the machines of a training, with fields in an order that all have."""
    places: list[tuple[int, int]] = [(0, 0)] * fabric.world_size
    dist.all_gather_object(places, (fabric.node_rank, fabric.local_rank))
    leaders = [rank for _, rank in sorted((node, rank) for rank, (node, local) in enumerate(places) if local == 0)]
    group = dist.new_group(leaders, timeout=WAIT, backend="gloo")
    return Exchange(fabric, store, tuple(field.name for field in fields), tuple(leaders), group)
