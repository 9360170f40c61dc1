"""Two groups among one number per case, by a Gaussian mixture: which labels are doubtful (Self-cleansing, section 2.2)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

_SPREAD = 5e-4
"""Least variance of a component, of values in [0, 1], as in DivideMix: many equal losses make no infinitely narrow one."""


def posterior_of_larger(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The probability (N,) that each of N finite numbers belongs to the larger group, w_Noisy of Eq. 3 (1 - w_Clean of Eq. 2).

    Values are brought to [0, 1] and two Gaussians are fitted by expectation maximisation, from the smallest and the largest. A
    broad component would claim the far side of a narrow one, so values beyond a component's mean count as that mean. All zeros
    where there is nothing to separate: fewer than four values, all of them equal, or one Gaussian that describes them as well
    (by the Bayesian information criterion).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    spread = float(np.ptp(values)) if len(values) else 0.0
    none = np.zeros(len(values))
    if len(values) < 4 or spread < 1e-6:
        return none
    scaled = ((values - values.min()) / spread).astype(np.float64)[:, None]
    single = GaussianMixture(1, reg_covar=_SPREAD).fit(scaled)
    start: dict[str, Any] = {  # all of it: what is left out depends on the order of the values
        "weights_init": [0.5, 0.5],
        "means_init": [[0.0], [1.0]],
        "precisions_init": np.full((2, 1, 1), 4 / scaled.var()),
    }
    mixture = GaussianMixture(2, **start, reg_covar=_SPREAD, tol=1e-6, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last iteration's fit is good enough
        mixture.fit(scaled)
    if mixture.bic(scaled) >= single.bic(scaled):
        return none
    larger = int(mixture.means_[:, 0].argmax())
    within = scaled.clip(mixture.means_.min(), mixture.means_.max())
    posterior: npt.NDArray[np.float64] = mixture.predict_proba(within)[:, larger]
    return posterior


def likely_smaller(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The probability (N,) that each of N finite numbers belongs to the smaller of two groups, w of DivideMix (Section 3.1).

    Values are brought to [0, 1] and two Gaussians are fitted as in its code: from two means (k-means), by at most ten
    iterations. More of them would widen one Gaussian over nearly all values and leave their tail to the other. All ones where
    there is nothing to separate: fewer than two values, or all of them equal.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    spread = float(np.ptp(values)) if len(values) else 0.0
    if spread < 1e-6:
        return np.ones(len(values))
    scaled = ((values - values.min()) / spread).astype(np.float64)[:, None]
    group = KMeans(2, init=np.array([[0.0], [1.0]]), n_init=1, tol=0).fit_predict(scaled)
    parts = [scaled[group == number, 0] for number in (0, 1)]
    start: dict[str, Any] = {  # all of it, so that nothing depends on the order of the values
        "weights_init": [len(part) / len(scaled) for part in parts],
        "means_init": [[part.mean()] for part in parts],
        "precisions_init": [[[1 / (part.var() + _SPREAD)]] for part in parts],
    }
    mixture = GaussianMixture(2, **start, reg_covar=_SPREAD, tol=1e-2, max_iter=10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(scaled)
    posterior: npt.NDArray[np.float64] = mixture.predict_proba(scaled)[:, int(mixture.means_[:, 0].argmin())]
    return posterior
