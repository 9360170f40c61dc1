"""DCD: what is looked ahead at, stored, weighed and left out; an image at a time."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.training_jobs import same, small_class_job, weights
from torch import Tensor, nn

from debride.methods.base import Swept
from debride.methods.dcd import DCD, target_class
from debride.methods.parts.semi_supervised import Division
from debride.methods.unicon import UNICON
from debride.networks.network import Network
from debride.settings import check_bounds
from debride.state import LabelState
from debride.training.fit import fit
from debride.types import IGNORE, DataError

K, CASES, F = 3, 10, 5
LABEL = torch.tensor([0, 1, 2, IGNORE, 1, 0, 2, 2, 0, 1])
SELECTED = torch.tensor([True, False, True, False, False, True, False, True, True, True])
TRUSTED = np.array([4, 8])


def network(seed: int) -> Network:
    torch.manual_seed(seed)
    return Network(nn.Sequential(nn.Flatten(), nn.Linear(8, F), nn.Tanh()), nn.Linear(F, K))


def method(**config: Any) -> DCD:
    made = iter((network(1), network(2)))
    built = DCD(DCD.Config(**{"projection": 4, "ramp": 0.0, **config}), lambda: next(made), K)
    built.divisions = dict.fromkeys(("first", "second"), Division(SELECTED, torch.linspace(0.1, 1, CASES)))
    built.moments = dict.fromkeys(("first", "second"), torch.tensor([[0.4, 0.5, 0.6], [0.2, 0.1, 0.3]]))
    return built


def batch_of(rows: list[int]) -> Any:
    images = torch.randn(4, len(rows), 2, 2, 2, generator=torch.Generator().manual_seed(sum(rows)))
    seen = tuple(SimpleNamespace(image=image, label=LABEL[rows]) for image in images)

    class Rows(SimpleNamespace):
        def __len__(self) -> int:
            return len(rows)

    return Rows(views=seen, image=images[0], label=LABEL[rows], index=torch.tensor(rows))


class Run:
    """A training's surroundings: images of its own, and a look-ahead whose answer is known."""

    def __init__(self, built: DCD, phase: str = "first", epoch: int = 50, gradient: Tensor | None = None) -> None:
        self.epoch, self.epochs, self.phase, self.cases = epoch, 100, phase, CASES
        self.trusted, self.own, self.learning_rate = TRUSTED, np.arange(CASES), 0.5
        self.store = LabelState(built.fields(), [()] * CASES, None)
        self.generator = torch.Generator().manual_seed(7)
        self.images = torch.randn(CASES, 2, 2, 2, generator=torch.Generator().manual_seed(1))
        self.gradient, self.logged, self.asked, self.kept = gradient, {}, [], []  # type: ignore[var-annotated]

    def summed(self, values: Tensor) -> Tensor:
        return values

    def log(self, **values: Tensor) -> None:
        self.logged.update({name: float(value) for name, value in values.items()})

    def optimise(self, loss: Tensor, networks: Any = None) -> None:
        self.kept.append((loss, networks))

    def sweep(self, rows: Any, net: Network | None = None) -> Any:
        for part in (rows[:4], rows[4:]):
            assert net is not None
            with torch.no_grad():
                features = net.features(self.images[part])
                assert net.head is not None
                yield Swept(part, self.images[part], LABEL[part], net.head(features).softmax(1), features)

    def trusted_batch(self, size: int) -> Any:
        self.asked.append(size)
        return SimpleNamespace(image=self.images[TRUSTED], label=LABEL[TRUSTED])

    def look_ahead(self, net: Network, image: Tensor, scope: str, derivative: str) -> Any:
        from debride.training.look_ahead import LookAhead

        self.asked.append((net, scope, derivative))
        return LookAhead(net, image, scope, derivative, list, 1.0)  # type: ignore[arg-type]


def slow_trust(built: DCD, net: Network, batch: Any, run: Run) -> list[tuple[float, float]]:
    """alpha and beta of each image: how much a step on its given or predicted label lowers the trusted loss (Eq. 5 and 6)."""
    trusted = run.images[TRUSTED], LABEL[TRUSTED]
    parameters = list(net.parameters())
    direction = torch.autograd.grad(nn.functional.cross_entropy(net(trusted[0]), trusted[1]), parameters)
    found = []
    for image, label in zip(batch.image, batch.label, strict=True):
        logits = net(image[None])
        pair = []
        for target in (label, logits.argmax(1)[0]):
            if label == IGNORE:
                pair.append(0.0)
                continue
            slope = torch.autograd.grad(nn.functional.cross_entropy(logits, target[None]), parameters, retain_graph=True)
            pair.append(max(0.0, float(sum((a * b).sum() for a, b in zip(direction, slope, strict=True)))))
        found.append((pair[0], pair[1]))
    return found


