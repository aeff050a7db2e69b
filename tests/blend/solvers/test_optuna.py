from __future__ import annotations

import random
import re
import time

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from blend.solvers import journal, make_solver
from datamodules.banks.bank import BankError
from tests.blend.banks import write_runs


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("runs"), "column_log_loss", models=3, rows=40, shape=(3,)).problem()


def load(path) -> optuna.Study:
    """As optuna-dashboard and every other program opens it."""
    return optuna.load_study(study_name="blend", storage=JournalStorage(JournalFileBackend(str(path))))


def test_the_journal_is_an_ordinary_one_and_resumes(problem, tmp_path):
    path = tmp_path / "new/study.journal"
    first = make_solver("optuna", {"trials": 6, "storage": str(path)}).fit(problem)
    study = load(path)
    assert len(study.trials) == 6
    assert [t.user_attrs.get("origin") for t in study.trials[:3]] == ["equal", "best single", "exact arithmetic"]
    assert study.metric_names == ["column_log_loss"]
    second = make_solver("optuna", {"trials": 10, "storage": str(path)}).fit(problem)
    assert len(load(path).trials) == 10
    assert problem.objective().loss(second.values) <= problem.objective().loss(first.values)
    again = make_solver("optuna", {"trials": 10, "storage": str(path)}).fit(problem)
    assert len(load(path).trials) == 10
    np.testing.assert_array_equal(again.values, second.values)


def test_a_damaged_journal_is_refused_or_changes_nothing_that_counts(problem, tmp_path):
    path = tmp_path / "study.journal"
    make_solver("optuna", {"trials": 6, "storage": str(path)}).fit(problem)
    whole, draw, refused = path.read_bytes(), random.Random(0), []
    for number in range(45):
        damaged = bytearray(whole)
        if number % 3 == 0:
            damaged = damaged[: draw.randrange(len(damaged))]
        elif number % 3 == 1:
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(7)
        else:
            lines = whole.splitlines(keepends=True)
            del lines[draw.randrange(len(lines))]
            damaged = b"".join(lines)
        path.write_bytes(damaged)
        try:
            weights = make_solver("optuna", {"trials": 8, "storage": str(path)}).fit(problem)
        except BankError as error:
            refused.append(str(error))
        else:
            assert problem.objective().loss(weights.values) <= problem.objective().singles().min() + 1e-12
    assert 5 < len(refused) < 45
    assert all(re.search("damaged|of other predictions", sentence) for sentence in refused)


def test_a_study_of_other_predictions_is_refused(problem, tmp_path):
    path = str(tmp_path / "study.journal")
    make_solver("optuna", {"trials": 3, "storage": path}).fit(problem)
    other = write_runs(tmp_path / "other", "column_log_loss", models=3, rows=40, shape=(3,), seed=5).problem()
    with pytest.raises(BankError, match="holds a study of other predictions"):
        make_solver("optuna", {"trials": 3, "storage": path}).fit(other)


def test_an_interrupted_search_keeps_its_trials(problem, tmp_path):
    path = tmp_path / "study.journal"

    def stop(number, score, best, weights):
        if number == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_solver("optuna", {"trials": 50, "storage": str(path), "log_trial": stop}).fit(problem)
    assert len([t for t in load(path).trials if t.state.is_finished()]) == 5
    make_solver("optuna", {"trials": 8, "storage": str(path)}).fit(problem)
    assert len([t for t in load(path).trials if t.state.is_finished()]) == 8


def test_several_workers_share_a_study(problem, tmp_path):
    path = tmp_path / "study.journal"
    weights = make_solver("optuna", {"trials": 8, "storage": str(path), "workers": 2}).fit(problem)
    finished = [t for t in load(path).trials if t.state.is_finished()]
    assert len(finished) == 8
    exact = make_solver("convex", {}).fit(problem)
    assert problem.objective().loss(weights.values) <= problem.objective().loss(exact.values) + 1e-12
    with pytest.raises(BankError, match="several workers share a study through a file"):
        make_solver("optuna", {"trials": 8, "workers": 2}).fit(problem)


def test_a_database_works_too(problem, tmp_path):
    pytest.importorskip("sqlalchemy")
    url = f"sqlite:///{tmp_path}/study.db"
    make_solver("optuna", {"trials": 4, "storage": url}).fit(problem)
    assert len(optuna.load_study(study_name="blend", storage=url).trials) == 4


def test_kind_clip_and_subset_are_searched(problem):
    options = {"trials": 25, "kinds": ["arithmetic", "logit"], "clips": [0.0, 0.01], "subsets": True}
    seen = []
    weights = make_solver("optuna", options | {"log_trial": lambda *trial: seen.append(trial)}).fit(problem)
    assert len(seen) == 25
    losses = [
        problem.objective(kind=kind, clip=clip).loss(
            make_solver("convex", {"kind": kind, "clip": clip}).fit(problem).values
        )
        for kind in ("arithmetic", "logit")
        for clip in (0.0, 0.01)
    ]
    assert problem.objective(kind=weights.kind, clip=weights.clip).loss(weights.values) <= min(losses) + 1e-12
    best = [best for _, _, best, _ in seen]
    assert best == sorted(best, reverse=True)
    assert all(sum(trial[3].values()) == pytest.approx(1.0) for trial in seen)


def test_one_seed_one_search(problem):
    runs = [make_solver("optuna", {"trials": 8, "seed": 3}).fit(problem).path for _ in range(2)]
    assert runs[0] == runs[1]


def test_the_buffer_reaches_the_file_by_itself(tmp_path, monkeypatch):
    """Without another trial's end: a slow trial must not hold back the ones before it."""
    monkeypatch.setattr(journal, "FLUSH_SECONDS", 0.05)
    buffer = journal.BufferedJournal(tmp_path / "a.journal")
    buffer.append_logs([{"x": 1}])
    buffer.append_logs([{"x": 2}])
    for _ in range(200):
        if (tmp_path / "a.journal").read_text().count("\n") == 2:
            break
        time.sleep(0.02)
    buffer.close()
    assert (tmp_path / "a.journal").read_text().splitlines() == ['{"x":1}', '{"x":2}']
    assert list(journal.BufferedJournal(tmp_path / "a.journal").read_logs(1)) == [{"x": 2}]
