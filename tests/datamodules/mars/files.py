"""A tiny data set in the competition's layout."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

CLASSES = ("acid", "mineral", "alcohol")


def write_run(path: Path, seed: int = 0, scans: int = 20, masses: int = 30, peak: int = 18) -> str:
    """A random run whose strongest ion is ``peak``; returns the md5."""
    random = np.random.default_rng(seed)
    lines = ["time,mass,intensity"]
    for scan in range(scans):
        for mass in range(1, masses):
            count = random.integers(500, 900) + (100_000 if mass == peak and scan == scans // 2 else 0)
            lines.append(f"{1.5 + scan * 0.01:.6f},{mass + random.normal(0, 0.05):.6f},{count}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_data_set(folder: Path, train: int = 20, val: int = 4, test: int = 3, seed: int = 0) -> Path:
    """metadata.csv, labels, submission_format.csv and features; class c shows at m/z 10 + 5 c."""
    random = np.random.default_rng(seed)
    metadata = ["sample_id,split,derivatized,features_path,features_md5_hash"]
    tables: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for i in range(train + val + test):
        split = "train" if i < train else "val" if i < train + val else "test"
        name = f"S{i:04d}"
        labels = [int(i % 3 == 0), int(i % 3 == 1), int(random.random() < 0.4)]
        peak = 10 if labels[0] else 15 if labels[1] else 20
        md5 = write_run(folder / f"{split}_features" / f"{name}.csv", seed=1000 * seed + i, peak=peak)
        metadata.append(f"{name},{split},{'1' if i % 4 == 0 else ''},{split}_features/{name}.csv,{md5}")
        tables[split].append(f"{name}," + ",".join(map(str, labels)))
    header = "sample_id," + ",".join(CLASSES)
    (folder / "metadata.csv").write_text("\n".join(metadata) + "\n")
    for split in ("train", "val"):
        (folder / f"{split}_labels.csv").write_text("\n".join([header, *tables[split]]) + "\n")
    asked = [f"{row.split(',')[0]},0.5,0.5,0.5" for split in ("val", "test") for row in tables[split]]
    (folder / "submission_format.csv").write_text("\n".join([header, *asked]) + "\n")
    return folder
