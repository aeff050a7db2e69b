"""The command line, in process."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from blend.__main__ import main
from blend.metrics.registry import KNOWN
from datamodules.banks.bank import PredictionBank
from tests.blend.banks import random_case, write_runs, write_test_predictions
from tests.datamodules.kaggle_server import Kaggle, serve


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    runs = write_runs(tmp_path_factory.mktemp("runs"), models=3, rows=40, target_groups={"t": [0, 3], "q": [3, 4]})
    write_test_predictions(runs)
    return runs


def test_from_banks_to_a_submission(runs, tmp_path, capsys):
    out = tmp_path / "blend"
    assert main(["search", *runs.banks, "--method", "optuna", "--trials", "6", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    for word in (
        "in-sample",
        "nested",
        "best single",
        "equal",
        "95 %",
        "error correlations",
        "adds",
        "6 trials",
        " s in all",
    ):
        assert word in printed
    for name in (
        "weights.json",
        "report.md",
        "study.journal",
        "weights.png",
        "path.png",
        "correlations.png",
        "gains.png",
    ):
        assert (out / name).is_file()
    report = (out / "report.md").read_text()
    assert "![weights](weights.png)" in report
    stored = json.loads((out / "weights.json").read_text())
    assert len(stored["inputs"]) == 3
    assert all(len(model["banks"]) == 5 for model in stored["inputs"])
    assert stored["scores"]["nested"] <= stored["scores"]["in_sample"]
    assert main(["apply", str(out), "--submission", str(tmp_path / "s.csv")]) == 0
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 13
    assert main(["show", str(out)]) == 0
    assert main(["show", str(out / "study.journal")]) == 0
    assert main(["show", *runs.banks]) == 0
    assert main(["show"]) == 0
    printed = capsys.readouterr().out
    assert "exact arithmetic" in printed
    assert "per_target" in printed


@pytest.mark.parametrize("method", ["grow", "nnls", "per_target", "per_group"])
def test_every_method_runs_from_the_command_line(runs, tmp_path, method, capsys):
    assert (
        main(["search", f"{runs.root}/model*", "--method", method, "--figures", "false", "--out", str(tmp_path / "o")])
        == 0
    )
    assert (tmp_path / "o/weights.json").is_file()
    gap = "certificate" in capsys.readouterr().out
    assert gap == (method in ("convex", "nnls", "per_group"))


def test_a_recipe_with_post_processing(runs, tmp_path, capsys):
    recipe = {
        "members": [{"weight": 0.6, "bank": runs.banks[0]}, {"weight": 0.4, "bank": runs.banks[1]}],
        "steps": [{"clip": [-1, 5]}],
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    assert (
        main(["search", "--recipe", str(tmp_path / "r.yaml"), "--figures", "false", "--out", str(tmp_path / "o")]) == 0
    )
    assert json.loads((tmp_path / "o/weights.json").read_text())["post_processing"] == [{"clip": [-1, 5]}]
    main(["apply", str(tmp_path / "o"), "--predictions", "oof"])
    assert np.load(tmp_path / "o/oof/predictions.npy").max() <= 5
    assert main(["search", runs.banks[0], "--recipe", str(tmp_path / "r.yaml")]) == 2
    assert "not both" in capsys.readouterr().err


def test_compare_recommends_a_good_method(runs, tmp_path, capsys):
    assert main(["compare", *runs.banks, "--trials", "5", "--out", str(tmp_path / "c")]) == 0
    content = json.loads((tmp_path / "c/compare.json").read_text())
    assert {
        "single",
        "equal",
        "grow",
        "remove",
        "greedy",
        "convex",
        "nnls",
        "shrunk",
        "bagged",
        "stacker",
        "committee",
        "per_group",
        "per_target",
    } == set(content["methods"])
    best = max(content["methods"].values(), key=lambda m: m["nested"])["nested"]
    chosen = content["methods"][content["recommended"]]
    assert best - chosen["nested"] <= chosen["to_the_best"]["error"] + 1e-12
    assert "Recommended" in (tmp_path / "c/report.md").read_text()
    assert (tmp_path / "c/comparison.png").is_file()


def test_compare_leaves_out_what_cannot_work(runs, tmp_path, capsys):
    """Ranks need all predictions in memory; with next to none, the methods that need them are left out by name."""
    flags = ["--memory", "1e-7", "--kind", "rank", "--figures", "false", "--out", str(tmp_path / "c")]
    assert main(["compare", *runs.banks, *flags, "--trials", "3"]) == 0
    printed = capsys.readouterr().out
    assert "greedy: left out, ranks and metrics of whole columns need all predictions in memory" in printed
    assert main(["compare", *runs.banks, *flags, "--methods", "[greedy]"]) == 1


def test_without_nested_scores(runs, tmp_path, capsys):
    """Nothing speaks of nested folds but the table's column and that it was not asked for."""
    out = tmp_path / "blend"
    assert main(["search", *runs.banks, "--nested", "false", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "not asked for" in printed
    assert main(["show", str(out)]) == 0
    for text in (printed, capsys.readouterr().out, (out / "report.md").read_text()):
        told = [
            line
            for line in text.splitlines()
            if re.search(r"\bnested\b(?!_)", line.replace(str(tmp_path), ""))
            and not line.startswith(("| ", "warning", "> **Warning"))
        ]
        assert not told
    assert "in-sample score, its weight spread over the others" in printed


def closeness(truth, predictions):
    return -float(np.abs(truth - predictions).max())


def test_a_metric_given_as_a_function(runs, tmp_path, capsys):
    flags = ["--metric", f"{__name__}:closeness", "--direction", "maximize", "--method", "greedy", "--steps", "4"]
    assert main(["search", *runs.banks, *flags, "--out", str(tmp_path / "o")]) == 0
    assert main(["search", *runs.banks, *flags[:4], "--method", "convex", "--out", str(tmp_path / "o")]) == 1
    assert "method convex needs a metric that is convex" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["search", "nowhere"], 1, "error: nowhere: there is no such run"),
        (["search"], 2, "there is nothing to blend"),
        (["apply", "nowhere"], 1, "does not exist"),
        (["search", "{bank}", "--method", "greedi"], 2, "there is no method 'greedi'; did you mean greedy?"),
        (["search", "{bank}", "--trials", "0"], 2, "--trials must be at least 1"),
        (["search", "{bank}", "--metric", "math:dist"], 2, "needs its direction"),
        (
            ["search", "{bank}", "--metric", f"{__name__}:broken", "--direction", "maximize", "--method", "greedy"],
            1,
            "test_main.py, line",
        ),
    ],
)
def test_mistakes_end_in_one_sentence(runs, arguments, status, message, capsys):
    assert main([a.replace("{bank}", runs.banks[0]) for a in arguments]) == status
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def broken(truth, predictions):
    return truth[len(truth)]


