"""Tables of scores: every fold of every row, earlier stages first, blends last, between the markers of a file."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from blend.__main__ import main as blend
from experiments.engine.cli import parse
from experiments.engine.declare import load_experiment
from experiments.results import main as results_main
from experiments.results import read_plan
from experiments.tables import table_runs
from experiments.tables.table import main as table_main
from experiments.tables.table_runs import Entry, demo_words
from tests.datamodules.moa.tiny import write_files
from tests.experiments import tiny

FLAGS = (
    "--data.n_folds 2 --epochs 3 --batch_size 64 --train.figures false --accelerator cpu --model.label_smoothing 0.002"
)
ROWS = [
    "moa_logistic",
    "moa_simple_nn --data.features '[rank_gauss, one_hot]' --model.hidden '[16, 16]' --variant mine",
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("moa") / "demo")


@pytest.fixture(scope="module")
def written(files: Path) -> Path:
    """A results file with one table of all folds and their blends."""
    path = files.parent / "results.md"
    path.write_text("# Results\n\nBefore.\n\n<!-- begin other -->\nkept\n<!-- end other -->\n")
    table_main(
        [
            *ROWS, "--data_dir", str(files), "--out", str(files.parent / "runs"), "--fold", "all", "--flags", FLAGS,
            "--blend", "[equal, convex, optuna]", "--trials", "20", "--write", str(path), "--name", "tiny",
        ]
    )  # fmt: skip
    return path


def cells(text: str) -> dict[str, list[str]]:
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): [cell.strip() for cell in row[1:]] for row in rows}


def test_the_table_holds_references_rows_and_blends_in_this_order(written: Path) -> None:
    text = written.read_text()
    assert text.startswith("# Results\n\nBefore.\n\n<!-- begin other -->\nkept\n<!-- end other -->")
    assert list(cells(text)) == [
        "prior", "moa_logistic", "moa_simple_nn mine", "blend, equal", "blend, convex", "blend, optuna"
    ]  # fmt: skip
    assert "python experiments/tables/table.py moa_logistic 'moa_simple_nn" in text
    assert "mean of 2 folds" in text


def test_a_rows_score_is_that_of_all_its_out_of_fold_predictions(written: Path, tmp_path: Path) -> None:
    """Judged by the blend's own reader, which joins the folds by row id."""
    bank = written.parent / "runs" / "moa_simple_nn" / "mine"
    arguments = ["search", str(bank), "--method", "single", "--out", str(tmp_path), "--figures", "false"]
    assert blend(arguments) == 0
    score = json.loads((tmp_path / "weights.json").read_text())["scores"]["in_sample"]
    assert cells(written.read_text())["moa_simple_nn mine"][0] == f"{score:.5f}"


def test_a_blend_in_the_table_is_the_nested_score_of_the_blend_command(written: Path, tmp_path: Path) -> None:
    banks = [str(path) for path in sorted((written.parent / "runs").glob("moa_*/*/seed*"))]
    arguments = ["search", *banks, "--method", "convex", "--out", str(tmp_path), "--figures", "false"]
    assert len(banks) == 2
    assert blend(arguments) == 0
    score = json.loads((tmp_path / "weights.json").read_text())["scores"]["nested"]
    assert cells(written.read_text())["blend, convex"][0] == f"{score:.5f}"


