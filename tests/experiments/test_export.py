from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import datamodules
from datamodules.errors import DataError
from datamodules.leap.convert import open_source
from datamodules.leap.schema import (
    N_TARGETS,
    PROFILES,
    PTEND_TRICK_LEVELS,
    PTEND_TRICK_TARGETS,
    TARGET_NAMES,
    zero_weight_mask,
)
from experiments.domains.leap import export as leap_export
from experiments.engine.cli import parse
from experiments.engine.declare import Domain, load_experiment
from experiments.engine.export import METADATA_NAME, write
from experiments.engine.inference import load_task
from experiments.engine.training import train
from experiments.export import Request, export, main
from lit_modules.leap.task import LeapTask
from tests.experiments.tiny import COLUMNS, flags

FORMATS = ("torch_export", "torchscript")
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.load.* is deprecated:FutureWarning")
ROOT = Path(datamodules.__file__).parents[1]


def run(name: str, raw: Path, out: Path, *more: str) -> Path:
    return train(parse(load_experiment(name), flags(raw, out, "--epochs", "1", *more))).path


@pytest.fixture(scope="module")
def tcn(raw_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    extras = ("--model.relative_humidity", "true", "--model.vertical_difference", "true", "--model.clamp_water", "true")
    return run("leap_bilstm_tcn", raw_files, tmp_path_factory.mktemp("tcn"), *extras)


@pytest.fixture(scope="module")
def transformer(raw_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run("leap_bilstm_transformer", raw_files, tmp_path_factory.mktemp("trf"), "--model.feedforward", "8")


@pytest.fixture(scope="module")
def rows(raw_files: Path) -> dict[str, Tensor]:
    """All 128 rows of the raw files."""
    source = open_source(raw_files, columns=COLUMNS)
    blocks = [
        {name: np.array(block[name]) for name in ("profiles", "scalars", "row_id")}
        for unit in source.units()
        for block in source.read(unit)
    ]
    return {name: torch.from_numpy(np.concatenate([block[name] for block in blocks])) for name in blocks[0]}


@pytest.fixture(scope="module")
def exported(tcn: Path, transformer: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Path of a net's file in a format, written once."""
    folder = tmp_path_factory.mktemp("exported")
    runs = {"tcn": tcn, "transformer": transformer}

    def path(name: str, file_format: str) -> Path:
        output = folder / f"{name}-{file_format}.pt2"
        if not output.exists():
            main(["--run", str(runs[name]), "--output", str(output), "--format", file_format])
        return output

    return path


def open_file(path: Path, file_format: str) -> tuple[Callable[[Tensor, Tensor], Tensor], dict]:
    extra = {METADATA_NAME: ""}
    if file_format == "torch_export":
        module = torch.export.load(path, extra_files=extra).module()
    else:
        module = torch.jit.load(path, _extra_files=extra)
    return module, json.loads(extra[METADATA_NAME])


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("name", ["tcn", "transformer"])
def test_the_file_gives_what_prediction_gives(
    name: str,
    file_format: str,
    exported: Callable[[str, str], Path],
    rows: dict[str, Tensor],
    request: pytest.FixtureRequest,
) -> None:
    module, _ = open_file(exported(name, file_format), file_format)
    task = load_task(request.getfixturevalue(name)).task
    for batch in (1, 2, 7, 128):
        part = {key: value[:batch] for key, value in rows.items()}
        with torch.no_grad():
            predicted = task.predict_step(part)["predictions"]
            out = module(part["profiles"], part["scalars"])
        assert out.shape == (batch, N_TARGETS)
        assert out.dtype == torch.float64
        # a bank holds float32 numbers in units of the targets' std: to that precision both are the same, bit for bit
        assert torch.equal((out / task.bank_scale).float(), predicted)
        # with gradients on, torch takes other kernels for recurrent layers
        again = module(part["profiles"], part["scalars"])
        assert not again.requires_grad
        torch.testing.assert_close(again / task.bank_scale, out / task.bank_scale, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("file_format", FORMATS)
def test_post_processing_is_inside_and_exact_in_float64(
    exported: Callable[[str, str], Path], file_format: str, rows: dict[str, Tensor]
) -> None:
    module, metadata = open_file(exported("tcn", file_format), file_format)
    with torch.no_grad():
        out = module(rows["profiles"], rows["scalars"])
    liquid = rows["profiles"][:, PROFILES.index("state_q0002")]
    assert torch.equal(out[:, PTEND_TRICK_TARGETS], -liquid[:, list(PTEND_TRICK_LEVELS)] / 1200)
    assert (out[:, zero_weight_mask()] == 0).all()
    for variable, first in (("state_q0001", 60), ("state_q0003", 180)):
        after = rows["profiles"][:, PROFILES.index(variable)] + 1200 * out[:, first : first + 60]
        assert after.min() > -1e-18
    assert metadata["post_processing"]["no_negative_water"] is True


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_program_without_this_project_can_use_the_file(
    exported: Callable[[str, str], Path], tcn: Path, file_format: str, rows: dict[str, Tensor], tmp_path: Path
) -> None:
    shutil.copy(exported("tcn", file_format), tmp_path / "renamed.pt2")
    torch.save({name: rows[name][:5] for name in ("profiles", "scalars")}, tmp_path / "rows.pt")
    script = tmp_path / "coupler.py"
    script.write_text(
        """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("experiments", "datamodules", "lit_modules", "blend", "lightning", "torchmetrics"):
            raise ImportError("not here: " + name)
sys.meta_path.insert(0, Refuse())
import json, torch
extra = {"podium.json": ""}
rows = torch.load("rows.pt")
if sys.argv[1] == "torch_export":
    net = torch.export.load("renamed.pt2", extra_files=extra).module()
else:
    net = torch.jit.load("renamed.pt2", _extra_files=extra)
with torch.no_grad():
    torch.save(net(rows["profiles"], rows["scalars"]), "out.pt")
print(json.loads(extra["podium.json"])["step_seconds"])
"""
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, str(script), file_format], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "1200"
    task = load_task(tcn).task
    with torch.no_grad():
        predicted = task.predict_step({name: value[:5] for name, value in rows.items()})["predictions"]
    assert torch.equal((torch.load(tmp_path / "out.pt") / task.bank_scale).float(), predicted)


def test_the_metadata_say_what_a_coupler_must_know(exported: Callable[[str, str], Path]) -> None:
    file = exported("tcn", "torch_export")
    _, metadata = open_file(file, "torch_export")
    profiles, scalars = metadata["inputs"]
    assert [profiles["shape"], scalars["shape"]] == [["batch", 9, 60], ["batch", 16]]
    assert profiles["variables"][0] == {"name": "state_t", "unit": "K"}
    assert {"name": "state_ps", "unit": "Pa"} in scalars["variables"]
    output = metadata["output"]
    assert sum(variable["levels"] for variable in output["variables"]) == N_TARGETS
    assert output["names"] == list(TARGET_NAMES)
    assert {variable["unit"] for variable in output["variables"]} == {"K/s", "kg/kg/s", "m/s2", "W/m2", "m/s"}
    levels = metadata["levels"]
    pressure = np.array(levels["hyam"]) * levels["reference_pressure"] + np.array(levels["hybm"]) * 1e5
    assert pressure[0] < 10
    assert 99_000 < pressure[-1] < 1e5
    checkpoint = metadata["checkpoint"]
    assert (checkpoint["experiment"], checkpoint["file"], len(checkpoint["sha256"])) == (
        "leap_bilstm_tcn",
        "best.ckpt",
        64,
    )
    assert metadata["written_by"]["torch"].startswith(torch.__version__.split("+")[0])
    content = file.read_bytes()
    assert str(ROOT).encode() not in content
    assert str(file.parent).encode() not in content


@pytest.mark.parametrize("wrong", ["dtype", "levels"])
def test_wrong_inputs_are_refused_by_the_file_itself(
    exported: Callable[[str, str], Path], wrong: str, rows: dict[str, Tensor]
) -> None:
    module, _ = open_file(exported("tcn", "torch_export"), "torch_export")
    profiles = rows["profiles"].float() if wrong == "dtype" else rows["profiles"][..., :59]
    with pytest.raises((RuntimeError, AssertionError)):
        module(profiles, rows["scalars"])


def test_last_checkpoint_and_checkpoint_file(tcn: Path, tmp_path: Path) -> None:
    last = tcn / "checkpoints" / "last.ckpt"
    export(Request(tcn, tmp_path / "new" / "a.pt", "torchscript", checkpoint="last"))
    export(Request(last, tmp_path / "b.pt", "torchscript"))
    first, second = (open_file(tmp_path / name, "torchscript")[1]["checkpoint"] for name in ("new/a.pt", "b.pt"))
    assert first == second
    assert first["file"] == "last.ckpt"
    assert first["sha256"] == hashlib.sha256(last.read_bytes()).hexdigest()


def test_a_run_without_checkpoint_ends_with_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fold0").mkdir()
    with pytest.raises(SystemExit, match="1"):
        main(["--run", str(tmp_path / "fold0"), "--output", str(tmp_path / "net.pt2")])
    assert capsys.readouterr().err == f"error: {tmp_path / 'fold0'} has no checkpoint yet; train it first\n"
    assert not (tmp_path / "net.pt2").exists()


def test_batch_attention_is_refused(raw_files: Path, tmp_path: Path) -> None:
    directory = run("leap_bilstm_attention", raw_files, tmp_path, "--model.attention_axis", "batch")
    with pytest.raises(DataError, match=r"depends on the rows beside it; train it with --model.attention_axis level"):
        export(Request(directory, tmp_path / "net.pt2"))


def test_an_unwritable_output_is_named(tcn: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder; give a file"):
        export(Request(tcn, tmp_path))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"file/net.pt2 cannot be written"):
        export(Request(tcn, tmp_path / "file" / "net.pt2", "torchscript"))


def test_a_failed_export_leaves_the_old_file_and_no_other(
    tcn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "net.pt2"
    output.write_text("older")

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match="disk is full"):
        export(Request(tcn, output, "torchscript"))
    assert output.read_text() == "older"
    assert list(tmp_path.iterdir()) == [output]


def test_a_file_that_answers_otherwise_is_never_written(tcn: Path, tmp_path: Path) -> None:
    task = load_task(tcn).task
    assert isinstance(task, LeapTask)
    deployable = leap_export.export(task)
    wrong = dataclasses.replace(deployable, expected=deployable.expected + 0.01 * deployable.scale)
    with pytest.raises(DataError, match=r"differs from prediction by 1\.0e-02"):
        write(wrong, tmp_path / "net.pt2", "torchscript", {})
    assert list(tmp_path.iterdir()) == []


def test_a_domain_without_export_says_so(tcn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = load_task(tcn)
    domain = Domain(**{**dataclasses.asdict(trained.experiment.domain), "name": "moa", "export": None})
    other = dataclasses.replace(trained, experiment=dataclasses.replace(trained.experiment, domain=domain))
    monkeypatch.setattr("experiments.engine.inference.load_task", lambda run, which: other)
    with pytest.raises(DataError, match="the domain 'moa' declares no export function"):
        export(Request(tcn, tmp_path / "net.pt2"))


def test_help_is_fast_and_imports_no_torch() -> None:
    start = time.perf_counter()
    code = "import sys; sys.argv = ['export.py', '--help']\ntry: import experiments.export as e; e.main()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "--format {torch_export,torchscript,aotinductor}" in result.stdout
    assert time.perf_counter() - start < 5  # a fifth of that on an idle machine
