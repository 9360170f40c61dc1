"""Items divided into shards, each the work of one job."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from debride.execute.cluster.job_folder import items_file, private
from debride.files import writing

OPEN = 256
"""Files that are kept open while items are written."""


def divide(folder: Path, first: Any, others: Iterator[Any], per_job: int | None, at_once: int) -> list[range]:
    """Writes items into the files of their shards as they come, and returns the numbers of each shard's.

    A shard has so many consecutive items, or without ``per_job`` every ``at_once``-th, so that results come about in order.
    """
    files: dict[int, TextIO] = {}
    try:
        for number, item in enumerate(itertools.chain([first], others)):
            shard = number // per_job if per_job else number % at_once
            if shard not in files:
                while len(files) >= OPEN:
                    files.pop(next(iter(files))).close()
                with writing(folder):
                    files[shard] = private(folder / items_file(shard), "a")
            with writing(folder):
                files[shard].write(json.dumps([number, item]) + "\n")
    finally:
        for file in files.values():
            with writing(folder):
                file.close()
    many = number + 1
    if per_job:
        return [range(begin, min(begin + per_job, many)) for begin in range(0, many, per_job)]
    return [range(shard, many, at_once) for shard in range(min(at_once, many))]
