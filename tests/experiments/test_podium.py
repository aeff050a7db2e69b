"""The console command, from a wheel and from any folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from experiments.__main__ import COMMANDS, names, scripts
from experiments.engine.cli import parse
from experiments.engine.declare import load_experiment
from tests.experiments.tiny import flags, write_raw

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, as pip installs it."""
    work = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    copy = work / "copy"  # a build leaves folders beside the sources
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.py", "*.yaml", "*.json", "*.npz", "*.typed", "*.toml", "*.md", "LICENSE", "NOTICE"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in files:
        if not name.startswith(("tests/", "docs/", "benchmarks/")) and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(work), str(copy)], check=True)
    (wheel,) = work.glob("podium-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(work / "site"), str(wheel)], check=True)
    return work / "site"


def podium(installed: Path, cwd: Path, *words: str, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*filter(None, [path]), str(installed)])}
    command = [sys.executable, str(installed / "bin" / "podium"), *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_a_wheel_needs_no_checkout(installed: Path, tmp_path: Path) -> None:
    """Presets, recipes and tables come with the package; another folder named ``experiments`` is not taken for it."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("raise RuntimeError('another package')")
    raw = write_raw(tmp_path / "raw")
    small = flags(raw, tmp_path / "runs", "--epochs", "1", net=("--model.hidden", "4", "--model.layers", "1"))
    done = podium(installed, tmp_path, "train", "leap_bilstm", *small, "--fold", "all", "--variant", "v")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "runs/leap_bilstm/v/seed1325/fold0/bank/manifest.json").is_file()  # by a process of its own
    done = podium(
        installed,
        tmp_path,
        "train",
        "moa_simple_nn",
        "--config",
        "experiments/presets/moa_simple_nn/row_folds.yaml",
        "--print_config",
    )
    assert "cv: row" in done.stdout, done.stderr
    done = podium(installed, tmp_path, "results", "experiments/tables/moa.yaml", "--only", "[none]")
    assert "there is no table 'none'" in done.stderr
    assert "moa-demo-drug" in done.stderr
    done = podium(installed, tmp_path, "blend", "search", "--recipe", "blend/recipes/moa_best_cv.yaml")
    assert done.returncode == 1
    assert "runs/moa_" in done.stderr, done.stderr  # its banks are missing, not the recipe


def test_another_package_of_the_same_name_is_one_sentence(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("raise RuntimeError('another package')")
    done = podium(installed, tmp_path, "list", path=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("error: podium's package 'experiments' lies in ")
    assert str(tmp_path / "experiments") in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_imports_no_torch(installed: Path, tmp_path: Path) -> None:
    code = "import sys, podium; sys.argv = ['podium', '--help']; podium.main(); assert 'torch' not in sys.modules; assert 'numpy' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(installed)}, capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in (*COMMANDS, *scripts()):
        assert f"\n  {name} " in done.stdout
    assert not {*scripts(), *COMMANDS} & set(names())


def test_every_word_of_the_command_line_is_podiums_own(installed: Path, tmp_path: Path) -> None:
    for words, shown in (
        (("train", "leap_bilstm", "--help"), "usage: podium train leap_bilstm "),
        (("predict", "--help"), "usage: podium predict "),
        (("data", "leap", "convert", "--help"), "usage: podium data leap "),
        (("blend", "search", "--help"), "usage: podium blend "),
        (("train", "--help"), "usage: podium train "),
        (("data", "--help"), "usage: podium data {gwi,leap,mars"),
    ):
        done = podium(installed, tmp_path, *words)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(shown), done.stdout[:200]
    assert "did you mean leap_bilstm" in podium(installed, tmp_path, "train", "leap_bilst").stderr
    assert podium(installed, tmp_path, "train").returncode == 2


def test_a_file_of_ones_own_is_trained_by_its_path(tmp_path: Path) -> None:
    own = tmp_path / "mynet.py"
    own.write_text(
        "from experiments.domains.leap.domain import column_net\nfrom lit_modules.leap.settings import BiGRU\n"
        'EXPERIMENT = column_net("mynet", BiGRU(layers=1), batch_size=64)\n'
    )
    assert parse(load_experiment("mynet", given=own), ["--data_dir", "raw"]).model.layers == 1


def test_the_lock_file_knows_every_dependency() -> None:
    """``uv sync`` installs from it; it names no registry but the public one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    (own,) = (package for package in lock if package["name"] == "podium")
    requires = own["metadata"]["requires-dist"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]

    def name(line: str) -> str:
        found = re.match(r"[\w.-]+", line)
        assert found
        return re.sub(r"[-_.]+", "-", found[0]).lower()

    assert {entry["name"] for entry in requires} == {name(line) for line in wanted}
    assert set(own["metadata"]["provides-extras"]) == set(project["optional-dependencies"])
    assert {package["source"].get("registry") for package in lock} == {"https://pypi.org/simple", None}
