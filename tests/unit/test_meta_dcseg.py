"""What MetaDCSeg declares, and small trainings by it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.meta_dcseg_stubs import kept, meta_dcseg, store_of
from tests.meta_stubs import Training
from tests.training_jobs import small_job
from torch import Tensor

from debride.batch import Batch
from debride.data.augmentation import Augmentation
from debride.methods.meta_dcseg import MetaDCSeg
from debride.settings import check_bounds
from debride.state import Field, saved_files
from debride.training.fit import fit
from debride.types import DataError


def test_alpha_begins_at_one_and_beta_at_zero() -> None:
    assert meta_dcseg().fields() == (Field("alpha", "pixel"), Field("beta", "pixel"))
    assert torch.equal(kept(store_of(2, 3, 4), [1]), torch.tensor([1.0, 0.0])[None, :, None, None].expand(1, 2, 3, 4))
    assert meta_dcseg(meta=False).fields() == ()


def test_gamma_and_alpha_are_pictured() -> None:
    store = store_of(3, 7, 9, seed=9)
    found = meta_dcseg().pictured(store, np.array([2, 0]))
    weights = kept(store, [2, 0])
    assert set(found) == {"gamma", "alpha"}
    assert torch.equal(found["gamma"], weights[:, 0] + weights[:, 1]) and torch.equal(found["alpha"], weights[:, 0])
    assert meta_dcseg(meta=False).pictured(store, np.array([0])) == {}


def test_the_plan_leaves_trusted_cases_out_where_it_shall() -> None:
    training = Training()
    training.cases, training.trusted = 5, np.array([1, 4])
    (phase,) = meta_dcseg(train_on_trusted=False).plan(training)  # type: ignore[arg-type]
    (stream,) = phase.streams
    assert stream.cases is not None and stream.cases.tolist() == [0, 2, 3]
    (phase,) = meta_dcseg().plan(training)  # type: ignore[arg-type]
    assert phase.streams[0].cases is None
    training.trusted = np.arange(5)
    with pytest.raises(DataError, match="`trusted`: names every training case"):
        meta_dcseg(train_on_trusted=False).plan(training)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"meta_every": 0}, "meta_every: is 0"),
        ({"trusted_batch": 0}, "trusted_batch: is 0"),
        ({"meta_rate": 0.0}, "meta_rate: is 0.0"),
        ({"meta_rate": math.nan}, "meta_rate: is nan"),
        ({"temperature": -1.0}, "temperature: is -1.0"),
        ({"boundary": -0.1}, "boundary: is -0.1"),
        ({"dice": math.nan}, "dice: is nan"),
        ({"warm_up": 1.5}, "warm_up: is 1.5"),
        ({"edge_ratio": -0.1}, "edge_ratio: is -0.1"),
        ({"edge_threshold": 2.0}, "edge_threshold: is 2.0"),
        ({"tau": 0.4}, "tau: is 0.4"),
        ({"boundary_share": 0.0}, "boundary_share: is 0.0"),
        ({"few": -1}, "few: is -1"),
        ({"start": -0.5}, "start: is -0.5"),
        ({"tau": 1.0}, "tau: is 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_bounds(MetaDCSeg.Config(**config))


def test_the_ends_of_ranges_are_taken() -> None:
    check_bounds(
        MetaDCSeg.Config(meta_every=1, trusted_batch=1, boundary=0, dice=0, warm_up=0, edge_ratio=0, edge_threshold=1, tau=0.5)
    )
    check_bounds(MetaDCSeg.Config(warm_up=1, edge_ratio=1, edge_threshold=0))


# Small trainings


def stored_weights(run: Path, epoch: int, cases: int) -> dict[str, npt.NDArray[np.float32]]:
    folder = saved_files(run / "resume" / f"epoch-{epoch:04d}" / "labels")
    found = {name: np.fromfile(folder / f"{name}.float32", np.float32).reshape(cases, 32, 32) for name in ("alpha", "beta")}
    return {"alpha": 1 + found["alpha"], "beta": found["beta"]}


@pytest.mark.parametrize("train_on_trusted", [False, True])
def test_a_training_moves_the_weights_of_what_it_trains_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train_on_trusted: bool
) -> None:
    config = MetaDCSeg.Config(warm_up=0.5, start=0.0, meta_rate=0.05, train_on_trusted=train_on_trusted)
    job = dataclasses.replace(small_job(tmp_path, "meta-dcseg", epochs=2, augmentation=Augmentation()), method_config=config)
    seen, loss = list[int](), MetaDCSeg.loss

    def watched(method: MetaDCSeg, batch: Batch, run: Any) -> dict[str, Tensor]:
        seen.extend(batch.index.tolist())
        if run.epoch == 0:
            assert torch.equal(run.store.read("alpha", range(run.cases)), torch.zeros(run.cases, 32, 32))
        return loss(method, batch, run)

    monkeypatch.setattr(MetaDCSeg, "loss", watched)
    fit(job)
    trusted = np.array([case.trusted for case in job.dataset.of("train")])
    trained = np.ones_like(trusted) if train_on_trusted else ~trusted
    assert 0 < trusted.sum() < len(trusted)
    assert sorted(seen) == sorted([*np.flatnonzero(trained)] * 2)
    found = stored_weights(job.out, 2, len(trusted))
    for name, initial in (("alpha", 1.0), ("beta", 0.0)):
        values = found[name]
        assert np.isfinite(values).all() and values.min() >= 0
        moved = np.abs(values - initial).mean(axis=(1, 2))
        assert (moved[trained] > 1e-3).all() and not moved[~trained].any()
    gamma = (found["alpha"] + found["beta"])[trained].mean(axis=(1, 2))
    np.testing.assert_allclose(gamma, 1, atol=0.2)


def test_without_trusted_cases_there_is_no_training(tmp_path: Path) -> None:
    job = small_job(tmp_path, "meta-dcseg")
    cases = tuple(dataclasses.replace(case, trusted=False) for case in job.dataset.cases)
    with pytest.raises(DataError, match=r"method meta-dcseg: needs trusted training cases.*`trusted`"):
        fit(dataclasses.replace(job, dataset=dataclasses.replace(job.dataset, cases=cases)))
