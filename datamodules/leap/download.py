"""Raw ClimSim files from the Hugging Face Hub, and the competition's tables from Kaggle, to a folder on the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datamodules.errors import DataError
from datamodules.leap.calendar import format_months, month_name, parse_months
from datamodules.leap.hub import INCOMING, REPOSITORIES, FetchError, Hub, RemoteFile

_LISTING_WORKERS = 4
_RESERVE = 1 << 30  # bytes that stay free
_CHUNK = 64  # files per worker in the queue
_HOPELESS = 2  # failed files in a row, per worker, after which the rest is not tried


def download(
    months: str | None = None,
    dest: Path = Path("climsim"),
    resolution: Literal["low", "high"] = "low",
    kaggle: bool = False,
    workers: int = 8,
    dry_run: bool = False,
) -> None:
    """Download raw ClimSim files (low-res 744 GB in all, about 7 GB a month; high-res 41.2 TB, about 400 GB a month).

    Files that are there with the size that the hub lists are skipped, so that the same command goes on after an
    interruption. Both sets have the months 0001-02 to 0009-01.

    Args:
        months: Months, such as 0001-02:0008-06 or 0008-07,0008-09; none fetches no raw files.
        dest: Folder that receives train/YYYY-MM/*.nc, and the tables in kaggle/.
        resolution: Low: 384 columns in a file, 744 GB in all, about 7 GB a month; high: 21,600 columns in a file,
            41.2 TB in all, about 400 GB a month.
        kaggle: Also fetch train.csv (about 180 GB of text), test.csv and sample_submission.csv with Kaggle's own client,
            which needs the package kaggle, an account's credentials, and the competition's rules accepted.
        workers: Files that are fetched at the same time.
        dry_run: Only list what would be fetched, with sizes.
    """
    if months is None and not kaggle:
        raise DataError("nothing to fetch: give --months (such as 0001-02:0001-03), --kaggle, or both")
    if workers < 1:
        raise DataError(f"--workers must be at least 1, got {workers}")
    if months is not None:
        wanted = [month_name(i) for first, last in parse_months(months) for i in range(first, last + 1)]
        fetch_months(Hub(REPOSITORIES[resolution]), wanted, Path(dest), workers, dry_run)
    if kaggle:
        from datamodules.leap.kaggle_download import fetch_tables

        fetch_tables(Path(dest) / "kaggle", dry_run)


@dataclass(frozen=True)
class MonthPlan:
    """What a month still lacks.

    Args:
        month: ``YYYY-MM``.
        files: All its files.
        missing: Those that are absent or have another size.
    """

    month: str
    files: list[RemoteFile]
    missing: list[RemoteFile]

    def describe(self) -> str:
        """One line for a person."""
        state = "complete" if not self.missing else f"{len(self.missing):,} to fetch, {_bytes(_total(self.missing))}"
        return f"{self.month}: {len(self.files):,} files, {_bytes(_total(self.files))}, {state}"


def fetch_months(hub: Hub, months: list[str], destination: Path, workers: int = 8, dry_run: bool = False) -> None:
    """Bring months to the disk, or say what that would take.

    Args:
        hub: Where from.
        months: ``YYYY-MM``, in order.
        destination: Folder that receives ``train/YYYY-MM/``.
        workers: Files at the same time.
        dry_run: Fetch nothing.

    Raises:
        DataError: a month the hub does not have, too little space, or files that could not be fetched; what did arrive
            stays and is skipped the next time.
    """
    _require_months(hub, months)
    plans = plan_months(hub, months, destination)
    missing = [file for plan in plans for file in plan.missing]
    needed = _total(missing)
    if dry_run or len(plans) <= 12:
        print("\n".join(plan.describe() for plan in plans))
    print(
        f"{hub.repository.name} at {hub.revision[:12]}: {sum(len(plan.files) for plan in plans):,} files, "
        f"{_bytes(sum(_total(plan.files) for plan in plans))}; {len(missing):,} to fetch, {_bytes(needed)}"
    )
    if missing:
        _require_space(destination, needed, fatal=not dry_run)
    if missing and not dry_run:
        _fetch_all(hub, missing, destination, workers)
        print(f"{destination}: complete")


def plan_months(hub: Hub, months: list[str], destination: Path) -> list[MonthPlan]:
    """Compare the hub's listing with what is on the disk, by size."""
    from tqdm import tqdm

    with ThreadPoolExecutor(_LISTING_WORKERS) as pool:
        listings = list(tqdm(pool.map(hub.files, months), total=len(months), desc="listing", unit=" months"))
    return [
        MonthPlan(month, files, [file for file in files if not _is_complete(file, destination)])
        for month, files in zip(months, listings, strict=True)
    ]


def _is_complete(file: RemoteFile, destination: Path) -> bool:
    path = destination / file.path
    return path.is_file() and path.stat().st_size == file.size


def _require_months(hub: Hub, months: list[str]) -> None:
    there = hub.months()
    absent = [month for month in months if month not in there]
    if absent:
        ranges = parse_months(",".join(there)) if there else []
        more = f" (and {len(absent) - 1} more of --months)" if len(absent) > 1 else ""
        raise DataError(
            f"{hub.repository.name} has no month {absent[0]}{more}; it has {format_months(ranges) or 'none'}"
        )


def _require_space(destination: Path, needed: int, fatal: bool) -> None:
    """Refuse what the disk cannot hold before anything is fetched."""
    folder = destination.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed + _RESERVE > free:
        sentence = (
            f"{destination} has {_bytes(free)} free and the files to fetch are {_bytes(needed)}; "
            "choose fewer --months or another --dest"
        )
        if fatal:
            raise DataError(sentence)
        print(f"note: {sentence}")


def _fetch_all(hub: Hub, files: list[RemoteFile], destination: Path, workers: int) -> None:
    """Fetch files side by side under one progress bar in bytes; one that fails does not stop the others."""
    from tqdm import tqdm

    failures: list[FetchError] = []
    in_a_row = 0
    with (
        tqdm(total=_total(files), unit="B", unit_scale=True, desc="downloading") as bar,
        ThreadPoolExecutor(workers) as pool,
    ):
        try:
            for file, failure in _attempts(hub, files, destination, pool, _CHUNK * workers):
                if failure is None:
                    in_a_row = 0
                    bar.update(file.size)
                    continue
                failures.append(failure)
                in_a_row += 1
                if in_a_row >= _HOPELESS * workers:
                    break
        finally:
            hub.stop()  # whatever still runs ends with its present attempt
    incoming = destination / INCOMING
    if incoming.is_dir() and not any(incoming.iterdir()):
        incoming.rmdir()
    if failures:
        raise DataError(
            f"{len(failures):,} of {len(files):,} files could not be fetched, the first was {failures[0]}; "
            "run the same command again, complete files are kept"
        )


def _attempts(
    hub: Hub, files: list[RemoteFile], destination: Path, pool: ThreadPoolExecutor, chunk: int
) -> Iterator[tuple[RemoteFile, FetchError | None]]:
    """Files in order with what went wrong, if anything; not all at once in the pool's queue, they may be 400,000."""

    def attempt(file: RemoteFile) -> FetchError | None:
        try:
            hub.fetch(file, destination)
        except FetchError as error:
            return error
        return None

    for start in range(0, len(files), chunk):
        part = files[start : start + chunk]
        yield from zip(part, pool.map(attempt, part), strict=True)


def _total(files: list[RemoteFile]) -> int:
    return sum(file.size for file in files)


def _bytes(count: float) -> str:
    """A size as a person reads it, in powers of ten."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
