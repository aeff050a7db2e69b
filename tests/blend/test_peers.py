"""The blend beside its peers, on the banks of the benchmark."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.blend_peers import METRICS, autogluon, hillclimbers, made, ours, slsqp


@pytest.mark.parametrize("metric", ["column_log_loss", "rmse", "mae"])
def test_exact_weights_are_never_worse_than_scipys_on_the_rows_they_were_fitted_on(metric):
    bank = made(metric, 400, 8)
    rows = np.arange(400)
    score = METRICS[metric][0]
    exact, theirs = (score(bank.truth, method(bank, rows, rows)) for method in (lambda *a: ours("convex", *a), slsqp))
    assert exact <= theirs + 1e-6
    assert exact < score(bank.truth, bank.models.mean(axis=0))


@pytest.mark.parametrize("peer", [autogluon, hillclimbers])
@pytest.mark.parametrize("metric", ["auc", "rmse"])
def test_greedy_weights_are_those_of_the_peers_or_better(peer, metric, capsys):
    pytest.importorskip("hillclimbers" if peer is hillclimbers else "autogluon.core")
    bank = made(metric, 400, 6)
    rows = np.arange(400)
    score, _, _, higher = METRICS[metric]
    sign = -1 if higher else 1
    best = min(sign * score(bank.truth, ours(name, bank, rows, rows)) for name in ("greedy", "coordinate"))
    assert best <= sign * score(bank.truth, peer(bank, rows, rows)) + 1e-3
