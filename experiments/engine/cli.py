"""The command line of every experiment: flat daily flags, dotted groups, YAML; no heavy import before it is parsed."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace

from experiments.engine.declare import Experiment
from experiments.engine.run_directory import RunDirectory
from experiments.engine.settings import Daily, Train
from lit_modules.settings import Optim

# what does not change results, or names the run by itself
_NOT_IN_VARIANT = (
    "data_dir", "devices", "num_nodes", "accelerator", "fold", "seed", "seeds", "resume", "wandb", "variant", "out",
    "train.progress", "train.figures", "train.log_every", "train.checkpoint_every", "train.keep_epochs", "train.compile",
    "data.cache_dir", "data.check_gathers", "data.threads", "data.processes", "data.high_res_dir", "data.grid_file", "data.high_res_grid_file", "data.meta",
)  # fmt: skip


@dataclass
class Settings:
    """Everything a run was asked to do, resolved.

    Args:
        experiment: The declaration.
        daily: Flat flags.
        data, model, optim, train: The groups.
        demo: Whether the demo data set stands in for real files.
    """

    experiment: Experiment
    daily: Daily
    data: Any
    model: Any
    optim: Optim
    train: Train
    demo: bool

    def plain(self) -> dict[str, Any]:
        """All settings as plain values, as in ``config.yaml``."""
        groups = {name: asdict(getattr(self, name)) for name in ("data", "model", "optim", "train")}
        result: dict[str, Any] = _plain(
            {"experiment": self.experiment.name, "demo": self.demo, **asdict(self.daily), **groups}
        )
        return result

    def result_settings(self) -> dict[str, Any]:
        """Flat settings that can change results, by dotted name."""
        flat = _flatten(self.plain())
        if self.experiment.takes == "weights" and flat["init_from"] != "none":
            flat["init_from"] = None  # the run of the phase before, another one for every fold and seed
        return {name: value for name, value in flat.items() if name not in _NOT_IN_VARIANT}

    @property
    def config_hash(self) -> str:
        """SHA-256 over :meth:`result_settings`."""
        return hashlib.sha256(json.dumps(self.result_settings(), sort_keys=True).encode()).hexdigest()

    @property
    def variant(self) -> str:
        """Name of these settings in the run directory."""
        if self.daily.variant:
            return self.daily.variant
        base = "demo" if self.demo else "default"
        declared = resolve(self.experiment, [], demo=self.demo).result_settings()
        changed = {name: value for name, value in self.result_settings().items() if declared[name] != value}
        if not changed:
            return base
        return f"{base}-{hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:6]}"

    def directory(self, seed: int | None = None, fold: int | str | None = None) -> RunDirectory:
        """The run directory of these settings, or of another seed or fold of them."""
        daily = self.daily
        seed, fold = daily.seed if seed is None else seed, daily.fold if fold is None else fold
        return RunDirectory.of(daily.out, self.experiment.name, self.variant, seed, fold)


class _Parser(ArgumentParser):
    """jsonargparse's parser, which also says what a misspelt flag may have meant."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End the program with status 2 and a sentence."""
        unknown = re.search(r"unrecognized arguments: (--[\w.]+)", message)
        if unknown:
            known = [option for action in self._actions for option in action.option_strings]
            near = get_close_matches(unknown[1], known, n=1)
            message += f" (did you mean {near[0]}?)" if near else ""
        super().error(message, ex)


def parse(experiment: Experiment, argv: Sequence[str] | None = None) -> Settings:
    """Read the command line; wrong flags, keys and values end the program with a sentence that names them."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        first = build_parser(experiment).parse_args(arguments)
        return resolve(experiment, arguments, demo=first.data_dir is None)
    except ValueError as error:  # a check of the settings' own
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def resolve(experiment: Experiment, arguments: Sequence[str], demo: bool) -> Settings:
    """Parse arguments over the experiment's defaults, or over its demo's."""
    parser = build_parser(experiment, demo)
    config = parser.parse_args(list(arguments))
    parts = parser.instantiate_classes(config)
    daily = Daily(**{name: getattr(parts, name) for name in Daily.__dataclass_fields__})
    return Settings(experiment, daily, parts.data, parts.model, parts.optim, parts.train, demo)


def build_parser(experiment: Experiment, demo: bool = False) -> ArgumentParser:
    """The parser of an experiment with its defaults (or its demo's)."""
    parser = _Parser(
        prog=f"python experiments/{experiment.name}.py",
        usage=f"python experiments/{experiment.name}.py [--data_dir DIR] [--devices N] [--config FILE.yaml] [--FLAG VALUE ...]",
        description=_describe(experiment),
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="YAML file of settings; the command line wins over it")
    parser.add_class_arguments(Daily, help="daily flags")
    for name in ("data", "model", "optim", "train"):
        default = getattr(experiment, name)
        parser.add_class_arguments(type(default), name)
        parser.set_defaults({f"{name}.{key}": value for key, value in asdict(default).items()})
    parser.set_defaults({name: getattr(experiment, name) for name in ("epochs", "batch_size", "lr", "seed")})
    if demo:
        parser.set_defaults(experiment.demo)
    return parser


def _describe(experiment: Experiment) -> str:
    published = "".join(f"\nPublished by the original: {p.score} {p.what} ({p.source})." for p in experiment.published)
    module = sys.modules.get(f"experiments.{experiment.name}") or sys.modules["__main__"]
    return (module.__doc__ or experiment.name).strip() + published


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _plain(value: Any) -> Any:
    if isinstance(value, dict | Namespace):
        return {str(k): _plain(v) for k, v in (value.items() if isinstance(value, dict) else vars(value).items())}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value
