from __future__ import annotations

from pathlib import Path

import pytest
import torch

from experiments.engine.cli import parse
from experiments.engine.declare import load_experiment
from experiments.engine.training import train
from lit_modules.leap.settings import LeapModel
from lit_modules.leap.task import build_net
from tests.experiments.tiny import flags

PARAMETERS = {
    "leap_bilstm": 8_734_478,
    "leap_bigru": 8_983_822,
    "leap_bilstm_transformer": 11_886_862,
    "leap_bilstm_attention": 9_785_102,
    "leap_bilstm_tcn": 11_755_150,
    "leap_bilstm_cnn": 10_179_214,
    "leap_bigru_transformer": 9_770_766,
    "leap_lstm_gru_transformer": 18_235_150,
    "leap_transformer_lstm": 8_841_651,
    "leap_reslstm_attention": 11_413_262,
    "leap_tcn_attention": 2_530_958,
}
BATCHES = {"leap_bilstm": 4096, "leap_bilstm_attention": 5120, "leap_bilstm_tcn": 7680, "leap_bilstm_cnn": 7680}
FILES = sorted(path.stem for path in (Path(__file__).parents[2] / "experiments").glob("leap_*.py"))


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_declared_net_has_the_published_size(name: str) -> None:
    settings = parse(load_experiment(name), ["--data_dir", "somewhere"])
    assert isinstance(settings.model, LeapModel)
    with torch.device("meta"):
        net = build_net(settings.model, 25)
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS[name]
    assert settings.daily.batch_size == BATCHES.get(name, settings.daily.batch_size)
    assert settings.daily.lr == 1e-3
    assert settings.train.patience == 5


@pytest.mark.parametrize("name", ["leap_zeros", "leap_ridge", "leap_bilstm_transformer", "leap_tcn_attention"])
def test_a_declared_experiment_runs(name: str, raw_files: Path, tmp_path: Path) -> None:
    small = {
        "leap_bilstm_transformer": ["--model.feedforward", "8", "--model.heads", "2"],
        "leap_tcn_attention": ["--model.heads", "2"],
    }
    arguments = flags(raw_files, tmp_path, "--epochs", "1", *small.get(name, []))
    if name in ("leap_zeros", "leap_ridge"):
        cut = arguments.index("--model.hidden")
        del arguments[cut : cut + 4]
    directory = train(parse(load_experiment(name), arguments))
    record = directory.record()
    assert record["status"] == "finished"
    assert directory.bank.is_dir()
    if name == "leap_zeros":
        assert record["scores"][name]["all"] == pytest.approx(record["scores"]["mean"]["all"], abs=1e-5)


def test_batch_axis_runs_leave_no_bank(raw_files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = flags(raw_files, tmp_path, "--epochs", "1", "--model.heads", "2", "--model.attention_axis", "batch")
    directory = train(parse(load_experiment("leap_bilstm_attention"), arguments))
    assert not directory.bank.exists()
    assert "depends on the rows beside it" in capsys.readouterr().out
    assert directory.record()["best"]["score"] is not None
