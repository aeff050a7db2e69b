"""Fitted state that lies once beside a run's checkpoints: everything that reads a checkpoint finds it, or says what is missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.banks.bank import PredictionBank
from datamodules.errors import DataError
from experiments.checkpoint_bank import main as checkpoint_bank
from experiments.engine.run_directory import RunDirectory
from experiments.share import main as share
from lit_modules.base import read_checkpoint
from lit_modules.frozen import FROZEN_KEY, PATTERN, FrozenIO
from lit_modules.moa.task import FEATURES, MoaTask
from tests.datamodules.moa.tiny import write_files
from tests.experiments.test_moa import flags, predict, run

MORE = ("--train.keep_epochs", "true", "--train.ema_decay", "0.9")


@pytest.fixture(scope="module", autouse=True)
def _everything_is_large() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lit_modules.frozen._WORTH_A_FILE", 1)
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("moa") / "demo")


@pytest.fixture(scope="module")
def finished(files: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return run(flags(files, tmp_path_factory.mktemp("runs"), *MORE))


def test_all_checkpoints_share_one_file_that_holds_what_they_lack(finished: RunDirectory) -> None:
    (file,) = finished.checkpoints.glob(PATTERN)
    checkpoints = sorted(finished.checkpoints.glob("*.ckpt"))
    assert len(checkpoints) == 5  # best, last, three epochs
    for path in checkpoints:
        kept = torch.load(path, weights_only=True)
        assert kept[FROZEN_KEY]["file"] == file.name
        whole = read_checkpoint(path)
        for state in ("state_dict", "current_model_state"):  # both of a moving average
            assert not any(name.startswith(FEATURES) for name in kept[state])
            assert any(name.startswith(FEATURES) for name in whole[state])
            assert set(whole[state]) > set(kept[state])


def test_a_copied_run_goes_on_to_the_same_bits(finished: RunDirectory, files: Path, tmp_path: Path) -> None:
    copy = RunDirectory(tmp_path / finished.path.relative_to(finished.path.parents[3]))
    shutil.copytree(finished.path, copy.path)
    (copy.checkpoints / "epoch0.ckpt").rename(copy.last)
    copy.best.unlink()
    shutil.rmtree(copy.bank)
    copy.update_record(status="stopped")
    assert run(flags(files, tmp_path, *MORE)).path == copy.path
    ours, theirs = (read_checkpoint(one.last)["current_model_state"] for one in (copy, finished))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    np.testing.assert_array_equal(*(PredictionBank(one.bank).in_judge_units(slice(None)) for one in (copy, finished)))


def test_fsdp_does_not_go_on_from_it(files: Path, tmp_path: Path) -> None:
    stopped = run(flags(files, tmp_path, "--epochs", "1"))
    stopped.update_record(status="stopped")
    with pytest.raises(
        DataError, match=r"last.ckpt keeps its fitted features in a file beside it, which --train.strategy fsdp"
    ):
        run(flags(files, tmp_path, "--epochs", "1", "--train.strategy", "fsdp"))


def test_every_reader_gets_the_whole_checkpoint(
    finished: RunDirectory, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = files / "test_features.csv"
    wanted = predict(finished.path, test, tmp_path / "run.csv")
    share(["--run", str(finished.path), "--to", str(tmp_path / "shared")])
    assert capsys.readouterr().out.endswith("shared: 1 model of moa_simple_nn\n")
    assert predict(tmp_path / "shared", test, tmp_path / "shared.csv").equals(wanted)
    assert not list((tmp_path / "shared").rglob(PATTERN))
    assert MoaTask.load_from_checkpoint(finished.best).features.width > 0
    checkpoint_bank(["--run", str(finished.path), "--checkpoint", "last", "--accelerator", "cpu"])
    more = run(flags(files, tmp_path / "runs", "--init_from", str(finished.path), "--epochs", "1"))
    assert more.record()["parent"].startswith(str(finished.best))


def whole(path: Path, inside: Path) -> None:
    """As versions before this one wrote it."""
    torch.save(read_checkpoint(inside), path)


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda path, best: shutil.copy(best, path), r"alone.ckpt needs frozen-\w+.safetensors, the fitted features .* copy that file"),
        (whole, None),
    ],
)  # fmt: skip
def test_a_checkpoint_that_lies_alone(
    finished: RunDirectory, tmp_path: Path, prepare: Callable[[Path, Path], object], says: str | None
) -> None:
    path = tmp_path / "alone.ckpt"
    prepare(path, finished.best)
    if says is None:
        assert MoaTask.load_from_checkpoint(path).features.width > 0
        return
    with pytest.raises(DataError, match=says):
        read_checkpoint(path)


def test_state_that_did_change_is_written_again(tmp_path: Path) -> None:
    """The file is looked for once; in-place changes and another folder are seen."""
    rows = torch.arange(8.0)
    writer, state = FrozenIO((FEATURES,)), {"features.rows": rows}
    for folder, change in (("a", 0.0), ("a", 0.0), ("a", 1.0), ("b", 0.0)):
        rows += change
        (tmp_path / folder).mkdir(exist_ok=True)
        writer.save_checkpoint({"state_dict": state, "podium": {}}, tmp_path / folder / "x.ckpt")
        assert torch.equal(read_checkpoint(tmp_path / folder / "x.ckpt")["state_dict"]["features.rows"], rows)


def test_another_file_of_that_name_is_refused(tmp_path: Path) -> None:
    state = {"features.rows": torch.arange(8.0), "net.weight": torch.ones(2)}
    FrozenIO((FEATURES,)).save_checkpoint({"state_dict": state, "podium": {}}, tmp_path / "a.ckpt")
    (file,) = tmp_path.glob(PATTERN)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=rf"{file.name} is not what .*a.ckpt was written with"):
        read_checkpoint(tmp_path / "a.ckpt")


def test_small_state_stays_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lit_modules.frozen._WORTH_A_FILE", 1000)
    FrozenIO((FEATURES,)).save_checkpoint(
        {"state_dict": {"features.a": torch.ones(3)}, "podium": {}}, tmp_path / "a.ckpt"
    )
    assert not list(tmp_path.glob(PATTERN))
    assert FROZEN_KEY not in torch.load(tmp_path / "a.ckpt", weights_only=True)
