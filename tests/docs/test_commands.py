"""Every command block of README and docs runs as it is written, on data sets of a few rows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from datamodules.gwi.generate.families import generate_maps
from datamodules.gwi.generate.produce import produce, shard_keys
from datamodules.gwi.simulator import Simulator
from datamodules.leap.demo import DemoSpec as LeapSpec
from datamodules.leap.demo import generate as write_leap
from datamodules.leap.demo import write_kaggle_files
from datamodules.leap.schema import TARGET_NAMES, zero_weight_mask
from experiments.__main__ import COMMANDS
from experiments.engine.cli import build_parser
from experiments.engine.declare import load_experiment
from experiments.launch import read
from tests.datamodules.kaggle_server import Kaggle, serve
from tests.datamodules.leap import hub_server
from tests.datamodules.leap.test_kaggle_download import small_tables
from tests.datamodules.mars.files import write_data_set
from tests.datamodules.moa.tiny import write_files as write_moa
from tests.docs.shell import ROOT, blocks, python, run_blocks
from tests.experiments.tiny import COLUMNS, write_raw

EXPERIMENTS = {path.stem for path in (ROOT / "experiments").glob("*.py") if "EXPERIMENT =" in path.read_text()}
QUIET = ("--accelerator", "cpu", "--devices", "1", "--train.progress", "false", "--train.figures", "false")
LEAP = ("--data.columns", str(COLUMNS), "--data.processes", "1", "--data.n_folds", "2", "--batch_size", "16")
LEAP_NET = ("--model.hidden", "4", "--model.layers", "1")
MOA = (
    "--data.features",
    '["rank_gauss", "pca:genes=4,cells=2", "one_hot"]',
    "--data.n_folds",
    "2",
    "--batch_size",
    "32",
)
# what makes a program small without changing what it does; the first pattern that its name fits counts
SMALLER: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"leap_\w+", (*QUIET, *LEAP, *LEAP_NET, "--epochs", "1", "--wandb", "disabled")),
    (r"moa_simple_nn", (*QUIET, *MOA, "--model.hidden", "[8, 8]", "--epochs", "2", "--wandb", "disabled")),
    (r"moa_logistic", (*QUIET, "--data.n_folds", "2", "--wandb", "disabled")),
    (r"mars_logistic", (*QUIET, "--data.m_bins", "32", "--data.t_bins", "32", "--data.processes", "1", "--wandb", "disabled")),
    (r"mars_timm", (*QUIET, "--data.m_bins", "32", "--data.t_bins", "32", "--data.processes", "1", "--model.backbone", "test_resnet",
                    "--model.tta_step", "8", "--epochs", "1", "--wandb", "disabled")),
    (r"moa_tabnet", (*QUIET, *MOA, "--epochs", "1", "--wandb", "disabled")),
    (r"gwi_refine", ("--max_iterations", "1", "--train.progress", "false")),
    (r"gwi_generate", ("--samples", "2")),
    (r"gwi_inversion", ("--data.maps_per_file", "4", "--model.dim", "16", "--model.blocks", "1", "--model.head_dim", "8",
                        "--epochs", "1", "--batch_size", "2", *QUIET, "--wandb", "disabled")),
    (r"gwi_\w+", ("--data.maps_per_file", "4", *QUIET, "--wandb", "disabled")),
    (r"datamodules.leap demo", ("--months", "4", "--steps_per_month", "4", "--columns", str(COLUMNS), "--train_steps", "3", "--test_rows", "40")),
    (r"datamodules.leap convert", ("--columns", str(COLUMNS), "--processes", "1")),
    (r"datamodules.gwi statistics", ("--samples", "4")),
)  # fmt: skip
MARS = ("--data.m_bins", "32", "--data.t_bins", "32", "--data.processes", "1", "--model.backbone", "test_resnet",
        "--model.pretrained", "false", "--model.tta_step", "8", "--epochs", "1", "--wandb", "disabled", "--variant", "default")  # fmt: skip


def call(words: list[str]) -> int:
    """Run one program of a document."""
    program, rest = words[0], words[1:]
    if program == "podium":
        return call(["python", *unfolded(rest)])
    if program == "pip":
        return known_requirements(rest)
    if program in ("torchrun", "srun"):  # several machines: the flags must be right
        at = next(i for i, word in enumerate(rest) if "leap_" in word)
        parser = build_parser(load_experiment(re.split(r"[./]", rest[at].removesuffix(".py"))[-1]))
        parser.parse_args(rest[at + 1 :])
        return 0
    if program != "python":
        return 0
    if "--launch" in rest or rest[0] == "experiments/search.py":
        return launched(rest)
    name = f"{rest[1]} {rest[2]}" if rest[0] == "-m" and "datamodules" in rest[1] else Path(rest[0]).stem
    if rest[:2] == ["-m", "blend"]:
        return python([*rest, *(("--trials", "20") if "--trials" in rest else ())])
    flags = next((flags for pattern, flags in SMALLER if re.fullmatch(pattern, name)), ())
    if name == "datamodules.leap convert" and rest[3].endswith(".csv"):
        flags = ()  # a table has no grid columns
    if name in EXPERIMENTS:
        flags += named(name, rest)
    return python([*rest, *flags])


def unfolded(words: list[str]) -> list[str]:
    """What ``podium WORDS`` is called in a checkout; tests/experiments/test_podium.py calls podium itself."""
    if words[0] == "train":
        return [f"experiments/{words[1]}.py", *words[2:]]
    if words[0] == "data":
        return ["-m", f"datamodules.{words[1]}", *words[2:]]
    if words[0] == "blend":
        return ["-m", *words]
    return ["-m", "experiments", *words] if words[0] in COMMANDS else [f"experiments/{words[0]}.py", *words[1:]]


def launched(words: list[str]) -> int:
    """Flags of what becomes jobs; tests/cluster runs such jobs on engines of its own."""
    name = Path(words[0]).stem
    if name in EXPERIMENTS:
        build_parser(load_experiment(name)).parse_args(words[1:])
    elif name == "launch":
        _, _, command = read(words[1:])
        assert command[0] == "python"
        assert command[1] == "-m" or (ROOT / command[1]).is_file()
        if command[1] == "-m" and command[2].startswith("datamodules."):
            return call(command)
    else:
        assert (ROOT / words[0]).is_file()
    return 0


def named(name: str, words: list[str]) -> tuple[str, ...]:
    """The run's name stays what it is at full size; a demo run takes its data from the folder of a few rows."""
    demo = () if "--data_dir" in words else ("--data_dir", DATA[name.split("_")[0]])
    if {"--variant", "--config"} & set(words):
        return demo
    other = any(
        word.startswith(("--data.", "--train.", "--model.")) for word in words
    )  # has a name of its own at full size
    return (*demo, "--variant", "other" if other else "demo" if demo else "default")


