"""Submissions through Kaggle's own client, which talks to a server on this machine."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules import kaggle as podium_kaggle
from datamodules.banks.check import check_submission
from datamodules.errors import DataError, UsageError
from datamodules.kaggle import Submit, data_folder, open_competition
from tests.datamodules.kaggle_server import Kaggle, serve, sign_in, sign_out


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kaggle]:
    monkeypatch.setattr(podium_kaggle, "_FIRST_PAUSE", 0.01)
    with serve(Kaggle(), monkeypatch) as kaggle:
        yield kaggle


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    ids = [f"id_{i}" for i in range(6)]
    pd.DataFrame({"sig_id": ids, "a": 0.5, "b": 0.5}).to_csv(tmp_path / "sample_submission.csv", index=False)
    pd.DataFrame({"sig_id": ids, "a": np.linspace(0, 1, 6), "b": 0.25}).to_csv(tmp_path / "s.csv", index=False)
    return tmp_path / "sample_submission.csv"


def send(sample: Path, name: str = "lish-moa", message: str | None = "third try", wait: float = 5) -> str | None:
    competition = open_competition(Submit(submit=name, message=message, wait=wait), sample)
    assert competition is not None
    return competition.send(sample.with_name("s.csv"), sample)


def test_the_file_arrives_whole_and_the_score_is_printed(
    server: Kaggle, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.looks = 3
    assert send(sample) == "0.01599"
    assert server.files == [sample.with_name("s.csv").read_bytes()]
    assert server.submitted[0]["submissionDescription"] == "third try"
    assert server.submitted[0]["blobFileTokens"] == "blob"
    assert server.accounts == {"Basic " + base64.b64encode(b"someone:secret").decode()}
    printed = capsys.readouterr().out
    assert "sending 6 rows" in printed
    assert "submission 4711: https://www.kaggle.com/competitions/lish-moa/submissions" in printed
    assert printed.rstrip().endswith("public score 0.01599")  # ours, not the older one's


def test_the_wait_for_a_score_ends(server: Kaggle, sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.looks = 10**6
    assert send(sample, wait=0.2) is None
    assert "no score after 0.2 s" in capsys.readouterr().out
    assert send(sample, wait=0, message=None) is None
    assert "no score" not in capsys.readouterr().out
    assert server.submitted[1]["submissionDescription"] == "s.csv"


def test_what_kaggle_refuses_is_said_in_one_sentence(server: Kaggle, sample: Path) -> None:
    with pytest.raises(DataError, match=r"no competition 'lish-mao'; did you mean lish-moa\?"):
        send(sample, "lish-mao")
    for status, words in (
        (401, "refuses these credentials; make a new API token"),
        (403, "does not let this account submit to lish-moa: accept the rules on https://"),
        (400, "did not take the submission to lish-moa"),
    ):
        server.status = status
        with pytest.raises(DataError, match=words):
            send(sample)
    server.status = 200
    server.upload = 403
    with pytest.raises(DataError, match=r"Could not submit to competition.*nothing was submitted, send it again"):
        send(sample)
    assert not server.submitted
    server.upload = 200
    server.score = None
    with pytest.raises(DataError, match="could not score submission 4711: Evaluation failed"):
        send(sample)


def test_a_machine_without_kaggle_is_told_so(
    sample: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_in(monkeypatch)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody listens
    with pytest.raises(DataError, match=r"cannot be reached at localhost .* is the session's internet on"):
        send(sample)
    sign_out(monkeypatch, tmp_path)
    with pytest.raises(DataError, match=r"no credentials: make an API token .* KAGGLE_API_TOKEN"):
        send(sample)
    assert capsys.readouterr().out == ""  # not the client's page of help
    monkeypatch.setitem(sys.modules, "kaggle", None)
    monkeypatch.setitem(sys.modules, "kaggle.api.kaggle_api_extended", None)
    with pytest.raises(DataError, match=r'not installed .*pip install "podium\[kaggle\]"'):
        send(sample)


def test_flags_that_do_not_go_together(sample: Path) -> None:
    assert open_competition(Submit(), sample) is None
    with pytest.raises(UsageError, match="--submit lish-moa wants the judge's sample submission"):
        open_competition(Submit(submit="lish-moa"), None)
    with pytest.raises(DataError, match=r"nothing.csv does not exist; --template"):
        open_competition(Submit(submit="lish-moa"), sample.with_name("nothing.csv"))
    with pytest.raises(ValueError, match="--wait is a time in seconds"):
        Submit(wait=-3)
    with pytest.raises(UsageError, match="give --submit COMPETITION too"):
        open_competition(Submit(message="a"), sample)


def change(table: pd.DataFrame, row: int, column: str, value: object) -> pd.DataFrame:
    changed = table.astype(object)
    changed.loc[row, column] = value
    return changed


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda t: t.drop(columns="b"), "lacks the column 'b'"),
        (lambda t: t.assign(c=1), "has the column 'c', unlike"),
        (lambda t: t[["sig_id", "b", "a"]], "in another order"),
        (lambda t: t[:-1], r"lacks the row 'id_5' \(1 such rows; .* has 6\)"),
        (lambda t: change(t, 2, "sig_id", "id_9"), "lacks the row 'id_2'"),
        (lambda t: pd.concat([t, change(t[:1], 0, "sig_id", "other")]), "unlike the sample's: 'other'"),
        (lambda t: pd.concat([t, t[:2]]), r"more than once the row 'id_0' \(2 such rows"),
        (lambda t: change(t, 3, "b", None), "row 5: b holds nan, no finite number"),
        (lambda t: change(t, 3, "b", "inf"), "row 5: b holds inf, no finite number"),
        (lambda t: change(t, 3, "b", "many"), "s.csv: .*many"),
    ],
)
def test_nothing_is_sent_that_the_judge_would_refuse(server: Kaggle, sample: Path, broken, words: str) -> None:
    file = sample.with_name("s.csv")
    broken(pd.read_csv(file)).to_csv(file, index=False)
    with pytest.raises(DataError, match=words):
        send(sample)
    assert not server.files


def test_rows_may_stand_in_any_order_and_ids_may_be_numbers(sample: Path) -> None:
    file = sample.with_name("s.csv")
    pd.read_csv(file)[::-1].to_csv(file, index=False)
    assert check_submission(file, sample) == 6
    pd.DataFrame({"id": range(5), "label": list("abcde")}).to_csv(sample, index=False)
    pd.DataFrame({"id": range(5), "label": list("eeeee")}).to_csv(file, index=False)
    assert check_submission(file, sample) == 5
    pd.DataFrame({"id": range(5), "label": ["e", "", "e", "e", "e"]}).to_csv(file, index=False)
    with pytest.raises(DataError, match="row 3: label is empty"):
        check_submission(file, sample)


def test_a_session_s_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(podium_kaggle, "_PLACES", (str(tmp_path / "input"), str(tmp_path / "input/competitions")))
    assert data_folder("lish-moa") is None
    (tmp_path / "input/competitions/lish-moa").mkdir(parents=True)
    assert data_folder("lish-moa") == tmp_path / "input/competitions/lish-moa"


def test_help_does_not_load_the_client() -> None:
    code = "import sys, blend.__main__, experiments.engine.request; assert not {'kaggle', 'pandas', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