@pytest.mark.parametrize("normalise", ["batch", "case"])
@pytest.mark.parametrize("parts", ["both", "given", "pseudo"])
def test_alpha_and_beta_are_looked_ahead_for_and_kept_for_the_phases_network(parts: Any, normalise: Any) -> None:
    built = method(parts=parts, normalise=normalise, trusted_batch=7, scope="full", derivative="exact")
    built.centres = {"second": torch.randn(K, F)}
    run, batch = Run(built, "second"), batch_of([0, 3, 2, 6, 9])
    built.weight(batch, run, built.second, SELECTED[batch.index])  # type: ignore[arg-type]
    assert run.asked == [(built.second, "full", "exact"), 7]
    slow = [
        (a if parts != "pseudo" else 0.0, b if parts != "given" else 0.0)
        for a, b in slow_trust(built, built.second, batch, run)
    ]
    labelled = [label != IGNORE for label in batch.label.tolist()]
    mean = sum(a + b for a, b in slow) / sum(labelled)
    for place, row in enumerate(batch.index.tolist()):
        alpha, beta = slow[place]
        below = mean if normalise == "batch" else alpha + beta
        kept = run.store.read("alpha", [row])[0], run.store.read("beta", [row])[0]
        expected = (alpha / below, beta / below) if below > 0 else (0.0, 0.0)
        assert [float(kept[0][1]), float(kept[1][1])] == pytest.approx(expected, abs=1e-4)
        assert [float(kept[0][0]), float(kept[1][0])] == [1.0, 0.0], "the other network's are left as they were"
    assert run.store.read("alpha", [1])[0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("alpha", "beta", "label", "expected"), [(1, 0, 0, 0), (0.4, 0.6, 0, 2), (0.5, 0.5, 1, 1), (1, 0, IGNORE, 2), (0, 0, 1, 1)]
)
def test_a_class_is_the_larger_part_of_equation_4(alpha: float, beta: float, label: int, expected: int) -> None:
    found = target_class(torch.tensor([label]), torch.tensor([2]), torch.tensor([alpha]), torch.tensor([beta]))
    assert found.tolist() == [expected]


@pytest.mark.parametrize("features", ["unit", "raw"])
def test_centres_are_made_of_labelled_images_but_the_trusted_with_their_stored_weights(features: Any) -> None:
    built = method(features=features, kept=0.0)
    run = Run(built)
    generator = torch.Generator().manual_seed(3)
    alpha, beta = torch.rand(CASES, 2, generator=generator), torch.rand(CASES, 2, generator=generator)
    run.store.write("alpha", range(CASES), alpha)
    run.store.write("beta", range(CASES), beta)
    built.start_epoch(run)  # type: ignore[arg-type]
    for number, (name, net) in enumerate((("first", built.first), ("second", built.second))):
        sums, totals = torch.zeros(K, F), torch.zeros(K)
        for row in range(CASES):
            h = net.features(run.images[[row]])[0].detach()
            h = h / math.sqrt(float((h * h).sum())) if features == "unit" else h
            a, b = float(alpha[row, number]), float(beta[row, number])
            own = int(LABEL[row]) if a >= b and LABEL[row] != IGNORE else int(net(run.images[[row]]).argmax())
            if row not in TRUSTED and LABEL[row] != IGNORE:
                sums[own] += (a + b) * h
                totals[own] += a + b
        known = totals > 0
        torch.testing.assert_close(built.centres[name][known], sums[known] / totals[known, None])


@pytest.mark.parametrize("split", ["mean", "other"])
def test_selection_is_unicons_and_never_of_the_trusted(split: Any) -> None:
    built = method(split=split, mu=1.0)
    run = Run(built)
    built.start_epoch(run)  # type: ignore[arg-type]
    chance = [net(run.images).softmax(1).detach().double() for net in (built.first, built.second)]
    for number, name in enumerate(("first", "second")):
        p = (chance[0] + chance[1]) / 2 if split == "mean" else chance[1 - number]
        rows = [row for row in range(CASES) if LABEL[row] != IGNORE and row not in TRUSTED]
        d = {row: slow_divergence(p[row].tolist(), int(LABEL[row])) for row in rows}
        limit = sum(d.values()) / len(d)
        share = sum(value <= limit for value in d.values()) / len(d)
        expected = set()
        for k in range(K):
            own = sorted((row for row in rows if LABEL[row] == k), key=lambda row: d[row])
            expected |= set(own[: math.floor(round(share * len(rows) / K, 6))])
        assert set(built.divisions[name].selected.nonzero()[:, 0].tolist()) == expected
        assert not built.divisions[name].selected[TRUSTED].any()
        for row in rows:
            assert float(built.divisions[name].trust[row]) == pytest.approx(1 - d[row], abs=1e-5)