def known_requirements(words: list[str]) -> int:
    """Extras and groups that an install command names must exist."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    known = set(project["project"]["optional-dependencies"]) | set(project["dependency-groups"])
    asked = [part for word in words for part in re.findall(r"\[([\w,]+)\]", word)]
    asked += [words[i + 1] for i, word in enumerate(words) if word == "--group"]
    return int(not {extra for part in asked for extra in part.split(",")} <= known)


DATA = {"leap": "climsim_low_res", "moa": "lish-moa", "gwi": "maps", "mars": "gcms"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with this repository's programs."""
    shown = tmp_path / "experiments"
    shown.mkdir()
    for path in (ROOT / "experiments").iterdir():
        if path.name not in ("presets", "__pycache__"):
            (shown / path.name).symlink_to(path)
    for preset in (ROOT / "experiments" / "presets").glob("gwi_*/*.yaml"):
        variant = re.findall(r"^variant: (\w+)", preset.read_text(), flags=re.MULTILINE)
        target = shown / "presets" / preset.parent.name / preset.name
        target.parent.mkdir(parents=True, exist_ok=True)
        net = "epochs: 1\nbatch_size: 2\nmodel: {dim: 16, blocks: 1, head_dim: 8}\n"
        target.write_text("".join(f"variant: {name}\n" for name in variant) + net)
    (tmp_path / "blend").symlink_to(ROOT / "blend")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    monkeypatch.setenv("HEAD", "node0")
    yield tmp_path
    shutil.rmtree(tmp_path)


