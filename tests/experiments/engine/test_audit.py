from __future__ import annotations

from pathlib import Path

import pytest

from experiments.__main__ import list_experiments
from experiments.__main__ import main as experiments_main
from experiments.engine import audit


def test_every_declaration_is_its_sources_or_says_why_not() -> None:
    compared = list(audit.compare())
    assert len(compared) > 400
    assert [(c.entry, c.name, c.declared, c.published) for c in compared if not c.equal and not c.reason] == []
    for entry, published in audit.read_published().items():
        assert set(published.get("departs", {})) <= {c.name for c in compared if c.entry == entry} | {"data.n_folds"}


def test_every_experiment_is_audited_and_only_baselines_have_no_source() -> None:
    published = audit.read_published()
    assert {e.name for e in list_experiments()} == {entry.partition(" ")[0] for entry in published}
    baselines = {entry for entry, content in published.items() if "baseline" in content}
    assert baselines == {"leap_ridge", "leap_zeros", "moa_logistic", "mars_logistic"}
    for entry in published:
        preset = entry.partition(" --config ")[2]
        assert not preset or (audit.PRESETS / preset).is_file()


def test_the_command_prints_both_and_fails_at_an_unexplained_departure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments_main(["audit", "leap_bilstm_attention"])
    printed = capsys.readouterr().out
    assert "model.attention_axis" in printed
    assert "attends over the batch by mistake" in printed
    other = tmp_path / "published.yaml"
    other.write_text("leap_bilstm: {values: {model.hidden: 512, model.colour: red}}\n")
    monkeypatch.setattr(audit, "PUBLISHED", other)
    with pytest.raises(SystemExit):
        experiments_main(["audit"])
    assert "2 settings depart from their source without a reason" in capsys.readouterr().err