def test_a_bug_keeps_its_traceback(runs, monkeypatch):
    def bug(*_):
        raise ValueError("not a refusal")

    monkeypatch.setattr("blend.commands.search.search", bug)
    with pytest.raises(ValueError, match="not a refusal"):
        main(["search", *runs.banks])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("search a --trails 3", "there is no flag --trails; did you mean --trials?"),
        ("compare a --methd greedy", "there is no flag --methd; did you mean --method"),
        ("apply a --templat b", "there is no flag --templat; did you mean --template?"),
        ("serch a", "there is no command serch; did you mean search?"),
        ("search a --trials many", "--trials: Expected a int. Got value: many"),
        ("search a --rows some", "--rows: Expected one of 'equal', 'intersect'. Got value: some"),
        ("apply", "the following arguments are required: weights"),
    ],
)
def test_wrong_command_lines_are_one_sentence(words, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.endswith("--help lists all)\n")
    assert error.count("\n") == 1


def test_help_keeps_the_lines_of_its_examples(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert any(line.startswith("python -m blend apply blends/first --template") for line in lines)
    assert any(
        line.startswith("apply") and line.endswith("blend new predictions with fitted weights") for line in lines
    )


def test_show_metrics_lists_every_metric(capsys):
    assert main(["show", "metrics"]) == 0
    printed = capsys.readouterr().out
    for name in (*KNOWN, "map@3", "pinball@0.9"):
        assert f"| {name} " in printed
    assert "| rmse                | lower  | numbers             | yes " in printed


@pytest.mark.parametrize("methods", [["--methods", "equal,single"], ["--methods=[equal, single]"]])
def test_a_list_needs_no_brackets(runs, tmp_path, capsys, methods):
    flags = ["--metric", runs.metric, "--figures", "false", "--out", str(tmp_path)]
    assert main(["compare", *runs.banks, *flags, *methods]) == 0
    printed = capsys.readouterr().out
    assert [line.split(":")[0] for line in printed.splitlines() if ": fitted in" in line] == ["equal", "single"]


def test_flags_come_from_a_file(runs, tmp_path):
    (tmp_path / "flags.yaml").write_text("method: greedy\nsteps: 3\n")
    main(
        [
            "search",
            *runs.banks,
            "--config",
            str(tmp_path / "flags.yaml"),
            "--figures",
            "false",
            "--out",
            str(tmp_path / "o"),
        ]
    )
    stored = json.loads((tmp_path / "o/weights.json").read_text())
    assert stored["weights"]["method"] == "greedy"
    assert len(stored["weights"]["path"]) == 3


def test_offline_tracking_needs_no_key(runs, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    main(
        [
            "search",
            *runs.banks,
            "--method",
            "optuna",
            "--trials",
            "4",
            "--out",
            str(tmp_path / "o"),
            "--wandb",
            "offline",
        ]
    )
    assert list((tmp_path / "o").glob("wandb/offline-run-*/*.wandb"))


def test_help_is_quick_and_the_package_needs_no_torch():
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run([sys.executable, "-m", "blend", "search", "--help"], check=True, capture_output=True)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1.0  # processor seconds
    code = (
        "import sys, pkgutil, importlib, blend\n"
        "for m in pkgutil.walk_packages(blend.__path__, 'blend.'):\n"
        "    if not m.name.endswith('__main__'): importlib.import_module(m.name)\n"
        "assert 'torch' not in sys.modules and 'wandb' not in sys.modules and 'matplotlib' not in sys.modules\n"
        "import blend.__main__\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    light = "import sys, blend.__main__; assert not {'numpy', 'pandas', 'optuna', 'scipy', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", light], check=True)


CALLS = {"metric": 0}


def slow(truth, predictions):
    CALLS["metric"] += 1
    return float(np.abs(truth - predictions).mean())


def test_nothing_evaluates_a_function_more_often_than_the_search(tmp_path, capsys, monkeypatch):
    """Greedy over twelve models: the report's own evaluations are the fewer."""
    truth, predictions = random_case("mae", 12, 60, (1,))
    runs = write_runs(tmp_path, "mae", truth=truth, predictions=predictions)
    flags = ["--metric", f"{__name__}:slow", "--direction", "minimize", "--method", "greedy", "--figures", "false"]
    monkeypatch.setattr("blend.commands.session._LONG", 0.0)
    CALLS["metric"] = 0
    assert main(["search", *runs.banks, *flags, "--out", str(tmp_path / "o")]) == 0
    search = 6 * 100 * 12  # a hundred steps over twelve models, on all rows and without each fold
    assert search <= CALLS["metric"] < 1.1 * search
    printed = capsys.readouterr().out
    assert "this will take about" in printed
    told = [line for line in printed.splitlines() if line.startswith("| model") and line.rstrip(" |")[-1] != "-"]
    assert sum(line.rstrip().rstrip("|").strip().endswith(tuple("0123456789")) for line in told) >= 10


def test_a_search_under_a_minute_is_not_announced(runs, tmp_path, capsys):
    assert main(["search", *runs.banks, "--metric", "spearman", "--method", "greedy", "--figures", "false",
                 "--out", str(tmp_path / "o")]) == 0  # fmt: skip
    assert "this will take" not in capsys.readouterr().out


def test_a_blend_is_sent_to_kaggle(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["search", *runs.banks, "--figures", "false", "--out", "o"]) == 0
    bank = PredictionBank(runs.root / "model0/default/seed0/fold0/predictions/test")
    sample = pd.DataFrame({"id": sorted(bank.index["row_id"])} | dict.fromkeys(bank.manifest.targets, 0.5))
    sample.to_csv("sample.csv", index=False)
    send = ["apply", "o", "--submit", "lish-moa", "--message", "convex"]
    with serve(Kaggle(looks=0), monkeypatch) as kaggle:
        assert main([*send, "--template", "sample.csv"]) == 0
        assert capsys.readouterr().out.rstrip().endswith("public score 0.01599")
        assert kaggle.files == [(tmp_path / "submission.csv").read_bytes()]
        assert kaggle.submitted[0]["submissionDescription"] == "convex"
        (tmp_path / "submission.csv").unlink()
        assert main([*send, "--wait", "-3"]) == 2
        assert main(send) == 2  # without a sample submission
        assert main([*send[:3], "lish-mao", "--template", "sample.csv"]) == 1  # before anything is blended
        assert "did you mean lish-moa?" in capsys.readouterr().err
    assert not (tmp_path / "submission.csv").exists()
