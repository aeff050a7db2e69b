"""The launcher on real engines, with commands that take no time: what is submitted, when, and how often."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from datamodules.errors import DataError
from datamodules.files import write_json
from experiments.engine.launch import job as jobs
from experiments.engine.launch.engines import Local, Seen, Slurm
from experiments.engine.launch.job import Job, Record, Status, is_alive, write
from experiments.engine.launch.launcher import Launcher
from experiments.engine.launch.settings import Launch, spell_out
from experiments.engine.launch.table import Watched

ENGINES = ["local", pytest.param("slurm", marks=pytest.mark.slurm)]


@pytest.fixture(params=ENGINES)
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Launcher]:
    """Makes a launcher on the engine of the test."""
    if request.param == "slurm":
        request.getfixturevalue("slurm")

    def make(**settings: object) -> Launcher:
        flags = Launch(engine=request.param, **{"parallel": 2, "poll_seconds": 0.3, "requeues": 2, **settings})  # type: ignore[arg-type]
        engine = (
            Slurm(flags, tmp_path / "batches") if request.param == "slurm" else Local(flags, tmp_path / "launch", [], 0)
        )
        return Launcher(tmp_path, flags, engine)

    return make


def shell(key: str, script: str, after: tuple[str, ...] = (), run: Path | None = None) -> Job:
    return Job(key, ("bash", "-c", script), after, run)


def status(folder: Path, key: str) -> Status:
    found = jobs.read(folder / "launch" / key, Status)
    assert isinstance(found, Status)
    return found


def wait_for(path: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)


def test_jobs_run_once_and_in_the_order_of_their_dependencies(start: Callable[..., Launcher], tmp_path: Path) -> None:
    log = tmp_path / "order"
    first = [shell(f"a/{i}", f"sleep 1; echo first >> {log}") for i in range(3)]
    second = shell("b/0", f"echo second >> {log}", after=tuple(job.key for job in first))
    start().run([*first, second])
    assert log.read_text().split() == ["first", "first", "first", "second"]


def test_the_command_sees_no_slurm_and_its_own_folder(start: Callable[..., Launcher], tmp_path: Path) -> None:
    start().run([shell("a", f"env > {tmp_path}/env; pwd > {tmp_path}/pwd")])
    assert "SLURM_" not in (tmp_path / "env").read_text().replace("SLURM_CONF", "")
    assert (tmp_path / "pwd").read_text().strip() == str(Path.cwd())


def test_a_crash_is_started_again_and_goes_on_where_it_stood(start: Callable[..., Launcher], tmp_path: Path) -> None:
    mark = tmp_path / "checkpoint"
    start().run([shell("a", f"echo x >> {mark}; [ $(wc -l < {mark}) -ge 2 ] || exit 7")])
    assert mark.read_text() == "x\nx\n"


def test_crashes_are_bounded_and_named(start: Callable[..., Launcher], tmp_path: Path) -> None:
    count = tmp_path / "count"
    bad = shell("a", f"echo x >> {count}; echo 'RuntimeError: out of memory' >&2; exit 1")
    with pytest.raises(DataError, match=r"1 of 2 jobs failed, the first a: RuntimeError: out of memory .*launch/a/log"):
        start().run([bad, shell("b", f"touch {tmp_path}/b", after=("a",))])
    assert count.read_text() == "x\n" * 3  # once, and two requeues
    assert not (tmp_path / "b").exists()


def test_bad_input_is_not_tried_again_until_the_command_is_given_again(
    start: Callable[..., Launcher], tmp_path: Path
) -> None:
    count, good = tmp_path / "count", tmp_path / "good"
    command = shell("a", f"echo x >> {count}; [ -e {good} ] || {{ echo 'error: no such file'; exit 1; }}")
    with pytest.raises(DataError, match="error: no such file"):
        start().run([command])
    assert count.read_text() == "x\n"
    good.touch()
    start().run([command])
    assert count.read_text() == "x\n" * 2


def test_left_and_called_again_it_picks_its_jobs_up(start: Callable[..., Launcher], tmp_path: Path) -> None:
    log, go = tmp_path / "log", tmp_path / "go"
    plan = [shell(f"a/{i}", f"echo {i} >> {log}; until [ -e {go} ]; do sleep 0.1; done") for i in range(2)]
    start(wait=False).run(plan)
    wait_for(log)
    launcher = start()
    threading.Timer(3, go.touch).start()
    launcher.run(plan)
    assert sorted(log.read_text().split()) == ["0", "1"]


def test_two_commands_at_once_submit_a_job_once(start: Callable[..., Launcher], tmp_path: Path) -> None:
    log = tmp_path / "log"
    plan = [shell(f"a/{i}", f"echo {i} >> {log}; sleep 2") for i in range(3)]
    threads = [threading.Thread(target=start().run, args=(plan,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(log.read_text().split()) == ["0", "1", "2"]


def test_a_job_is_done_only_when_its_run_is_finished(start: Callable[..., Launcher], tmp_path: Path) -> None:
    record = tmp_path / "run" / "run.json"
    script = f"[ -e {tmp_path}/once ] && cp {tmp_path}/finished.json {record}; touch {tmp_path}/once"
    write_json(tmp_path / "finished.json", {"status": "finished"})
    record.parent.mkdir()
    start().run([shell("a", script, run=record.parent)])
    assert record.is_file()


def test_a_killed_job_is_submitted_again(tmp_path: Path) -> None:
    """kill -9 of a local job's processes: nobody is left to say what became of it."""
    flags = Launch(engine="local", poll_seconds=0.2, requeues=2)
    mark = tmp_path / "mark"
    plan = [shell("a", f"echo $$ >> {mark}; [ $(wc -l < {mark}) -ge 2 ] || sleep 600")]
    thread = threading.Thread(
        target=Launcher(tmp_path, flags, Local(flags, tmp_path / "launch", [], 0)).run, args=(plan,)
    )
    thread.start()
    wait_for(mark)
    os.killpg(os.getpgid(int(mark.read_text())), signal.SIGKILL)
    thread.join(60)
    assert not thread.is_alive()
    assert len(mark.read_text().split()) == 2