def leap_files(folder: Path) -> None:
    write_raw(folder / "climsim_low_res")


def moa_files(folder: Path) -> None:
    (folder / "lish-moa").symlink_to(write_moa(folder / "moa"))


def gwi_files(folder: Path) -> None:
    keys = [key for family in ("FlatVel_A", "Style_B") for key in shard_keys(family, 0, 4, 2, gathers="compact")]
    produce(folder / "maps", keys, progress=False)
    (folder / "test").mkdir()
    with torch.no_grad():
        gathers = Simulator()(torch.from_numpy(generate_maps("FlatVel_A", 1, range(2)))).numpy()
    for oid, one in zip(("00a", "00b"), gathers, strict=True):
        np.save(folder / "test" / f"{oid}.npy", one)


def real_maps(folder: Path) -> None:
    """Maps of real files' names."""
    for name in ("real", "real_maps"):
        for family in ("FlatVel_A", "CurveVel_A"):
            (folder / name / family).mkdir(parents=True)
            for number in (1, 11):
                maps = generate_maps(family, number, range(4))[:, None].astype(np.float32)
                np.save(folder / name / family / f"vmodel{number}.npy", maps)


def test_readme_and_kaggle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From nothing to a submission, which a stand-in for Kaggle then gets as docs/kaggle.md says."""
    leap_files(folder)
    called = run_blocks(blocks(ROOT / "README.md"), folder, call)
    assert ["pip", "install", "-e", ".[test]"] in called
    assert ["pytest", "-n", "auto", "--dist", "loadfile"] in called
    submission = pd.read_csv(folder / "submission.csv", float_precision="round_trip")
    (solution,) = folder.glob("runs/cache/demo/*/kaggle/solution.csv")
    assert list(submission) == ["sample_id", *TARGET_NAMES]
    assert (submission["sample_id"] == pd.read_csv(solution)["sample_id"]).all()
    values = submission[list(TARGET_NAMES)].to_numpy()
    assert np.isfinite(values).all()
    assert (values[:, zero_weight_mask()] == 0).all()
    assert "certificate" in (folder / "blends/first/report.md").read_text()
    for name in ("sample_submission.csv", "test.csv"):
        shutil.copy(solution.with_name(name), folder / name)
    written = [block.replace("/default/", "/demo/") for block in blocks(ROOT / "docs/kaggle.md")]  # README's runs
    with serve(Kaggle(competitions=("leap-atmospheric-physics-ai-climsim",), looks=0), monkeypatch) as kaggle:
        run_blocks(written, folder, call)
    assert [one["submissionDescription"] for one in kaggle.submitted] == ["three nets", "submission.csv"]


def test_distributed(folder: Path) -> None:
    leap_files(folder)
    moa_files(folder)
    other = "python experiments/moa_tabnet.py --data_dir lish-moa --fold all"  # the blend's second net
    called = run_blocks([other, *blocks(ROOT / "docs/distributed.md")], folder, call)
    assert sum(words[0] == "torchrun" for words in called) == 2
    assert (folder / "runs/moa_simple_nn/default").is_dir()


def test_export(folder: Path) -> None:
    leap_files(folder)
    setup = ["python experiments/leap_bilstm_tcn.py --data_dir climsim_low_res"]
    run_blocks([*setup, *blocks(ROOT / "docs/export.md")], folder, call)
    assert (folder / "emulator.pt2").stat().st_size > 10_000


def ten_models(folder: Path) -> None:
    """Strangers' predictions: ten models, labels, a sample submission."""
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, 120)
    ids = pd.Series([f"p{i}" for i in range(120)], name="id")
    for place, rows in (("oof", slice(0, 80)), ("test", slice(80, 120))):
        (folder / place).mkdir()
        for k in range(10):
            probability = 1 / (1 + np.exp(-logit - rng.normal(0, 0.5 + 0.1 * k, 120)))
            table = pd.DataFrame({"id": ids, "target": probability})[rows]
            table.sample(frac=1, random_state=k).to_csv(folder / place / f"net{k}.csv", index=False)
    labels = (rng.random(120) < 1 / (1 + np.exp(-logit))).astype(int)
    pd.DataFrame({"id": ids, "age": 1, "target": labels})[:80].to_csv(folder / "train.csv", index=False)
    pd.DataFrame({"id": ids[:79:-1], "target": 0.5}).to_csv(folder / "sample_submission.csv", index=False)


