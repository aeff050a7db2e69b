"""The competition's files, made from raw files through the project's own reader.

``train.csv``, ``test.csv``, ``sample_submission.csv`` (the weights since June 2024: 0 or 1),
``sample_submission_old.csv`` (the first weights: 1 / standard deviation) and, which no competitor saw, ``solution.csv``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from datamodules.errors import DataError
from datamodules.files import atomic_path
from datamodules.leap.kaggle import ID_COLUMN
from datamodules.leap.raw import Pair, find_pairs, read_pair
from datamodules.leap.schema import (
    CSV_INPUT_NAMES,
    GRID_COLUMNS,
    MODEL_TO_CSV,
    STEPS_PER_DAY,
    TARGET_NAMES,
    zero_weight_mask,
)

SMALLEST_STD = 1e-15  # floor of the first weights
_TEST_STEPS = 12

Block = tuple[np.ndarray, np.ndarray]
"""Sample ids (n,) and values (n, columns of the table)."""


def write_kaggle_files(
    raw_root: Path,
    out_dir: Path,
    train_steps: int = 12,
    test_rows: int = 1000,
    seed: int = 0,
    columns: int = GRID_COLUMNS,
) -> Path:
    """Write the five CSV files of the competition from raw files.

    The earliest time steps become ``train_0, train_1, ...`` in time order, grid columns fastest. Test rows are drawn from
    up to twelve of the steps that come a day or more later, shuffled, and numbered so that ids tell nothing about time.
    Numbers are the shortest decimals that read back as the same float64.

    Args:
        raw_root: Folder of raw files, demo or real.
        out_dir: Where the files go; existing ones are replaced.
        train_steps: Time steps in ``train.csv``.
        test_rows: Rows of ``test.csv``.
        seed: Seed of the choice and order of the test rows.
        columns: Grid columns of the raw files.

    Returns:
        ``out_dir``.

    Raises:
        DataError: too few time steps for the rows asked for, or a bad raw file.
    """
    pairs = find_pairs(raw_root)
    train, later = _divide(raw_root, pairs, train_steps)
    out_dir = Path(out_dir)

    names = [*CSV_INPUT_NAMES, *TARGET_NAMES]
    moments = _Moments(len(TARGET_NAMES))
    _write_table(out_dir / "train.csv", names, _train_blocks(train, columns, moments))

    ids, inputs, targets = _test_rows(raw_root, later, test_rows, seed, columns)
    _write_table(out_dir / "test.csv", CSV_INPUT_NAMES, [(ids, inputs)])
    _write_table(out_dir / "solution.csv", TARGET_NAMES, [(ids, targets)])
    live = ~zero_weight_mask()
    weights = {
        "sample_submission.csv": np.where(live, 1.0, 0.0),
        "sample_submission_old.csv": np.where(live, 1.0 / np.maximum(moments.std(), SMALLEST_STD), 0.0),
    }
    for name, weight in weights.items():
        _write_table(out_dir / name, TARGET_NAMES, [(ids, np.tile(weight, (len(ids), 1)))])
    return out_dir


def _divide(raw_root: Path, pairs: list[Pair], train_steps: int) -> tuple[list[Pair], list[Pair]]:
    train = pairs[:train_steps]
    later = [pair for pair in pairs[train_steps:] if pair.step - train[-1].step >= STEPS_PER_DAY]
    if len(train) < train_steps or not later:
        raise DataError(
            f"{raw_root} has {len(pairs)} time steps: too few for {train_steps} to train on and one a day later to test on"
        )
    return train, later


def _train_blocks(pairs: list[Pair], columns: int, moments: _Moments) -> Iterator[Block]:
    start = 0
    for pair in pairs:
        inputs, targets = _read(pair, columns)
        moments.update(targets)
        yield _ids("train", np.arange(start, start + columns)), np.concatenate([inputs, targets], axis=1)
        start += columns


def _test_rows(
    raw_root: Path, later: list[Pair], rows: int, seed: int, columns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, inputs in CSV order and targets of the test rows."""
    count = min(len(later), max(_TEST_STEPS, -(-rows // columns)))
    chosen = [later[i * len(later) // count] for i in range(count)]
    if rows > count * columns:
        raise DataError(f"{raw_root} has {count * columns} rows for the test, fewer than the {rows} asked for")
    blocks = [_read(pair, columns) for pair in chosen]
    random = np.random.default_rng([seed, rows])
    picked = random.permutation(count * columns)[:rows]
    inputs, targets = (np.concatenate(part)[picked] for part in zip(*blocks, strict=True))
    return _ids("test", random.permutation(rows)), inputs, targets


def _read(pair: Pair, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs in CSV order (columns, 556) and targets (columns, 368) of one time step."""
    rows = read_pair(pair, columns)
    model_order = np.concatenate([rows.profiles.reshape(columns, -1), rows.scalars], axis=1)
    return model_order[:, MODEL_TO_CSV], rows.targets


def _ids(prefix: str, numbers: np.ndarray) -> np.ndarray:
    return np.char.add(f"{prefix}_", numbers.astype(str))


class _Moments:
    """Standard deviation per column over blocks of rows (Chan's pairwise update), for values down to 1e-60."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self.mean = np.zeros(size)
        self.squares = np.zeros(size)

    def update(self, values: np.ndarray) -> None:
        count = self.count + len(values)
        mean = values.mean(axis=0)
        shift = mean - self.mean
        self.squares += ((values - mean) ** 2).sum(axis=0) + shift**2 * (self.count * len(values) / count)
        self.mean += shift * (len(values) / count)
        self.count = count

    def std(self) -> np.ndarray:
        """With ddof = 1, as the competition's weights."""
        return np.sqrt(self.squares / max(self.count - 1, 1))


def _write_table(path: Path, names: list[str], blocks: Iterable[Block]) -> None:
    import pyarrow as pa
    from pyarrow import csv

    schema = pa.schema([(ID_COLUMN, pa.string()), *((name, pa.float64()) for name in names)])
    options = csv.WriteOptions(include_header=False, quoting_style="none")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write((",".join(schema.names) + "\n").encode())
        with csv.CSVWriter(file, schema, write_options=options) as writer:
            for ids, values in blocks:
                arrays = [pa.array(ids), *(pa.array(column) for column in np.ascontiguousarray(values.T))]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