def test_a_job_that_was_submitted_twice_runs_once_at_a_time(tmp_path: Path) -> None:
    """Clocks that are set, or a file system that shows a status late, may make a launcher take a living job for a lost one."""
    folder = tmp_path / "launch" / "a"
    folder.mkdir(parents=True)
    script = f"mkdir {tmp_path}/mine || exit 2; echo x >> {tmp_path}/mark; sleep 1; rmdir {tmp_path}/mine"
    write(folder, Record(["bash", "-c", script], str(tmp_path), "local", "token", requeues=0))
    command = [sys.executable, "-m", "experiments.engine.launch.job", str(folder)]
    twice = [subprocess.Popen(command)]
    wait_for(tmp_path / "mark")
    assert is_alive(folder)
    twice.append(subprocess.Popen(command))
    assert [one.wait(60) for one in twice] == [0, 0]
    assert (tmp_path / "mark").read_text() == "x\nx\n"
    assert not is_alive(folder)


def test_a_job_that_ends_while_a_new_command_looks_is_not_submitted_again(tmp_path: Path) -> None:
    class Blind(Local):
        """The job was gone when its process was looked for, and had not said so when its status was read."""

        submitted = 0

        def see(self, records: Mapping[str, Record], statuses: Mapping[str, Status]) -> dict[str, Seen]:
            return {}

        def submit(self, folders: Sequence[tuple[Job, Path]], after: Sequence[str], running: Sequence[Record]) -> None:
            self.submitted += len(folders)

    flags = Launch(engine="local")
    engine = Blind(flags, tmp_path / "launch", [], 0)
    launcher, one = Launcher(tmp_path, flags, engine), Watched(shell("a", "true"), tmp_path / "launch" / "a")
    one.folder.mkdir(parents=True)
    write(one.folder, Record(["true"], str(tmp_path), "local", "token", requeues=3))
    write(one.folder, Status("token", starts=1))
    launcher.step([one])
    assert (one.state, engine.submitted) == ("queued", 0)
    write(one.folder, Status("token", starts=1, phase="done", exit_status=0))
    launcher.step([one])
    assert (one.state, engine.submitted) == ("done", 0)
    write(one.folder, Status("token", starts=1))  # but one that says nothing at the second look either was lost
    again = Watched(one.job, one.folder)
    launcher.step([again])
    launcher.step([again])
    assert engine.submitted == 1