def test_a_second_time_nothing_is_trained_and_the_table_stays(
    written: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning.pytorch import Trainer

    def fit(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(Trainer, "fit", fit)
    before = written.read_text()
    table_main(
        [
            *ROWS, "--data_dir", str(files), "--out", str(files.parent / "runs"), "--fold", "all", "--flags", FLAGS,
            "--blend", "[equal, convex, optuna]", "--trials", "20", "--write", str(written), "--name", "tiny",
        ]
    )  # fmt: skip
    assert written.read_text() == before


def test_one_fold_without_blends(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table_main(
        [ROWS[0], "--data_dir", str(files), "--out", str(files.parent / "runs"), "--fold", "1", "--flags", FLAGS]
    )
    out = capsys.readouterr().out
    assert "fold 1." in out
    assert "Blends" not in out


def test_a_table_of_another_domain_has_its_groups_and_references(
    raw_files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"data_dir", "out", "epochs"}
    given = tiny.flags(raw_files, tmp_path, net=())
    pairs = [(given[i], given[i + 1]) for i in range(0, len(given), 2)]
    more = shlex.join(part for name, value in pairs if name[2:] not in own for part in (name, value))
    table_main(["leap_zeros", "--data_dir", str(raw_files), "--out", str(tmp_path), "--epochs", "1", "--flags", more])
    text = capsys.readouterr().out
    assert "| predictor | all | clipped | " in text
    assert "| all | clipped | estimable | t_clipped | " in text
    assert {"mean", "ridge", "leap_zeros"} <= set(cells(text))
    assert cells(text)["mean"][0] == cells(text)["leap_zeros"][0]  # zeros in scaled units are the training mean


def test_earlier_stages_are_trained_at_the_tables_size(files: Path, tmp_path: Path) -> None:
    summary = table_runs.train_entry(
        Entry.read("moa_meta_nn"),
        ["--data_dir", str(files), "--out", str(tmp_path), "--wandb", "disabled", "--train.progress", "false", *FLAGS.split()],
        fold=0,
        size="demo",
    )  # fmt: skip
    assert len(summary.records) == 1
    assert len(list(tmp_path.glob("moa_nonscored_nn/*/seed*/fold*/run.json"))) == 2
    config = yaml.safe_load(next(tmp_path.glob("moa_nonscored_nn/*/seed*/fold0/config.yaml")).read_text())
    assert config["model"]["hidden"] == [128, 128]
    assert config["epochs"] == 3
    config = yaml.safe_load((summary.banks / "config.yaml").read_text())
    assert Path(config["data"]["meta"]).parent.name == "moa_nonscored_nn"


def test_a_stage_that_gives_weights_is_trained_with_the_rows_own_flags(files: Path, tmp_path: Path) -> None:
    features = "[row_means, standard, 'pca:genes=3,cells=2', 'screen:keep=7']"
    summary = table_runs.train_entry(
        Entry.read(f'moa_two_heads_resnet --model.width 16 --data.features "{features}" --variant mine'),
        ["--data_dir", str(files), "--out", str(tmp_path), "--wandb", "disabled", "--train.progress", "false", *FLAGS.split()],
        fold=1,
        size="demo",
    )  # fmt: skip
    assert summary.label == "moa_two_heads_resnet mine"
    assert summary.banks == tmp_path / "moa_two_heads_resnet" / "mine" / "seed23" / "fold1"
    (before,) = tmp_path.glob("moa_two_heads_resnet_nonscored/*/seed*/fold*")
    assert before.name == "fold1"
    assert summary.records[0]["parent"].startswith(str(before))


def test_a_file_of_tables_makes_them_all_or_some(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        yaml.safe_dump(
            {
                "write": str(tmp_path / "results.md"),
                "common": {"experiments": ["moa_logistic"], "flags": FLAGS, "out": str(files.parent / "runs")},
                "tables": {
                    "of-drugs": {"data_dir": "$TINY_MOA"},
                    "of-rows": {"data_dir": "$TINY_MOA", "flags": f"{FLAGS} --data.cv row"},
                    "far-away": {"data_dir": "$NOT_SET_ANYWHERE/moa"},
                },
            }
        )
    )
    monkeypatch.setenv("TINY_MOA", str(files))
    results_main([str(plan), "--only", "[of-rows, far-away]"])
    text = (tmp_path / "results.md").read_text()
    assert "<!-- begin of-rows -->" in text
    assert "of-drugs" not in text
    assert f"python experiments/results.py {plan} --only [of-rows]" in text
    assert "table far-away is left out: the environment variable NOT_SET_ANYWHERE is not set" in capsys.readouterr().out


def test_data_are_prepared_once_by_a_module(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = shutil.make_archive(str(tmp_path / "moa"), "tar", files)
    table = {
        "experiments": ["moa_logistic"], "flags": FLAGS, "out": str(files.parent / "runs"),
        "data_dir": str(tmp_path / "unpacked"), "prepare": ["tarfile", "-e", "$ARCHIVE", str(tmp_path / "unpacked")],
    }  # fmt: skip
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump({"tables": {"real": table}}))
    monkeypatch.setenv("ARCHIVE", str(tmp_path / "nowhere.tar"))
    with pytest.raises(SystemExit):
        results_main([str(plan)])
    assert "table real: its data could not be prepared by python -m tarfile" in capsys.readouterr().err
    monkeypatch.setenv("ARCHIVE", archive)
    results_main([str(plan)])
    Path(archive).unlink()
    results_main([str(plan)])
    assert "`moa_logistic`" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("tables: {a: {experiment: [x]}}", "table a has the unknown key 'experiment'"),
        ("tables: {a: {}}", "table a names no experiments"),
        ("table: {}", "has no mapping 'tables'"),
        ("tables: {}\nmore: 1", "unknown key 'more'"),
        ("tables: [", "is not valid YAML"),
    ],
)
def test_mistakes_in_a_file_of_tables_are_named(content: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        read_plan(path)


def test_a_table_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("tables: {a: {experiments: [moa_logistic]}}")
    with pytest.raises(SystemExit):
        results_main([str(path), "--only", "[b]"])
    assert "there is no table 'b'" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[3] / "experiments" / "tables").glob("*.yaml")), ids=str)
def test_every_row_of_the_repositorys_tables_has_flags_that_its_experiment_takes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])  # rows name presets
    for values in read_plan(path).values():
        for text in values["experiments"]:
            entry = Entry.read(text)
            experiment = load_experiment(entry.name)
            words = demo_words(experiment, values.get("size", "demo"))
            parse(experiment, [*words, "--data_dir", "data", *shlex.split(values.get("flags", "")), *entry.flags])


def test_help_keeps_the_lines_of_its_example_and_fills_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        results_main(["--help"])
    printed = capsys.readouterr().out
    example = printed.partition("by name:\n\n")[2].partition("\n\n")[0]
    assert list(yaml.safe_load(example)["tables"]) == ["moa-demo-drug", "moa-demo-row", "moa-real"]
    assert "prepare is a module with its arguments" in " ".join(printed.split())
