"""The command that writes a demo data set where a person wants it."""

from __future__ import annotations

from pathlib import Path

from datamodules.leap.demo.spec import DemoSpec


def demo_main(
    dest: Path,
    seed: int = 0,
    kaggle: bool = False,
    first_month: str = "0006-02",
    months: int = 36,
    steps_per_month: int = 5,
    columns: int = 384,
    noise_sigma: float = 0.4,
    train_steps: int = 12,
    test_rows: int = 1000,
    expanded: bool = False,
    processes: int | None = None,  # noqa: ARG001 command lines of earlier versions go on working
) -> None:
    """Generate synthetic ClimSim files in the raw schema, and the competition's CSV files if asked for.

    A data set that is there already is not made again.

    Args:
        dest: Folder of demo data sets; a sub-folder is named after the options.
        seed: Seed of states and noise.
        kaggle: Also write train.csv, test.csv, both sample_submission files and solution.csv.
        first_month: First month, YYYY-MM.
        months: Number of months.
        steps_per_month: Time steps per month.
        columns: Grid columns per file, at most 384.
        noise_sigma: Strength of the noise, which the inputs do not determine; it sets the best possible R2.
        train_steps: Time steps in train.csv.
        test_rows: Rows of test.csv.
        expanded: Write the expanded files: forcings, tendencies of the steps before, latitude.
        processes: Accepted as in earlier versions and without effect: one process takes seconds.
    """
    from datamodules.leap.demo.kaggle import write_kaggle_files
    from datamodules.leap.demo.write import generate, read_info

    spec = DemoSpec(seed, first_month, months, steps_per_month, columns, noise_sigma, expanded)
    folder = generate(dest, spec)
    info = read_info(folder) or {}
    print(f"{folder}: {info['rows']:,} rows, synthetic; best possible R2 {info['ceiling']['all']:.3f}")
    if kaggle:
        print(f"{write_kaggle_files(folder, folder / 'kaggle', train_steps, test_rows, seed, columns)}: CSV files")