def slow_divergence(p: list[float], label: int) -> float:
    total = 0.0
    for k, q in enumerate(p):
        one = float(k == label)
        middle = (q + one) / 2
        total += q * math.log2(q / middle) / 2 + (math.log2(1 / middle) / 2 if one else 0)
    return total


def test_trusted_cases_are_in_no_phase() -> None:
    built = method(warm_up=0.5)
    (warm,) = built.plan(Run(built, epoch=0))  # type: ignore[arg-type]
    rows = [row for row in range(CASES) if row not in TRUSTED]
    assert warm.streams[0].cases is not None and warm.streams[0].cases.tolist() == rows
    built.divisions["first"].selected[8] = False
    for phase, name in zip(built.plan(Run(built, epoch=60)), ("first", "second"), strict=True):  # type: ignore[arg-type]
        assert phase.name == name and len(phase.looks) == 4
        seen = [row for stream in phase.streams if stream.cases is not None for row in stream.cases.tolist()]
        assert sorted(seen) == rows


@pytest.mark.parametrize("kind", ["dcd", "direct", "none"])
def test_selected_images_weigh_by_their_distance_or_their_trust(kind: Any) -> None:
    built = method(weights=kind, spread=0.3)
    built.centres = {"first": torch.randn(K, F, generator=torch.Generator().manual_seed(0))}
    run, batch = Run(built), batch_of([0, 1, 2, 3, 5, 7])
    selected = SELECTED[batch.index]
    found = built.weight(batch, run, built.first, selected)  # type: ignore[arg-type]
    if kind == "none":
        assert found is None and not run.asked
        return
    assert found is not None and found[~selected].tolist() == [1.0] * int((~selected).sum())
    alpha, beta = run.store.read("alpha", batch.index)[:, 0], run.store.read("beta", batch.index)[:, 0]
    h = nn.functional.normalize(built.first.features(batch.image), dim=1).detach()
    predicted = built.first(batch.image).argmax(1)
    powers, totals = {}, {}
    for place in range(6):
        own = int(batch.label[place]) if alpha[place] >= beta[place] else int(predicted[place])
        if batch.label[place] == IGNORE:
            own = int(predicted[place])
        distance = math.dist(h[place].tolist(), built.centres["first"][own].tolist())
        assert float(run.store.read("distance", [int(batch.index[place])])[0, 0]) == pytest.approx(distance, abs=1e-4)
        if selected[place]:
            powers[place], totals[place] = math.exp(distance / 0.3), float(alpha[place] + beta[place])
    source = powers if kind == "dcd" else totals
    expected = {place: value * len(source) / sum(source.values()) for place, value in source.items()}
    assert {place: float(found[place]) for place in expected} == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("effective", [0.6, 0.9])
def test_a_wanted_share_is_left_of_distances_in_their_classes_deviations(effective: float) -> None:
    built = method(meta=False, spread=None, effective=effective)
    built.centres = {"first": torch.randn(K, F, generator=torch.Generator().manual_seed(0))}
    run, batch = Run(built), batch_of([0, 1, 2, 5, 7, 8, 9])
    selected = SELECTED[batch.index]
    found = built.weight(batch, run, built.first, selected)  # type: ignore[arg-type]
    assert found is not None
    weights = found[selected].tolist()
    assert sum(weights) ** 2 / (len(weights) * sum(w**2 for w in weights)) == pytest.approx(effective, abs=2e-3)
    assert run.logged["effective"] == pytest.approx(effective, abs=2e-3)
    h = nn.functional.normalize(built.first.features(batch.image), dim=1).detach()
    mean, deviation = built.moments["first"].tolist()
    scores = []
    for place in selected.nonzero()[:, 0].tolist():
        k = int(batch.label[place])
        scores.append((math.dist(h[place].tolist(), built.centres["first"][k].tolist()) - mean[k]) / deviation[k])
    slopes = [
        (math.log(weights[a]) - math.log(weights[0])) / (scores[a] - scores[0])
        for a in range(1, len(weights))
        if scores[a] != scores[0]
    ]
    assert slopes == pytest.approx([slopes[0]] * len(slopes), rel=1e-2), "the logarithm grows with the distance"