def test_blending(folder: Path) -> None:
    leap_files(folder)
    moa_files(folder)
    ten_models(folder)
    kaggle = write_kaggle_files(
        folder / "climsim_low_res", folder / "kaggle", train_steps=3, test_rows=40, columns=COLUMNS
    )
    setup = ["for net in leap_bilstm_tcn leap_bilstm leap_bilstm_cnn leap_bigru; do",
             "  python experiments/$net.py",
             f"  python experiments/predict.py --run runs/$net/demo/seed1325/fold0 --input {kaggle}/test.csv",
             "done"]  # fmt: skip
    # a server that no test has; tests/cluster/test_studies.py runs these flags against PostgreSQL
    written = [block for block in blocks(ROOT / "docs/blending.md") if "postgresql://" not in block]
    run_blocks(["\n".join(setup), *written], folder, call)
    assert len(pd.read_csv(folder / "submission.csv")) == 40
    ten, sample = pd.read_csv(folder / "ten.csv"), pd.read_csv(folder / "sample_submission.csv")
    assert list(ten.columns) == ["id", "target"]
    assert list(ten["id"]) == list(sample["id"])


def test_blending_alone_asks_for_what_the_whole_asks_for() -> None:
    """One bound for each library: packaging/blend, the group ``blend`` and the project."""
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text())
    alone = tomllib.loads((ROOT / "packaging/blend/pyproject.toml").read_text())["project"]["dependencies"]
    assert sorted(alone) == sorted(whole["dependency-groups"]["blend"])
    assert set(alone) <= set(whole["project"]["dependencies"])


