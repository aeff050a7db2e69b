"""Checks of the repository, one session each: ``nox -l`` lists them, ``nox -s lint`` runs one.

``.ci/run`` runs ``lint``, ``types``, ``imports``, ``audit`` and ``docs`` with ``--no-venv`` in the environment that the README's install
command made, and then what ``tests`` does; the others make environments of their own and take longer.
"""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "imports", "tests"]
nox.options.default_venv_backend = "uv|virtualenv"

PACKAGES = ("experiments", "datamodules", "lit_modules", "blend")
# what a minimal or an older environment must still do: every net, loader, bank and solver, training, prediction, export
CORE_TESTS = (
    "tests/lit_modules", "tests/datamodules", "tests/blend", "tests/experiments/engine",
    "tests/experiments/test_predict.py", "tests/experiments/test_export.py",
)  # fmt: skip


def install(session: nox.Session, *arguments: str) -> None:
    """Install into the session's environment; with ``--no-venv`` everything is there already."""
    if session.venv_backend != "none":
        session.install(*arguments)


@nox.session
def lint(session: nox.Session) -> None:
    """Rules and format (ruff)."""
    install(session, "ruff>=0.12")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types of the four packages (mypy, strict)."""
    install(session, "-e", ".[test]")
    session.run("mypy")


@nox.session
def imports(session: nox.Session) -> None:
    """Data flow one way and no circles: the contracts under ``[tool.importlinter]``."""
    install(session, "-e", ".[test]")
    session.run("lint-imports")


@nox.session
def tests(session: nox.Session) -> None:
    """The whole test suite, with the share of lines that it runs."""
    install(session, "-e", ".[test]")
    session.run("pytest", *(f"--cov={package}" for package in PACKAGES), "--cov-report=", *session.posargs)
    session.run("coverage", "report", "--format=total")


@nox.session(python=["3.11", "3.12", "3.13"])
def pythons(session: nox.Session) -> None:
    """The core tests on every supported Python."""
    install(session, "-e", ".[test]")
    session.run("pytest", *(session.posargs or CORE_TESTS))


@nox.session(python="3.11", venv_backend="uv")
def minimum(session: nox.Session) -> None:
    """The core tests with the lowest versions that pyproject.toml allows."""
    session.install("--resolution", "lowest-direct", "-e", ".[test]")
    session.run("pytest", *(session.posargs or CORE_TESTS))


@nox.session(python="3.11")
def core(session: nox.Session) -> None:
    """No optional extras: every experiment explains itself, and one trains, predicts and blends."""
    session.install("-e", ".")
    for path in sorted(Path("experiments").glob("*.py")):
        if path.stem != "__init__" and "__main__" in path.read_text():
            session.run("python", str(path), "--help", silent=True)
    out = session.create_tmp()
    tiny = ("--model.hidden", "8", "--epochs", "1", "--wandb", "disabled", "--out", out)
    session.run("python", "experiments/leap_bilstm.py", *tiny)
    session.run("python", "experiments/leap_bigru.py", *tiny)
    session.run(
        "python", "-m", "blend", "compare", f"{out}/leap_bilstm", f"{out}/leap_bigru", "--methods", "[equal, convex]"
    )


@nox.session(python="3.11", venv_backend="uv")
def blend(session: nox.Session) -> None:
    """Blending alone, in an environment without torch: strangers' CSVs to a comparison and a submission."""
    session.install("./packaging/blend")
    sources = Path.cwd()
    session.chdir(session.create_tmp())  # what is installed runs, not what lies here
    write = (
        "import sys; from pathlib import Path; sys.path.append(sys.argv[1]); from tests.files import oof_tables as o; "
    )
    write += "o.STYLES['like_a_submission'](o.make_case('binary'), Path('.'))"
    session.run("python", "-c", write, str(sources))
    session.run("podium-blend", "compare", ".", "--metric", "auc", "--out", "compared")
    for method in ("greedy", "optuna", "stacker"):
        flags = ("--trials", "20", "--metric", "column_log_loss", "--method", method, "--out", f"blends/{method}")
        session.run("python", "-m", "blend", "search", ".", *flags)
    template = ("--template", "sample_submission.csv", "--submission", "submission.csv")
    session.run("podium-blend", "apply", "blends/greedy", *template)
    session.run("podium-blend", "verify", "blends/greedy/test")
    absent = "import importlib.util as u; assert not [m for m in ('torch', 'lightning', 'sklearn') if u.find_spec(m)]"
    session.run("python", "-c", absent)


@nox.session(python="3.11")
def cpu(session: nox.Session) -> None:
    """A CPU-only install: under 2 GB, and it trains and predicts with a net of ours and one of timm's backbones.

    ``nox -s cpu -- torch --find-links FOLDER`` takes torch from elsewhere; torchvision then is PyPI's, built for CUDA.
    """
    session.install(
        *(session.posargs or ("torch", "torchvision", "--index-url", "https://download.pytorch.org/whl/cpu"))
    )
    session.install("-e", ".")
    size = sum(path.lstat().st_size for path in Path(session.virtualenv.location).rglob("*") if path.is_file()) / 1e9
    session.log(f"the environment takes {size:.2f} GB")
    if size >= 2:
        session.error("a CPU-only environment should stay under 2 GB")
    out = session.create_tmp()
    small = ("--epochs", "1", "--wandb", "disabled", "--variant", "small", "--out", out)
    session.run("podium", "train", "leap_bilstm", "--model.hidden", "8", *small)
    session.run("podium", "export", "--run", f"{out}/leap_bilstm/small/seed1325/fold0", "--output", f"{out}/net.pt2")
    session.run("podium", "train", "mars_timm", "--preset", "small", *small)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, strictly: every link and every reference must resolve."""
    install(session, "-e", ".[docs]")
    session.run("mkdocs", "build", "--strict", "--site-dir", "site")


@nox.session
def audit(session: nox.Session) -> None:
    """Risky calls in the code (bandit) and, in an environment of its own, known holes in the dependencies (pip-audit)."""
    install(session, "-e", ".", "bandit[toml]", "pip-audit")
    session.run("bandit", "-q", "-c", "pyproject.toml", "-r", *PACKAGES)
    if session.venv_backend != "none":
        session.run("pip-audit", "--skip-editable")
