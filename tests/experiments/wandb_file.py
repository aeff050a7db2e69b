"""What W&B wrote on disk: the records of a ``.wandb`` file, a LevelDB log of protocol buffers behind seven bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any


def records(folder: Path) -> Iterator[tuple[str, Any]]:
    """Kind and content of every record of the one offline run below a folder."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    content, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        room = 32_768 - at % 32_768
        if room < 7:
            at += room
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            parsed = wandb_internal_pb2.Record()
            parsed.ParseFromString(record)
            name = parsed.WhichOneof("record_type")
            yield name, getattr(parsed, name)
            record = b""