def test_moments_are_those_of_the_selected_images_last_distances() -> None:
    built = method()
    run = Run(built)
    distance = torch.rand(CASES, 2, generator=torch.Generator().manual_seed(5)) + 0.1
    distance[0] = 0  # it has none yet
    run.store.write("distance", range(CASES), distance)
    built.start_epoch(run)  # type: ignore[arg-type]
    for number, name in enumerate(("first", "second")):
        selected = built.divisions[name].selected
        for k in range(K):
            own = [float(distance[row, number]) for row in range(1, CASES) if selected[row] and LABEL[row] == k]
            mean = sum(own) / len(own) if len(own) > 1 else 0.0
            deviation = math.sqrt(sum((d - mean) ** 2 for d in own) / len(own)) if len(own) > 1 else 1.0
            assert built.moments[name][:, k].tolist() == pytest.approx([mean, deviation], abs=1e-4)


def test_without_meta_nothing_is_looked_ahead_at_and_given_labels_count() -> None:
    built = method(meta=False)
    built.centres = {"first": torch.randn(K, F)}
    run, batch = Run(built), batch_of([0, 2, 3, 5])
    assert built.weight(batch, run, built.first, SELECTED[batch.index]) is not None  # type: ignore[arg-type]
    assert (
        not run.asked and run.store.read("alpha", range(CASES)).eq(1).all() and run.store.read("beta", range(CASES)).eq(0).all()
    )


def test_without_dcd_a_step_is_unicons() -> None:
    rows = [0, 2, 5, 1, 3, 6]
    built = method(weights="none", meta=False)
    made = iter((network(1), network(2)))
    plain = UNICON(UNICON.Config(projection=4, ramp=0.0), lambda: next(made), K)
    plain.divisions = built.divisions
    plain.projections.load_state_dict(built.projections.state_dict())
    ours, theirs = (each.loss(batch_of(rows), Run(built)) for each in (built, plain))  # type: ignore[arg-type]
    assert {name: float(value) for name, value in ours.items()} == {name: float(value) for name, value in theirs.items()}


def test_the_weights_reach_the_supervised_term_alone() -> None:
    rows = [0, 2, 5, 1, 3, 6]
    terms = []
    for kind in ("dcd", "none"):
        built = method(weights=kind, spread=0.05)
        made = method()
        built.projections.load_state_dict(made.projections.state_dict())
        built.centres = {"first": torch.randn(K, F, generator=torch.Generator().manual_seed(0))}
        terms.append({name: float(value) for name, value in built.loss(batch_of(rows), Run(built)).items()})  # type: ignore[arg-type]
    assert terms[0]["supervised"] != pytest.approx(terms[1]["supervised"], rel=1e-3)
    assert terms[0]["unsupervised"] == pytest.approx(terms[1]["unsupervised"])


@pytest.mark.parametrize("phase", ["first", "second", "train"])
def test_a_step_moves_the_phases_network_and_its_projection(phase: str) -> None:
    built = method(warm_up=0.6)
    built.centres = dict.fromkeys(("first", "second"), torch.randn(K, F))
    run = Run(built, phase)
    built.step(batch_of([0, 2, 5, 1, 3, 6]), run)  # type: ignore[arg-type]
    ((_, networks),) = run.kept
    if phase == "train":
        assert networks is None
    else:
        assert networks == [getattr(built, phase), built.projections[phase]]
        assert {"alpha", "beta", "distance", "supervised", "contrastive", "selected"} <= run.logged.keys()


@pytest.mark.parametrize(
    ("name", "value"), [("trusted_batch", 0), ("spread", 0.0), ("spread", math.inf), ("lambda_c", -1.0), ("warm_up", 1.5)]
)
def test_settings_out_of_range_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(DataError) as caught:
        check_bounds(DCD.Config(**{name: value}))
    assert caught.value.where == f"DCD.Config.{name}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "equal"),
    [
        ({"weights": "none"}, True),
        ({"meta": False}, True),
        ({"meta": False, "divisor": "count"}, True),
        ({"spread": 0.1}, False),
    ],
)
def test_labels_of_trusted_cases_steer_and_are_not_learnt(config: dict[str, Any], equal: bool, tmp_path: Path) -> None:
    """Trusted labels change what is learnt, through alpha and beta alone: without them there is no difference."""
    first = small_class_job(tmp_path, "dcd", out="a", config=config, epochs=4)
    fit(first)
    cases = first.dataset.cases
    changed = tuple(replace(case, target=(int(case.target or 0) + 1) % 3) if case.trusted else case for case in cases)
    second = replace(first, dataset=replace(first.dataset, cases=changed), out=tmp_path / "b")
    fit(second)
    assert same(weights(tmp_path / "a", "epoch-0004"), weights(tmp_path / "b", "epoch-0004")) is equal


def test_several_processes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="`devices`: is 2, and dcd keeps label state"):
        fit(small_class_job(tmp_path, "dcd", devices=2))
