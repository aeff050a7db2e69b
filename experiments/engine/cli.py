"""The command line of every experiment: flat daily flags, dotted groups, YAML; no heavy import before it is parsed."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from datamodules.commands import plain_help
from datamodules.errors import DataError
from datamodules.files import shipped
from datamodules.settings import naming_values, plain
from experiments.engine.declare import Experiment
from experiments.engine.launch.settings import Launch, spell_out
from experiments.engine.run_directory import RunDirectory
from experiments.engine.settings import Daily, Train
from lit_modules.settings import Optim

PRESETS = Path(__file__).parents[1] / "presets"

GROUPS = ("data", "model", "optim", "train")


@dataclass
class Settings:
    """Everything a run was asked to do, resolved.

    Args:
        experiment: The declaration.
        daily: Flat flags.
        data, model, optim, train: The groups.
        demo: Whether the demo data set stands in for real files.
        launch: Where the runs of a grid or of several stages go; no part of a run.
    """

    experiment: Experiment
    daily: Daily
    data: Any
    model: Any
    optim: Optim
    train: Train
    demo: bool
    launch: Launch = field(default_factory=Launch)

    def __post_init__(self) -> None:
        if self.train.strategy == "fsdp" and self.optim.optimizer == "muon":
            raise DataError(
                "--optim.optimizer muon takes whole matrices, which --train.strategy fsdp shares out; give one of them"
            )

    def plain(self) -> dict[str, Any]:
        """All settings as plain values, as in ``config.yaml``."""
        groups = {name: plain(asdict(getattr(self, name))) for name in GROUPS}
        return {"experiment": self.experiment.name, "demo": self.demo, **plain(asdict(self.daily)), **groups}

    def naming(self) -> dict[str, Any]:
        """Flat settings that name a run, by dotted name: those that can change results."""
        values = naming_values(self.daily)
        for name in GROUPS:
            values |= naming_values(getattr(self, name), f"{name}.")
        if self.experiment.takes == "weights" and values["init_from"] != "none":
            values["init_from"] = None  # the run of the phase before, another one for every fold and seed
        return values

    def differing(self, saved: Mapping[str, Any]) -> str:
        """In which settings another run differs, in words; empty where it does not.

        Args:
            saved: What :meth:`naming` gave for that run. Settings that one version knows and the other does not are no
                difference, as long as ours have their declared values.
        """
        own, plain = self.naming(), declared(self.experiment, self.demo).naming()
        before = {**plain, **{name: value for name, value in saved.items() if name in own}}
        return ", ".join(f"--{name} {before[name]} (now {own[name]})" for name in own if before[name] != own[name])

    def check_words(self) -> None:
        """Refuse paths that are not there, folds and batches that cannot be; torch need not be imported for it.

        Raises:
            DataError: One sentence that names the flag.
        """
        daily = self.daily
        for flag, path in (("--data_dir", daily.data_dir), ("--init_from", daily.init_from)):
            if isinstance(path, Path) and not path.exists():
                raise DataError(f"{flag}: {path} does not exist")
        if daily.resume not in ("auto", "never") and not Path(daily.resume).is_file():
            raise DataError(f"--resume: {daily.resume} is no checkpoint file; give one, or auto, or never")
        folds = getattr(self.data, "n_folds", None)
        if isinstance(daily.fold, int) and folds is not None and daily.fold >= folds:
            raise DataError(f"--fold {daily.fold}: there are folds 0 to {folds - 1} (--data.n_folds {folds})")
        if daily.batch_size != "auto" and daily.batch_size % self.train.accumulate:
            raise DataError(
                f"--batch_size {daily.batch_size} must divide by --train.accumulate {self.train.accumulate}"
            )

    @property
    def config_hash(self) -> str:
        """SHA-256 over :meth:`naming`."""
        return _digest(self.naming())

    @property
    def variant(self) -> str:
        """Name of these settings in the run directory."""
        if self.daily.variant:
            return self.daily.variant
        base = "demo" if self.demo else "default"
        plain = declared(self.experiment, self.demo).naming()
        changed = {name: value for name, value in self.naming().items() if plain[name] != value}
        return f"{base}-{_digest(changed)[:6]}" if changed else base

    def directory(self, seed: int | None = None, fold: int | str | None = None) -> RunDirectory:
        """The run directory of these settings, or of another seed or fold of them."""
        daily = self.daily
        seed, fold = daily.seed if seed is None else seed, daily.fold if fold is None else fold
        return RunDirectory.of(daily.out, self.experiment.name, self.variant, seed, fold)


class _Parser(ArgumentParser):
    """jsonargparse's parser, which also knows ``--launch slurm`` and says what a misspelt flag may have meant."""

    def parse_args(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Any:  # type: ignore[override]
        """Parse the command line."""
        return super().parse_args(spell_out(sys.argv[1:] if args is None else args), *more, **options)

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
    arguments = with_presets(experiment, sys.argv[1:] if argv is None else argv)
    try:
        first = build_parser(experiment).parse_args(arguments)
        return resolve(experiment, arguments, demo=first.data_dir is None)
    except ValueError as error:  # a check of the settings' own
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def presets(experiment: Experiment) -> dict[str, Path]:
    """Files of the experiment's presets by name; none for an experiment of another package."""
    return {path.stem: path for path in sorted((PRESETS / experiment.name).glob("*.yaml"))}


def with_presets(experiment: Experiment, arguments: Sequence[str]) -> list[str]:
    """Arguments with ``--config FILE`` in the place of ``--preset NAME``; an unknown name ends the program.

    The files that podium brings are found from any folder (:func:`datamodules.files.shipped`).
    """
    words: list[str] = []
    given = iter(arguments)
    for word in given:
        flag, equals, name = word.partition("=")
        if flag not in ("--preset", "--config"):
            words.append(word)
            continue
        name = name if equals else next(given, "")
        if flag == "--config":
            words += [flag, str(shipped(name))] if name else [word]
            continue
        known = presets(experiment)
        if name not in known:
            print(f"error: --preset {name}: {experiment.name} has {', '.join(known) or 'no presets'}", file=sys.stderr)
            raise SystemExit(2)
        words += ["--config", str(known[name])]
    return words


def from_config(experiment: Experiment, content: Mapping[str, Any]) -> Settings:
    """Settings from plain values such as those of a ``config.yaml``."""
    import yaml

    with NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(dict(content), file)
        file.flush()
        return parse(experiment, ["--config", file.name])


def resolve(experiment: Experiment, arguments: Sequence[str], demo: bool) -> Settings:
    """Parse arguments over the experiment's defaults, or over its demo's."""
    parser = build_parser(experiment, demo)
    config = parser.parse_args(with_presets(experiment, arguments))
    parts = parser.instantiate_classes(config)
    daily = Daily(**{name: getattr(parts, name) for name in Daily.__dataclass_fields__})
    return Settings(experiment, daily, parts.data, parts.model, parts.optim, parts.train, demo, parts.launch)


def declared(experiment: Experiment, demo: bool) -> Settings:
    """The settings of a run without flags; a grid or a board of hundreds asks for them thousands of times."""
    key = id(experiment), demo
    if key not in _DECLARED:
        _DECLARED[key] = resolve(experiment, [], demo=demo)
    return _DECLARED[key]


_DECLARED: dict[tuple[int, bool], Settings] = {}  # settings keep their experiment, so its id stays its own


def build_parser(experiment: Experiment, demo: bool = False) -> ArgumentParser:
    """The parser of an experiment with its defaults (or its demo's)."""
    parser = _Parser(
        prog=experiment.shown_command,
        usage=f"{experiment.shown_command} [--data_dir DIR] [--devices N] [--config FILE.yaml] [--FLAG VALUE ...]",
        description=_describe(experiment),
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="YAML file of settings; the command line wins over it")
    if known := presets(experiment):
        parser.add_argument("--preset", metavar="NAME", help=f"settings by name: {', '.join(known)}")
    parser.add_class_arguments(Daily, help="daily flags")
    for name in GROUPS:
        default = getattr(experiment, name)
        parser.add_class_arguments(type(default), name)
        parser.set_defaults({f"{name}.{key}": value for key, value in asdict(default).items()})
    parser.add_class_arguments(Launch, "launch")
    parser.set_defaults({name: getattr(experiment, name) for name in ("epochs", "batch_size", "lr", "seed")})
    if demo:
        parser.set_defaults(experiment.demo)
    plain_help(parser, {f"--{name}": f" In a demo run: {value}." for name, value in experiment.demo.items()})
    return parser


def _describe(experiment: Experiment) -> str:
    published = "".join(f"\nPublished by the original: {p.score} {p.what} ({p.source})." for p in experiment.published)
    module = sys.modules.get(experiment.place) or sys.modules["__main__"]
    return (module.__doc__ or experiment.name).strip() + published


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
