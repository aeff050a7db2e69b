"""Runs a document's bash blocks: bash itself expands loops, variables and patterns, and hands every program back to this process.

``python ...`` then runs in this process, where torch is imported already, with flags appended that make it small. What the
document says stays what a user types.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = (
    "python",
    "pip",
    "pytest",
    "torchrun",
    "srun",
    "git",
    "uv",
    "nox",
    "podium",
    "pre-commit",
    "wandb",
    "kaggle_login",
    "docker",
)
Call = Callable[[list[str]], int]


def blocks(document: Path) -> list[str]:
    """The bash blocks of a document, in their order."""
    return re.findall(r"^```bash\n(.*?)^```", document.read_text(), flags=re.DOTALL | re.MULTILINE)


def run_blocks(scripts: Sequence[str], folder: Path, call: Call) -> list[list[str]]:
    """Run blocks in one bash, as a reader would type them; gives all programs called.

    Args:
        scripts: Blocks.
        folder: Working directory.
        call: What is done for a program and its arguments; its result is the exit status.

    Raises:
        AssertionError: A program failed; the message names it.
    """
    functions = "\n".join(
        f'{name}() {{ printf "%q " {name} "$@" >&"$CALL"; printf "\\n" >&"$CALL"; local status; read -r status <&"$DONE"; '
        'return "$status"; }'
        for name in PROGRAMS
    )
    asked, call_end = os.pipe()
    done_end, answer = os.pipe()
    called: list[list[str]] = []
    failed = ""
    with subprocess.Popen(
        ["bash", "-eu", "-c", functions + "\n" + "\n".join(scripts)], cwd=folder, pass_fds=(call_end, done_end),
        env=os.environ | {"CALL": str(call_end), "DONE": str(done_end)},
    ) as bash, os.fdopen(asked) as lines:  # fmt: skip
        os.close(call_end)
        os.close(done_end)
        for line in lines:
            words = shlex.split(line)
            called.append(words)
            try:
                status = call(words)
            except Exception:
                traceback.print_exc()
                status = 1
            if status:
                failed = f"{shlex.join(words)} ended with {status}"
            os.write(answer, f"{status}\n".encode())
        os.close(answer)
    assert not failed, failed
    assert bash.returncode == 0, f"bash ended with {bash.returncode}"
    return called


def python(words: list[str]) -> int:
    """What ``python WORDS`` does, in this process."""
    before = sys.argv, list(sys.path)
    module = words[0] == "-m"
    target, arguments = (words[1], words[2:]) if module else (words[0], words[1:])
    sys.argv = [target, *arguments]
    try:
        if module:
            runpy.run_module(target, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(target, run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    finally:
        sys.argv, sys.path[:] = before
    return 0
