"""Jobs are submitted once, watched, and submitted again where they were lost; a command that is left and called again goes on watching."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from datamodules.errors import DataError
from datamodules.signals import Stopped
from experiments.engine.launch import job as jobs
from experiments.engine.launch.engines import Engine, Seen, by_kind
from experiments.engine.launch.job import Job, Record, Status
from experiments.engine.launch.settings import Launch
from experiments.engine.launch.table import ENDED, LiveTable, Watched
from experiments.engine.run_directory import RunDirectory


class Launcher:
    """Runs a plan of jobs.

    Args:
        out: Folder of runs; the jobs' records lie in ``launch/`` there.
        settings: The ``--launch.*`` flags.
        engine: Where jobs run.
    """

    def __init__(self, out: Path, settings: Launch, engine: Engine) -> None:
        self.folder = Path(out).absolute() / "launch"
        self._settings, self._engine = settings, engine
        self._lost: set[str] = set()

    def run(self, plan: Sequence[Job]) -> bool:
        """Submit what is missing, and watch until all jobs have ended (or leave at once, with ``--launch.wait false``).

        Args:
            plan: Jobs, those that others wait for first.

        Returns:
            Whether all are done; false where it leaves before.

        Raises:
            DataError: jobs failed for good; what is done stays so, and the same command submits the rest.
            Stopped: left with Ctrl-C or another signal; the jobs go on.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._forget(plan)
        watched = [Watched(job, self.folder / job.key) for job in plan]
        table = LiveTable(watched)
        try:
            with table:
                while True:
                    self.step(watched)
                    table.show()
                    if all(one.state in ENDED for one in watched):
                        break
                    if not self._settings.wait and not any(one.state == "waiting" for one in watched):
                        print(f"{len(watched)} jobs submitted; the same command shows them")
                        return False
                    time.sleep(self._settings.poll_seconds)
        except (KeyboardInterrupt, Stopped) as stop:
            left = sum(one.state in ("queued", "running") for one in watched)
            signum = stop.signum if isinstance(stop, Stopped) else signal.SIGINT
            raise Stopped(signum, f"{left} jobs go on; the same command picks them up") from None
        self._refuse_failures(watched)
        return True

    def step(self, watched: Sequence[Watched]) -> None:
        """Look once at all jobs, and submit those that can be."""
        with FileLock(self.folder / ".lock"):
            records = {one.job.key: r for one in watched if (r := jobs.read(one.folder, Record)) is not None}
            statuses = {one.job.key: s for one in watched if (s := jobs.read(one.folder, Status)) is not None}
            seen = self._engine.see(records, statuses)
            if seen is None:
                return  # the scheduler does not answer: what was known stays
            for one in watched:
                self._judge(one, records.get(one.job.key), statuses.get(one.job.key), seen)
            self._submit(watched, records)

    def cancel(self, one: Watched, note: str) -> None:
        """End a job for good."""
        if one.id:
            self._engine.cancel(one.id)
        one.state, one.note = "cancelled", note

    def _forget(self, plan: Sequence[Job]) -> None:
        """A command given again tries again what had failed for good; one whose jobs are all done begins anew.

        Beginning anew costs little: the commands themselves skip what is there.
        """
        with FileLock(self.folder / ".lock"):
            found = {job.key: jobs.read(self.folder / job.key, Status) for job in plan}
            anew = all(status is not None and status.phase == "done" for status in found.values())
            for key, status in found.items():
                if status is not None and (status.phase == "failed" or anew):
                    for name in ("status.json", "job.json"):
                        (self.folder / key / name).unlink(missing_ok=True)

    def _judge(self, one: Watched, record: Record | None, status: Status | None, seen: dict[str, Seen]) -> None:
        if one.state in ("done", "failed", "cancelled"):
            return
        mine = status if record is not None and status is not None and status.token == record.token else None
        one.starts = status.starts if status else 0
        place = seen.get(record.token) if record is not None else None
        if _is_done(one.job, mine):
            one.state, one.note = "done", ""
        elif place is not None and not (mine and mine.phase == "failed"):
            one.state, one.id, one.note = place.phase, place.id, place.why
            self._lost.discard(one.job.key)
        elif mine is not None and mine.phase == "failed":
            one.state, one.id, one.note = "failed", mine.id, mine.error
        elif record is None or self._is_lost(one.job.key):
            one.state, one.note = "waiting", mine.error if mine else ""
            if one.starts > self._settings.requeues:
                one.state, one.note = "failed", one.note or f"was started {one.starts} times and did not finish"
        elif one.state == "waiting":
            one.state = "queued"  # gone at the first look of this command: it may have ended just now

    def _is_lost(self, key: str) -> bool:
        """Whether a job is gone for the second time one looks: a shared file system shows its status late."""
        if key in self._lost:
            self._lost.discard(key)
            return True
        self._lost.add(key)
        return False

    def _submit(self, watched: Sequence[Watched], records: dict[str, Record]) -> None:
        state = {one.job.key: one for one in watched}
        running = [records[one.job.key] for one in watched if one.state == "running" and one.job.key in records]
        room = self._engine.room(len(running), running)
        waits_itself = self._settings.engine == "slurm"
        ready: list[Job] = []
        dependencies: dict[str, tuple[str, ...]] = {}
        for one in watched:  # those that others wait for come first
            before = [state[key] for key in one.job.after if key in state and state[key].state != "done"]
            if any(other.state in ("failed", "blocked") for other in before):
                if one.state in ("waiting", "queued"):
                    one.state, one.note = "blocked", f"waits for {before[0].job.key}"
                continue
            if one.state != "waiting" or len(ready) >= room:
                continue
            submitted = all(other.state in ("queued", "running") and other.id for other in before)
            if submitted if waits_itself else not before:
                ready.append(one.job)
                dependencies[one.job.key] = tuple(sorted(other.id for other in before))
        for group in by_kind(ready, dependencies):
            folders = [(job, self.folder / job.key) for job in group]
            for _, folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            self._engine.submit(folders, dependencies[group[0].key], running)
            for job in group:
                state[job.key].state = "queued"
            if not waits_itself:
                running += [r for _, folder in folders if (r := jobs.read(folder, Record)) is not None]

    def _refuse_failures(self, watched: Sequence[Watched]) -> None:
        failed = [one for one in watched if one.state == "failed"]
        if failed:
            first = failed[0]
            raise DataError(
                f"{len(failed)} of {len(watched)} jobs failed, the first {first.job.key}: {first.note} ({first.folder / 'log'}); "
                "mend the cause and give the same command again, what is done stays so"
            )


def _is_done(job: Job, status: Status | None) -> bool:
    if status is None or status.phase != "done":
        return False
    return job.run is None or RunDirectory(job.run).is_finished