@pytest.mark.slurm
@pytest.mark.parametrize("how", ["scancel", "requeue", "warned"])
def test_slurm_ends_a_job_and_it_goes_on(slurm: dict[str, str], tmp_path: Path, how: str) -> None:
    """Cancelled it is submitted anew, requeued or out of time it keeps its id; each time the command is given again."""
    flags = Launch(engine="slurm", poll_seconds=0.3, requeues=2)
    mark = tmp_path / "mark"
    plan = [
        shell("a/0", f"echo x >> {mark}; [ $(wc -l < {mark}) -ge 2 ] || sleep 600"),
        shell("b/0", f"touch {tmp_path}/after", after=("a/0",)),
    ]
    thread = threading.Thread(target=Launcher(tmp_path, flags, Slurm(flags, tmp_path / "batches")).run, args=(plan,))
    thread.start()
    wait_for(mark)
    job = status(tmp_path, "a/0").id
    command = {
        "scancel": ["scancel", job],
        "requeue": ["scontrol", "requeue", job],
        "warned": ["scancel", "--signal=USR1", job],
    }[how]
    subprocess.run(command, check=True)
    thread.join(120)
    assert not thread.is_alive()
    assert mark.read_text() == "x\nx\n"
    assert (tmp_path / "after").exists()


def test_gpus_are_shared_out(tmp_path: Path) -> None:
    flags = Launch(engine="local", poll_seconds=0.2)
    plan = [shell(f"a/{i}", f"echo $CUDA_VISIBLE_DEVICES > {tmp_path}/{i}; sleep 2") for i in range(3)]
    launcher = Launcher(tmp_path, flags, Local(flags, tmp_path / "launch", ["4", "5", "6", "7"], 2))
    launcher.run(plan)
    first = {(tmp_path / str(i)).read_text().strip() for i in range(2)}
    assert first == {"4,5", "6,7"}
    assert (tmp_path / "2").read_text().strip() in first


def test_ctrl_c_leaves_the_jobs_alone(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from experiments.engine.launch.engines import Local
from experiments.engine.launch.job import Job
from experiments.engine.launch.launcher import Launcher
from experiments.engine.launch.settings import Launch
flags = Launch(engine="local", poll_seconds=0.2)
script = "echo begun > {tmp_path}/begun; sleep 3; echo done > {tmp_path}/done"
from datamodules.signals import ending_with_status
with ending_with_status():
    Launcher(Path("{tmp_path}"), flags, Local(flags, Path("{tmp_path}") / "launch", [], 0)).run([Job("a", ("bash", "-c", script))])
"""
    command = subprocess.Popen(
        [sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for(tmp_path / "begun")
    os.killpg(command.pid, signal.SIGINT)  # as a terminal does: to all processes of its group
    _, output = command.communicate(timeout=20)
    assert command.returncode == 130
    assert "1 jobs go on" in output
    wait_for(tmp_path / "done", 20)


def test_the_short_form_names_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cluster.yaml").touch()
    given = ["--launch", "slurm", "--launch=local", "--launch", "cluster.yaml", "--fold", "all"]
    assert spell_out(given) == [
        "--launch.engine", "slurm", "--launch.engine=local", "--launch", "cluster.yaml", "--fold", "all",
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"--launch takes none, local, slurm or a YAML file .*, got 'slrum'"):
        spell_out(["--launch", "slrum"])
