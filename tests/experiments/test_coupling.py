"""The C++ and Fortran programs of examples/coupling, built and run as docs/coupling.md says."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from datamodules.leap.convert import RawSource, join_more
from datamodules.leap.raw import find_pairs, read_inputs
from datamodules.leap.schema import N_TARGETS, VARIABLE_SETS
from experiments.domains.leap.export import flatten
from experiments.engine.cli import parse
from experiments.engine.declare import load_experiment
from experiments.engine.inference import load_task
from experiments.engine.training import train
from experiments.export import main as export
from tests.experiments.tiny import COLUMNS, flags

FOLDER = Path(__file__).parents[2] / "examples" / "coupling"
TOOLS = ("make", "g++", "gfortran", "nc-config", "nf-config")
Array = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the built programs."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    build = tmp_path_factory.mktemp("build")
    command = ["make", "-C", str(FOLDER), f"BUILD={build}", "CXXFLAGS=-O1"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return build


@pytest.fixture(scope="module")
def run(raw_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    arguments = flags(raw_files, out, "--epochs", "1", "--model.relative_humidity", "true")
    return train(parse(load_experiment("leap_bilstm_tcn"), arguments)).path


@pytest.fixture(scope="module")
def model(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """File of a layout in a format."""
    folder = tmp_path_factory.mktemp("models")

    def write(layout: str, file_format: str) -> Path:
        file = folder / f"{layout}{'.pt2' if file_format == 'aotinductor' else '.pt'}"
        if not file.exists():
            export(["--run", str(run), "--output", str(file), "--layout", layout, "--format", file_format])
        return file

    return write


@pytest.fixture(scope="module")
def columns(raw_files: Path) -> tuple[Path, dict[str, Tensor]]:
    """A raw file and its columns."""
    file = min(raw_files.rglob("*.mli.*.nc"))
    inputs = read_inputs(file, COLUMNS)
    return file, {"profiles": torch.from_numpy(inputs.profiles), "scalars": torch.from_numpy(inputs.scalars)}


def predicted(run: Path, columns: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """What predict.py gives, in bank units, and their scale."""
    task = load_task(run).task
    with torch.no_grad():
        output = task.predict_step({**columns, "row_id": torch.arange(len(columns["scalars"]))})
    return output["predictions"].double(), task.bank_scale


def answer(*command: str | Path) -> Array:
    """What a program prints, a row a column."""
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return np.array([line.split() for line in result.stdout.splitlines()], dtype=np.float64)


def assert_predicted(run: Path, columns: dict[str, Tensor], values: Array | Tensor, tolerance: float = 1e-6) -> None:
    expected, scale = predicted(run, columns)
    assert values.shape == (len(columns["scalars"]), N_TARGETS)
    assert float(expected.std(dim=0).max()) > 0.1  # not all columns alike
    torch.testing.assert_close(torch.as_tensor(values).double() / scale, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("program", ["columns", "columns_f"])
def test_the_programs_print_what_predict_gives(
    program: str,
    programs: Path,
    run: Path,
    model: Callable[[str, str], Path],
    columns: tuple[Path, dict[str, Tensor]],
) -> None:
    values = answer(programs / program, model("flat", "torchscript"), columns[0])
    assert_predicted(run, columns[1], values)


@pytest.mark.skipif("PODIUM_REAL_DATA" not in os.environ, reason="PODIUM_REAL_DATA names no folder of real files")
def test_the_programs_print_what_predict_gives_of_a_real_file(programs: Path, tmp_path: Path) -> None:
    """A net trained on some real file pairs, and all 384 columns of a file that it has not seen."""
    pairs = find_pairs(Path(os.environ["PODIUM_REAL_DATA"]) / "leap" / "climsim_low_res")[::6]
    for path in (path for pair in pairs[:-1] for path in (pair.mli, pair.mlo)):
        (tmp_path / "raw").mkdir(exist_ok=True)
        (tmp_path / "raw" / Path(path).name).symlink_to(path)
    more = ("--epochs", "1", "--data.columns", "384", "--data.n_folds", "2", "--batch_size", "128")
    net = ("--model.hidden", "8", "--model.layers", "1", "--model.representation", "multi", "--model.hold", "true")
    run = train(parse(load_experiment("leap_bilstm_tcn"), flags(tmp_path / "raw", tmp_path, *more, net=net))).path
    model = tmp_path / "emulator.pt"
    export(["--run", str(run), "--output", str(model), "--layout", "flat", "--format", "torchscript"])
    inputs = read_inputs(pairs[-1].mli)
    columns = {"profiles": torch.from_numpy(inputs.profiles), "scalars": torch.from_numpy(inputs.scalars)}
    for program in ("columns", "columns_f"):
        assert_predicted(run, columns, answer(programs / program, model, pairs[-1].mli))


def test_a_net_of_expanded_inputs_runs_through_the_library(programs: Path, raw_files: Path, tmp_path: Path) -> None:
    """The library takes the number of values from the file, and 1e30 is no snow."""
    more = ("--epochs", "1", "--data.variables", "v6")
    run = train(parse(load_experiment("leap_bilstm_tcn"), flags(raw_files, tmp_path, *more))).path
    model = tmp_path / "emulator.pt"
    export(["--run", str(run), "--output", str(model), "--layout", "flat", "--format", "torchscript"])
    source = RawSource(raw_files.with_name(f"{raw_files.name}-expanded"), COLUMNS, variables="v6")
    rows = join_more(next(iter(source.read(source.units()[0]))))
    columns = {name: torch.from_numpy(rows[name].copy()) for name in ("profiles", "scalars")}
    state = flatten(**columns, variables=VARIABLE_SETS["v6"]).numpy()
    assert state.shape == (COLUMNS, 1519)
    state[state[:, 1500 + 15] == 0, 1500 + 15] = 1e30
    assert (state == 1e30).any()
    library = ctypes.CDLL(str(programs / "libemulator.so"))
    library.emulator_load.restype = ctypes.c_void_p
    net = ctypes.c_void_p(library.emulator_load(os.fsencode(model), b"cpu"))
    result = np.full((COLUMNS, N_TARGETS), np.nan)
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (state, result)]
    assert library.emulator_run(net, *pointers, ctypes.c_int64(COLUMNS), 8, 0) == 0
    library.emulator_free(net)
    assert_predicted(run, columns, result)


def test_a_compiled_package_runs_without_python(
    programs: Path, run: Path, model: Callable[[str, str], Path], columns: tuple[Path, dict[str, Tensor]]
) -> None:
    values = answer(programs / "columns", model("flat", "aotinductor"), columns[0])
    assert_predicted(run, columns[1], values, 1e-5)


@pytest.mark.parametrize("program", ["columns", "columns_f"])
def test_a_wrong_file_is_one_line_and_exit_status_1(program: str, programs: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [programs / program, tmp_path / "no.pt", tmp_path / "no.nc"], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert "no.nc" in result.stderr or "no.pt" in result.stderr


@pytest.mark.parametrize("order", ["C", "F"])
def test_e3sms_layout_through_the_library_in_both_memory_orders(
    order: str,
    programs: Path,
    run: Path,
    model: Callable[[str, str], Path],
    columns: tuple[Path, dict[str, Tensor]],
) -> None:
    """Float32 and relative humidity in, as E3SM-MMF hands them; the error of prediction is that of the inputs' rounding."""
    library = ctypes.CDLL(str(programs / "libemulator.so"))
    library.emulator_load.restype = ctypes.c_void_p
    net = ctypes.c_void_p(library.emulator_load(os.fsencode(model("e3sm", "torchscript")), b"cpu"))
    state = np.array(flatten(**columns[1], relative_humidity_in=True).numpy(), dtype=np.float32, order=order)  # type: ignore[call-overload]
    state[:, 555] = 1e30  # cam_in_SNOWHICE is not read
    result = np.full((COLUMNS, N_TARGETS), np.nan, dtype=np.float32, order=order)  # type: ignore[call-overload]
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (state, result)]
    run_it = library.emulator_run
    assert run_it(net, *pointers, ctypes.c_int64(COLUMNS), 4, int(order == "F")) == 0
    script = torch.jit.load(model("e3sm", "torchscript"))
    with torch.no_grad():
        same = script(torch.from_numpy(np.ascontiguousarray(state)))
    np.testing.assert_allclose(result, same.numpy(), rtol=1e-6)
    expected, scale = predicted(run, columns[1])
    learnt = (scale > 1e-30).numpy()  # smaller tendencies do not exist in float32
    error = np.abs(result / scale.numpy() - expected.numpy())[:, learnt] / (1 + np.abs(expected.numpy()[:, learnt]))
    assert error.max() < 2e-3
    library.emulator_error.restype = ctypes.c_char_p
    assert run_it(net, *pointers, ctypes.c_int64(COLUMNS), 8, int(order == "F")) == 1
    assert b"--layout flat is double" in library.emulator_error()
    library.emulator_free(net)
