"""The nets of "Crowdsourcing the Frontier" through the whole program, under the paper's configurations."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.banks.bank import PredictionBank
from datamodules.errors import DataError
from datamodules.leap.convert import RawSource, join_more
from datamodules.leap.schema import VARIABLE_SETS
from experiments.domains.leap.export import flatten
from experiments.engine.callbacks import LastCheckpoint
from experiments.engine.cli import parse
from experiments.engine.declare import load_experiment
from experiments.engine.inference import load_task
from experiments.engine.training import train
from experiments.export import main as export
from experiments.predict import main as predict
from experiments.results import read_plan
from lit_modules.base import without_memory
from lit_modules.leap.losses import learnable_target_mask
from lit_modules.leap.settings import LeapModel
from lit_modules.leap.task import LeapTask
from tests.experiments.tiny import COLUMNS, flags
from tests.lit_modules.nets.test_online_nets import SIZES

TINY = {
    "leap_unet": ("--model.width", "8", "--model.blocks", "1"),
    "leap_pure_reslstm": ("--model.hidden", "4", "--model.layers", "2"),
    "leap_pao": ("--model.hidden", "8", "--model.blocks", "1", "--model.layers", "1"),
    "leap_convnext": ("--model.depths", "[1,1]", "--model.widths", "[8,8]", "--model.kernels", "[4,2]"),
    "leap_encdec_lstm": ("--model.hidden", "4", "--model.layers", "1"),
}
OTHERS = {
    "leap_bilstm": ("--model.hidden", "4", "--model.layers", "1"),
    "leap_tcn_attention": ("--model.hidden", "4", "--model.layers", "1", "--model.heads", "2"),
    "leap_squeezeformer": ("--model.dim", "8", "--model.head", "16", "--model.blocks", "1"),
}
CONFIGURATIONS = {
    "standard": (),
    "confidence": ("--model.confidence", "true"),
    "difference": ("--model.difference_weight", "1"),
    "multi": ("--model.representation", "multi", "--model.confidence", "true", "--model.relative_humidity", "true"),
    "expanded": ("--data.variables", "v6", "--model.confidence", "true"),
}


@pytest.mark.parametrize(
    ("name", "configuration"),
    [(name, key) for name in TINY for key in CONFIGURATIONS]
    + [(name, key) for name in OTHERS for key in ("multi", "expanded")],
)
def test_every_net_runs_under_every_configuration(
    name: str, configuration: str, raw_files: Path, tmp_path: Path
) -> None:
    more = ("--epochs", "1", "--lr", "0.001", *CONFIGURATIONS[configuration])
    directory = train(parse(load_experiment(name), flags(raw_files, tmp_path, *more, net=(TINY | OTHERS)[name])))
    record = directory.record()
    assert record["status"] == "finished"
    bank = PredictionBank(directory.bank)
    assert np.isfinite(bank.in_judge_units(slice(None))).all()
    if "confidence" not in " ".join(CONFIGURATIONS[configuration]):
        return
    confidence = bank.extra("confidence")[:]
    learnable = learnable_target_mask().numpy()
    assert (confidence[:, learnable] > 0).any()
    assert (confidence[:, ~learnable] == 0).all()


PAPER = ("--data.variables", "v2_rh_mc", "--model.relative_humidity", "false")
SQUEEZEFORMER = (
    "--model.net_variant", "paper", "--model.aux_spacetime", "false", "--model.confidence", "false",
    "--model.representation", "standard",
)  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_declared_sizes_are_the_papers(name: str) -> None:
    """In its variables every net has the published number of parameters, in each configuration."""
    own = SQUEEZEFORMER if name == "squeezeformer" else ()
    experiment = load_experiment(f"leap_{name}")
    sizes = []
    for more in (
        (),
        ("--model.confidence", "true"),
        ("--model.representation", "multi"),
        ("--data.variables", "v6"),
    ):
        settings = parse(experiment, ["--data_dir", "somewhere", *PAPER, *own, *more])
        assert isinstance(settings.model, LeapModel)
        with without_memory():
            net = LeapTask.net_of(settings.model, settings.data)
        sizes.append(sum(p.numel() for p in net.parameters()))
    assert tuple(sizes) == SIZES[name]
    if name != "squeezeformer":
        assert (settings.daily.batch_size, settings.daily.lr, settings.daily.epochs) == (4096, 1e-4, 12)
        assert settings.optim.milestones == (3, 6, 9)


def test_the_tables_of_the_configurations_name_settings_that_exist() -> None:
    """Six architectures in each of the five configurations."""
    plan = read_plan(Path(__file__).parents[2] / "experiments" / "tables" / "leap_online.yaml")
    assert len(plan) == 5
    for table in plan.values():
        names = set()
        for entry in table["experiments"]:
            name, *words = shlex.split(f"{entry} {table.get('flags', '')}")
            settings = parse(load_experiment(name), [*words, "--epochs", str(table["epochs"])])
            assert settings.demo
            names.add(name)
        assert names - {"leap_ridge"} == {*TINY, "leap_squeezeformer"}


def test_expanded_inputs_resume_predict_and_export(
    raw_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One net on expanded files all the way: a run broken off goes on, files are predicted, exported files agree."""
    more = ("--epochs", "2", "--data.variables", "v4", "--model.hold", "true", "--train.checkpoint_every", "3")
    whole = train(parse(load_experiment("leap_pao"), flags(raw_files, tmp_path / "whole", *more, net=TINY["leap_pao"])))
    argv = flags(raw_files, tmp_path / "broken", *more, net=TINY["leap_pao"])
    save = LastCheckpoint.save

    def killed(self: LastCheckpoint, trainer: Any) -> None:
        save(self, trainer)
        if trainer.global_step == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(LastCheckpoint, "save", killed)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(parse(load_experiment("leap_pao"), argv))
    monkeypatch.undo()
    again = train(parse(load_experiment("leap_pao"), argv))
    banks = [PredictionBank(run.bank).in_judge_units(slice(None)) for run in (whole, again)]
    np.testing.assert_array_equal(*banks)

    files = raw_files.with_name(f"{raw_files.name}-expanded")
    file = max(files.rglob("*.ml2steploc.*.nc"))
    predict(["--run", str(whole.path), "--input", str(file)])
    predicted = PredictionBank(next((whole.path / "predictions").iterdir())).in_judge_units(slice(None))
    assert predicted.shape == (COLUMNS, 368)
    plain = max(raw_files.rglob("*.mli.*.nc"))
    with pytest.raises(SystemExit, match="1"):
        predict(["--run", str(whole.path), "--input", str(plain)])

    source = RawSource(files, COLUMNS, variables="v4")
    rows = [join_more(block) for block in source.read(source.units()[0])][-1]
    columns = {name: torch.from_numpy(rows[name].copy()) for name in ("profiles", "scalars")}
    variables = VARIABLE_SETS["v4"]
    task = load_task(whole.path).task
    scale = task.bank_scale
    for layout, inputs in (
        ("columns", (columns["profiles"], columns["scalars"])),
        ("flat", (flatten(**columns, variables=variables),)),
    ):
        target = tmp_path / f"{layout}.pt"
        export(["--run", str(whole.path), "--output", str(target), "--layout", layout, "--format", "torchscript"])
        answer = torch.jit.load(target)(*inputs)
        torch.testing.assert_close(answer / scale, torch.from_numpy(predicted) / scale, rtol=1e-5, atol=1e-5)
    names = json.loads((tmp_path / "flat.json").read_text())["inputs"][0]
    assert names["shape"] == ["batch", 1519]  # 25 profiles and 19 scalars, as E3SM-MMF hands over for v6
    assert [v["name"] for v in names["variables"]][6:9] == ["state_t_dyn", "state_q0_dyn", "state_u_dyn"]


def test_files_without_the_variables_are_named(raw_files: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").symlink_to(raw_files / "train")
    argv = flags(tmp_path / "raw", tmp_path, "--data.variables", "v3", net=TINY["leap_pao"])
    with pytest.raises(DataError, match=r"mli.*has no variable 'state_t_dyn'.*ClimSim_low-res-expanded"):
        train(parse(load_experiment("leap_pao"), argv))
