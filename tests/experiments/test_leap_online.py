"""The nets of "Crowdsourcing the Frontier" through the whole program, under the paper's configurations."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.banks.bank import PredictionBank
from experiments.engine.cli import parse
from experiments.engine.declare import load_experiment
from experiments.engine.training import train
from experiments.results import read_plan
from lit_modules.leap.losses import learnable_target_mask
from lit_modules.leap.settings import LeapModel
from lit_modules.leap.task import build_net
from tests.experiments.tiny import flags

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
}


@pytest.mark.parametrize(
    ("name", "configuration"),
    [(name, key) for name in TINY for key in CONFIGURATIONS] + [(name, "multi") for name in OTHERS],
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


# the published sizes, of 26 channels and five targets a level, are tested beside the nets; this is what they differ by
PUBLISHED = {
    "leap_unet": (12_975_373, 3 * 128, 3 * 128 + 1),
    "leap_pure_reslstm": (15_395_341, 2 * 4 * 256, 512 + 1),
    "leap_pao": (18_876_133, 160, 160 + 1),
    "leap_convnext": (26_805_429, 4 * 96, 3 * 768 + 1),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_declared_sizes_are_the_papers_but_for_the_judges_columns(name: str) -> None:
    settings = parse(load_experiment(name), ["--data_dir", "somewhere"])
    assert isinstance(settings.model, LeapModel)
    with torch.device("meta"):
        net = build_net(settings.model, 25, (9, 25))
    paper, of_a_channel, of_a_target = PUBLISHED[name]
    assert sum(p.numel() for p in net.parameters()) == paper - of_a_channel + of_a_target
    assert (settings.daily.batch_size, settings.daily.lr, settings.daily.epochs) == (4096, 1e-4, 12)
    assert settings.optim.milestones == (3, 6, 9)


def test_the_tables_of_the_configurations_name_settings_that_exist() -> None:
    """Six architectures in each of the four configurations that the competition's variables allow."""
    plan = read_plan(Path(__file__).parents[2] / "experiments" / "tables" / "leap_online.yaml")
    assert len(plan) == 4
    for table in plan.values():
        names = set()
        for entry in table["experiments"]:
            name, *words = shlex.split(f"{entry} {table.get('flags', '')}")
            settings = parse(load_experiment(name), [*words, "--epochs", str(table["epochs"])])
            assert settings.demo
            names.add(name)
        assert names - {"leap_ridge"} == {*TINY, "leap_squeezeformer"}
