from __future__ import annotations

import json

import numpy as np
import pytest

from blend.weights import Weights, blend_rows, read_weights, write_weights
from datamodules.banks.bank import BankError
from datamodules.errors import DataError

P = np.random.default_rng(0).random((2, 5, 3)).astype(np.float32)


def test_arithmetic_and_logit_means():
    w = np.array([0.25, 0.75])
    np.testing.assert_allclose(blend_rows(Weights("", ["a", "b"], w), P), 0.25 * P[0] + 0.75 * P[1], rtol=1e-6)
    clipped = np.clip(P.astype(np.float64), 0.01, 0.99)
    z = np.tensordot(w, np.log(clipped / (1 - clipped)), 1)
    blended = blend_rows(Weights("", ["a", "b"], w, kind="logit", clip=0.01), P)
    np.testing.assert_allclose(blended, 1 / (1 + np.exp(-z)), rtol=1e-12)


def test_weights_per_target_and_per_row_group():
    values = np.array([[1.0, 0.0], [0.5, 0.5]])
    by_target = Weights("", ["a", "b"], values, "targets", [[0, 2], [2, 3]])
    blended = blend_rows(by_target, P)
    np.testing.assert_allclose(blended[:, :2], P[0, :, :2])
    np.testing.assert_allclose(blended[:, 2], P[:, :, 2].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(by_target.mean(), [5 / 6, 1 / 6])
    by_row = Weights("", ["a", "b"], values, "rows", ["flat", "style"])
    blended = blend_rows(by_row, P, np.array(["style", "flat", "flat", "style", "flat"]))
    np.testing.assert_allclose(blended[1], P[0, 1])
    np.testing.assert_allclose(blended[0], P[:, 0].mean(axis=0), rtol=1e-6)


def test_what_does_not_fit_is_refused():
    by_row = Weights("", ["a", "b"], np.eye(2), "rows", ["flat", "style"])
    with pytest.raises(BankError, match="no weights for row group 'fault'"):
        blend_rows(by_row, P, np.array(["fault"] * 5))
    with pytest.raises(BankError, match="give --groups FILE"):
        blend_rows(by_row, P)
    with pytest.raises(BankError, match="for 2 targets, the predictions have 3"):
        blend_rows(Weights("", ["a", "b"], np.eye(2), "targets", [[0, 1], [1, 2]]), P)


def test_files_keep_everything(tmp_path):
    weights = Weights(
        "greedy", ["a", "b"], np.array([1 / 3, 2 / 3]), gap=1e-9, path=[{"added": "a", "loss": 0.1}], notes=["n"]
    )
    write_weights(tmp_path / "weights.json", weights, described())
    again, extra = read_weights(tmp_path)
    np.testing.assert_array_equal(again.values, weights.values)
    assert (again.method, again.gap, again.path, again.notes) == ("greedy", 1e-9, weights.path, ["n"])
    assert extra["metric"] == "r2"
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(BankError, match="not a weights file"):
        read_weights(tmp_path / "other.json")
    with pytest.raises(BankError, match="does not exist"):
        read_weights(tmp_path / "gone.json")


def test_restored_weights_leave_the_others_at_0():
    weights = Weights("", ["a", "c"], np.array([0.4, 0.6])).restore(["a", "b", "c"], [0, 2])
    np.testing.assert_array_equal(weights.values, [0.4, 0, 0.6])


def described():
    model = dict.fromkeys(("name", "experiment", "variant", "path"), "a") | {"checkpoints": {}}
    model |= {key: [] for key in ("seeds", "folds", "configs")}
    named = {"metric": "r2", "domain": "", "convention": "", "targets": [], "shape": [1], "post_processing": []}
    return named | {"inputs": [model, model], "clip_predictions": False}


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_file_is_a_sentence(tmp_path, seed):
    """A value of another type, a missing key, or a cut anywhere: DataError or the very same weights, nothing else."""
    rng = np.random.default_rng(seed)
    write_weights(tmp_path / "w.json", Weights("convex", ["a", "b"], np.array([0.4, 0.6])), described())
    read_weights(tmp_path / "w.json")
    text = (tmp_path / "w.json").read_text()
    if seed % 2:
        (tmp_path / "w.json").write_text(text[: rng.integers(len(text) - 3)])
    else:
        content = json.loads(text)
        where = content if seed % 4 else content["weights"]
        key = str(
            rng.choice(["inputs", "metric", "shape"] if seed % 4 else ["models", "values", "kind", "level", "clip"])
        )
        where[key] = [None, 3.5, {"x": 1}][seed // 4 % 3]
        (tmp_path / "w.json").write_text(json.dumps(content))
    with pytest.raises(DataError):
        read_weights(tmp_path / "w.json")
