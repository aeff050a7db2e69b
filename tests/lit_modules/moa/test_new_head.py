"""Starting from weights that were trained on other targets."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from datamodules.errors import DataError
from datamodules.moa.datamodule import MoaDataModule
from datamodules.moa.settings import MoaData
from lit_modules.base import load_weights
from lit_modules.moa.settings import MLPModel, MoaModel, SoftOrderingModel, TwoHeadsModel
from lit_modules.moa.task import MoaTask
from lit_modules.settings import Optim
from tests.datamodules.moa.tiny import write_files

NETS: dict[str, tuple[MoaModel, tuple[str, ...]]] = {
    "two heads": (TwoHeadsModel(width=16, trunk=12), ("row_means", "standard", "pca:genes=3,cells=2", "screen:keep=7")),
    "1d-cnn": (SoftOrderingModel(channels=4, length=8, width=8), ("row_normalise", "rank_gauss")),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("moa") / "demo")


def make(files: Path, model: MoaModel, seed: int, fold: int = 0, **settings: object) -> MoaTask:
    data = MoaDataModule(MoaData(**settings), files, files.parent / "cache", 32, fold)  # type: ignore[arg-type]
    data.prepare()
    torch.manual_seed(seed)
    return MoaTask(model, Optim(), 1e-3, data.statistics())


def start_from(task: MoaTask, parent: MoaTask) -> tuple[set[str], dict[str, torch.Tensor]]:
    """Names that changed to the parent's values, and the state before."""
    before = {name: value.clone() for name, value in task.state_dict().items()}
    state = parent.state_dict()
    load_weights(task, {"state_dict": state}, task.own_entries(state))
    after = task.state_dict()
    return {name for name in after if name in state and not torch.equal(after[name], before[name])}, before


@pytest.mark.parametrize("name", NETS)
def test_weights_of_the_nonscored_phase_come_without_their_head(name: str, files: Path) -> None:
    model, features = NETS[name]
    phase1 = make(files, model, seed=1, features=features, targets="nonscored")
    phase2 = make(files, model, seed=2, features=features)
    assert len(phase1.target_names) == 8
    taken, before = start_from(phase2, phase1)
    after, state = phase2.state_dict(), phase1.state_dict()
    trunk = [n for n, _ in phase2.net.named_parameters() if not n.startswith("head.")]
    assert trunk
    assert all(torch.equal(after[f"net.{n}"], state[f"net.{n}"]) for n in trunk)
    kept = [n for n in after if not n.startswith("net.") or n.startswith("net.head.")]
    assert all(torch.equal(after[n], before[n]) for n in kept)
    assert taken
    assert all(n.startswith("net.") and not n.startswith("net.head.") for n in taken)
    assert len(phase2.target_names) == 12


def test_the_head_comes_along_where_the_targets_are_the_same(files: Path) -> None:
    model, features = NETS["1d-cnn"]
    parent, child = make(files, model, 1, features=features), make(files, model, 2, fold=1, features=features)
    taken, before = start_from(child, parent)
    assert any(n.startswith("net.head.") for n in taken)
    assert torch.equal(child.state_dict()["prior"], before["prior"]), "shares are those of the own training rows"
    assert torch.equal(child.state_dict()["features.step1_quantiles"], before["features.step1_quantiles"])


def test_nets_without_a_head_of_their_own_refuse_other_targets(files: Path) -> None:
    model = MLPModel(hidden=(8,), dropout=(0.0, 0.0))
    parent, child = make(files, model, 1, targets="nonscored"), make(files, model, 2)
    with pytest.raises(DataError, match="the checkpoint does not fit this net"):
        start_from(child, parent)


def test_the_trunk_is_as_wide_in_both_phases(files: Path) -> None:
    features = NETS["two heads"][1]
    wide = make(files, TwoHeadsModel(width=16, trunk=20), 0, features=features)
    assert [wide.net.head[0].num_features, wide.net.head[1].out_features] == [20, 12]  # type: ignore[index,union-attr]
    plain = make(files, TwoHeadsModel(width=16), 0, features=features)
    assert plain.net.head[1].in_features == 12  # type: ignore[index,union-attr]
