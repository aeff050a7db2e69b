"""Studies that several processes share, in a journal file and in a real database, with one of them killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pytest

from blend.problem import Problem
from blend.solvers import make_solver
from blend.solvers.journal import open_storage
from blend.solvers.optuna import Space
from datamodules.banks.bank import BankError
from tests.blend.banks import write_runs

STORAGES = ["file", pytest.param("database", marks=pytest.mark.postgres)]
SLOW_SEARCH = """
import sys, time
import blend.solvers.journal as journal
from blend.solvers.optuna import Space
from blend.__main__ import main
journal.HEARTBEAT_SECONDS = 1
evaluate = Space.evaluate
Space.evaluate = lambda self, trial: time.sleep(0.3) or evaluate(self, trial)
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return write_runs(tmp_path_factory.mktemp("runs"), "column_log_loss", models=3, rows=40, shape=(3,)).problem()


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A journal file or the URL of a database, as a user writes it."""
    if request.param == "file":
        return str(tmp_path / "study.journal")
    url: str = request.getfixturevalue("postgres_url")
    return url.replace("+psycopg", "")


def trials(storage: str, study: str) -> list[optuna.trial.FrozenTrial]:
    with open_storage(storage, shared=True) as opened:
        return optuna.load_study(study_name=study, storage=opened).trials


def test_a_killed_worker_costs_nothing(
    problem: Problem, storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other two and the command itself do its trials, the one in its hands too; all of them are logged."""
    evaluate, parent, once = Space.evaluate, os.getpid(), tmp_path / "killed"

    def killed(self: Space, trial: optuna.Trial) -> float:
        time.sleep(0.1)
        if trial.number >= 3 and os.getpid() != parent:
            with contextlib.suppress(FileExistsError):
                once.touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
        return evaluate(self, trial)

    monkeypatch.setattr(Space, "evaluate", killed)
    logged: list[int] = []
    options = {"trials": 20, "storage": storage, "workers": 3, "study": "killed"}
    solver = make_solver("optuna", options | {"log_trial": lambda number, *more: logged.append(number)})
    weights = solver.fit(problem)
    found = trials(storage, "killed" if "://" in storage else "blend")
    done = [trial for trial in found if trial.state == optuna.trial.TrialState.COMPLETE]
    assert len(done) == 20
    assert not [trial for trial in found if trial.state == optuna.trial.TrialState.RUNNING]
    assert sorted(logged) == sorted(trial.number for trial in done)
    assert [trial for trial in done if "failed_trial" in trial.system_attrs]  # the retried one
    assert weights.values.sum() == pytest.approx(1)


@pytest.mark.postgres
def test_three_commands_on_one_study_one_of_them_killed(postgres_url: str, tmp_path: Path) -> None:
    """As on three machines: nobody but the database knows of the others."""
    write_runs(tmp_path / "runs", "column_log_loss", models=3, rows=40, shape=(3,))
    runs = [str(path) for path in sorted((tmp_path / "runs").iterdir()) if path.name != "truth"]
    command = [
        sys.executable, "-c", SLOW_SEARCH, "search", *runs, "--method", "optuna", "--trials", "30", "--storage", postgres_url,
        "--name", "three", "--nested", "false", "--figures", "false",
    ]  # fmt: skip
    commands = [
        subprocess.Popen(
            [*command, "--out", str(tmp_path / f"out{i}")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for i in range(3)
    ]
    deadline = time.monotonic() + 60
    while True:
        assert time.monotonic() < deadline
        with open_storage(postgres_url, shared=True) as opened:
            if "three" in optuna.get_all_study_names(opened):
                running = optuna.load_study(study_name="three", storage=opened).get_trials(
                    states=(optuna.trial.TrialState.RUNNING,)
                )
                if len(running) == 3:
                    break
    commands[0].kill()
    for i, one in enumerate(commands):
        output = one.communicate(timeout=120)[0].decode()
        if i > 0:
            assert one.returncode == 0, output
            assert (tmp_path / f"out{i}" / "weights.json").is_file()
    found = trials(postgres_url, "three")
    done = [trial for trial in found if trial.state == optuna.trial.TrialState.COMPLETE]
    assert 30 <= len(done) <= 32  # others may finish theirs while the last one ends
    starts = [trial.user_attrs["origin"] for trial in done if "origin" in trial.user_attrs]
    assert len(starts) >= 3
    parameters = [tuple(sorted(trial.params.items())) for trial in done if "origin" not in trial.user_attrs]
    assert len(set(parameters)) == len(parameters)  # every machine asks its own questions
    failed = [trial for trial in found if trial.state == optuna.trial.TrialState.FAIL]
    assert len(failed) == 1
    assert [trial for trial in done if trial.system_attrs.get("failed_trial") == failed[0].number]


@pytest.mark.postgres
def test_several_blends_live_in_one_database(problem: Problem, postgres_url: str, tmp_path: Path) -> None:
    other = write_runs(tmp_path / "other", "column_log_loss", models=2, rows=40, shape=(3,), seed=5).problem()
    for name, one in (("blends/first", problem), ("blends/second", other)):
        make_solver("optuna", {"trials": 3, "storage": postgres_url, "study": name}).fit(one)
    assert [len(trials(postgres_url, name)) for name in ("blends/first", "blends/second")] == [3, 3]
    with pytest.raises(BankError, match=r"study of other predictions \('blends/first'\).*another --out or --name"):
        make_solver("optuna", {"trials": 3, "storage": postgres_url, "study": "blends/first"}).fit(other)


@pytest.mark.postgres
def test_a_study_from_before_it_was_named_goes_on(problem: Problem, postgres_url: str) -> None:
    make_solver("optuna", {"trials": 3, "storage": postgres_url}).fit(problem)
    make_solver("optuna", {"trials": 5, "storage": postgres_url, "study": "blends/named"}).fit(problem)
    assert len(trials(postgres_url, "blend")) == 5


def test_a_database_that_does_not_answer_is_one_sentence(problem: Problem) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(
        BankError, match=r"--storage postgresql://me:\*\*\*@127.0.0.1:1/studies cannot be opened: .*refused"
    ) as error:
        make_solver("optuna", {"trials": 1, "storage": "postgresql://me:secret@127.0.0.1:1/studies"}).fit(problem)
    assert "secret" not in str(error.value)


def test_a_missing_driver_names_the_extra(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(BankError, match=r'pip install "podium\[database\]"'):
        make_solver("optuna", {"trials": 1, "storage": "postgresql://me@127.0.0.1:1/studies"}).fit(problem)


def test_weights_of_one_and_of_several_workers_are_as_good(problem: Problem, tmp_path: Path) -> None:
    one = make_solver("optuna", {"trials": 12}).fit(problem)
    several = make_solver("optuna", {"trials": 12, "workers": 3, "storage": str(tmp_path / "s.journal")}).fit(problem)
    losses = [problem.objective().loss(weights.values) for weights in (one, several)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
