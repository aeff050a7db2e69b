from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from experiments.engine.cli import PRESETS, parse
from experiments.engine.declare import load_experiment
from experiments.leap_bilstm_tcn import EXPERIMENT

ROOT = Path(__file__).parents[3]


def test_help_explains_every_flag_without_importing_torch() -> None:
    program = (
        "import sys, runpy; sys.argv = ['x', '--help']\n"
        "try: runpy.run_path('experiments/leap_bilstm_tcn.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print('heavy:', sorted({'torch', 'lightning', 'pandas', 'timm', 'wandb', 'matplotlib'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "heavy: []" in result.stdout
    for text in (
        "--devices",
        "--data.train_months",
        "--model.hidden",
        "--optim.weight_decay",
        "--train.ema_decay",
        "0.7855",
    ):
        assert text in result.stdout
    described = result.stdout.split("options:")[1]
    assert "(required" not in described


def test_defaults_are_the_published_settings() -> None:
    settings = parse(EXPERIMENT, ["--data_dir", "somewhere"])
    assert not settings.demo
    assert (settings.daily.epochs, settings.daily.batch_size, settings.daily.lr) == (30, 7680, 1e-3)
    assert (settings.model.hidden, settings.model.layers, settings.model.dilations) == (256, 6, (1, 2, 4, 8))
    assert settings.variant == "default"


def test_without_data_the_demo_defaults_count_and_flags_win_over_them() -> None:
    settings = parse(EXPERIMENT, ["--epochs", "1"])
    assert settings.demo
    assert settings.daily.epochs == 1
    assert settings.model.hidden == EXPERIMENT.demo["model.hidden"]
    assert parse(EXPERIMENT, []).variant == "demo"


def test_the_variant_follows_what_changes_results_and_nothing_else() -> None:
    base = ["--data_dir", "somewhere"]
    same = parse(EXPERIMENT, [*base, "--devices", "4", "--wandb", "disabled", "--fold", "3", "--data.threads", "1"])
    other = parse(EXPERIMENT, [*base, "--lr", "0.002"])
    assert same.variant == "default"
    assert other.variant.startswith("default-")
    assert other.variant == parse(EXPERIMENT, [*base, "--lr", "2e-3"]).variant
    assert other.config_hash != same.config_hash
    assert parse(EXPERIMENT, [*base, "--lr", "0.002", "--variant", "fast"]).variant == "fast"


def test_yaml_is_read_and_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump({"epochs": 7, "model": {"hidden": 32}, "data": {"stride": 7}}))
    settings = parse(EXPERIMENT, ["--config", str(file), "--data_dir", "d", "--model.hidden", "16"])
    assert (settings.daily.epochs, settings.model.hidden, settings.data.stride) == (7, 16, 7)


def test_print_config_can_be_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(EXPERIMENT, ["--data_dir", "d", "--lr", "0.01", "--print_config"])
    file = tmp_path / "printed.yaml"
    file.write_text(capsys.readouterr().out)
    assert (
        parse(EXPERIMENT, ["--config", str(file)]).config_hash
        == parse(EXPERIMENT, ["--data_dir", "d", "--lr", "0.01"]).config_hash
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--lerning_rate", "1"], "lerning_rate"),
        (["--model.hiden", "3"], "model.hiden 3 (did you mean --model.hidden?)"),
        (["--model.hid", "3"], "model.hid"),
        (["--epochs", "three"], "epochs"),
        (["--epochs", "0"], "--epochs must be at least 1, got 0"),
        (["--precision", "fp8"], "precision"),
        (["--data.gap_days", "-1"], "--data.gap_days must be at least 0"),
        (["--train.ema_decay", "1.5"], "--train.ema_decay must be below 1"),
        (["--config", "missing.yaml"], "missing.yaml"),
        (["--data_dir", "d", "--optim.optimizer", "muon", "--train.strategy", "fsdp"], "muon takes whole matrices"),
    ],
)
def test_wrong_flags_are_named(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(EXPERIMENT, arguments)
    assert stop.value.code == 2
    assert sentence in capsys.readouterr().err


def test_presets_are_named_in_the_help_and_taken_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    experiment = load_experiment("mars_timm")
    with pytest.raises(SystemExit):
        parse(experiment, ["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--preset NAME settings by name: 3a_301, 3a_302" in shown
    assert "small" in shown
    by_name = parse(experiment, ["--preset", "small", "--preset=3c_313", "--data_dir", "x"])
    small, other = (str(PRESETS / "mars_timm" / f"{name}.yaml") for name in ("small", "3c_313"))
    by_file = parse(experiment, ["--config", small, "--config", other, "--data_dir", "x"])
    assert by_name.config_hash == by_file.config_hash
    assert by_name.model.log == "log1p"
    with pytest.raises(SystemExit) as ended:
        parse(experiment, ["--preset", "tiny"])
    assert ended.value.code == 2
    assert "--preset tiny: mars_timm has 3a_301" in capsys.readouterr().err