def test_blending_alone_holds_every_module_that_it_imports(tmp_path: Path) -> None:
    """The files of packaging/blend, in a folder that Python looks into first."""
    whole = tomllib.loads((ROOT / "packaging/blend/pyproject.toml").read_text())
    for source, target in whole["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"].items():
        (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
        path = ROOT / "packaging/blend" / source
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / target)
    modules = [
        f"blend.{'.'.join(path.relative_to(ROOT / 'blend').with_suffix('').parts)}"
        for path in (ROOT / "blend").rglob("*.py")
    ]
    modules += ["datamodules.kaggle", "datamodules.banks.check", "datamodules.verify"]
    code = "import importlib, sys; [importlib.import_module(name.removesuffix('.__init__')) for name in sys.argv[1:]]"
    done = subprocess.run(
        [sys.executable, "-c", code, *modules], capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_datasets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the block of the Mars lists, which trains dozens of nets; ``test_mars_lists`` has a list of one."""
    spec = LeapSpec(first_month="0001-02", months=89, steps_per_month=1, columns=COLUMNS)
    write_leap(folder / "raw", spec, progress=False)
    files = {f"train/{path.parent.name}/{path.name}": path.read_bytes() for path in (folder / "raw").rglob("*.nc")}
    kaggle = write_kaggle_files(folder / "raw", folder / "kaggle", train_steps=3, test_rows=40, columns=COLUMNS)
    real_maps(folder)
    preset = Path("experiments/presets/leap_bilstm_cnn")
    shutil.copytree(ROOT / preset, folder / preset)
    with hub_server.serve(hub_server.Hub(files)) as hub, serve(Kaggle(tables=small_tables()), monkeypatch):
        monkeypatch.setenv("no_proxy", "127.0.0.1")  # the hub is asked directly
        monkeypatch.setenv("HF_ENDPOINT", hub.url)  # for children; the library read it when another test imported it
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)

        def with_tables(words: list[str]) -> int:
            status = call(words)
            if "--kaggle" in words and "download" in words:  # the stand-in's tables hold one line
                for table in kaggle.glob("*.csv"):
                    shutil.copy(table, folder / "climsim/kaggle" / table.name)
            return status

        written = [block for block in blocks(ROOT / "docs/datasets.md") if "mars_lists" not in block]
        run_blocks(written, folder, with_tables)
    assert len(list((folder / "stores").glob("*/"))) == 2
    assert (folder / "maps_only").is_dir()


def test_mars_lists(folder: Path) -> None:
    """A list of one small net stands in for the eleven; tests/experiments/test_mars.py runs the small list and its recipe."""
    write_data_set(folder / "gcms", train=40)

    def one_net(words: list[str]) -> int:
        if "mars_lists" not in words[1]:
            return call(words)
        at = words.index("--predict")
        train = [*words[3:at], *words[at + 2 :], *QUIET, *MARS]
        return python(["experiments/mars_timm.py", *train]) or python(
            ["experiments/predict.py", "--run", "runs/mars_timm/default/seed0/fold0", "--input", words[at + 1]]
        )

    (block,) = (block for block in blocks(ROOT / "docs/datasets.md") if "mars_lists.py 11" in block)
    run_blocks([line for line in block.splitlines() if "--recipe" not in line], folder, one_net)
    assert len(pd.read_csv(folder / "submission.csv")) > 0


def test_home_and_leap_tutorial(folder: Path) -> None:
    """Both train the same net, so that the second goes on from the runs of the first."""
    leap_files(folder)
    written = [*blocks(ROOT / "docs/index.md"), *blocks(ROOT / "docs/tutorials/leap.md")]
    called = run_blocks(written, folder, call)
    assert ["podium", "train", "leap_bilstm_tcn"] in called
    assert "leap_bilstm_tcn" in (folder / "board" / "index.html").read_text()
    assert (folder / "emulator.pt2").is_file()


def test_moa_tutorial_and_own_data(folder: Path) -> None:
    moa_files(folder)
    leap_files(folder)
    run_blocks([*blocks(ROOT / "docs/tutorials/moa.md"), *blocks(ROOT / "docs/howto/own-data.md")], folder, call)
    assert (folder / "blends/moa/comparison.png").is_file()
    assert len(pd.read_csv(folder / "submission.csv")) > 0


def test_mars_and_gwi_tutorials(folder: Path) -> None:
    write_data_set(folder / "gcms", train=40)
    gwi_files(folder)
    shutil.copytree(ROOT / "experiments/presets/mars_timm", folder / "experiments/presets/mars_timm")
    run_blocks([*blocks(ROOT / "docs/tutorials/mars.md"), *blocks(ROOT / "docs/tutorials/gwi.md")], folder, call)
    assert (folder / "blends/mars").is_dir()


def test_own_metric_and_foreign_predictions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages' Python blocks are files by the names in their first lines."""
    leap_files(folder)
    monkeypatch.syspath_prepend(folder)
    pages = [ROOT / "docs/howto" / f"{name}.md" for name in ("own-metric", "foreign-predictions")]
    for page in pages:
        for name, source in re.findall(
            r"^```python\n# (\w+\.py)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
        ):
            (folder / name).write_text(source)
    run_blocks([block for page in pages for block in blocks(page)], folder, call)
    assert (folder / "blends/tenth/weights.json").is_file()
    assert list(pd.read_csv(folder / "blended.csv"))[1:] == ["a", "b"]


def test_install(folder: Path) -> None:
    called = run_blocks(blocks(ROOT / "docs/install.md"), folder, lambda words: known_requirements(words[1:]))
    assert ["uv", "sync", "--extra", "test"] in called


@pytest.mark.parametrize(
    "document", sorted(str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md"))
)
def test_no_command_hides_in_an_unlabelled_block(document: str) -> None:
    """A block without a language is not run here, so it must hold no command."""
    for block in re.findall(r"^```\n(.*?)^```", (ROOT / "docs" / document).read_text(), flags=re.DOTALL | re.MULTILINE):
        assert not re.search(r"^(python|pip|torchrun) ", block, flags=re.MULTILINE), block


def test_ci_calls_the_install_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert re.search(r'pip install .*-e "\.\[test', script)
