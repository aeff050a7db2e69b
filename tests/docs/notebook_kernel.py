"""What a kernel of the notebooks' test loads first: a line with ``!`` runs as the documents' commands do, small and in this process."""

from __future__ import annotations

from pathlib import Path

from IPython.core.getipython import get_ipython

from tests.docs.shell import run_blocks
from tests.docs.test_commands import call


def install() -> None:
    """Replace the kernel's shell."""
    kernel = get_ipython()
    assert kernel is not None

    def system(command: str) -> None:
        """Raises where a command fails, which a notebook does not."""
        run_blocks([kernel.var_expand(command, depth=1)], Path.cwd(), call)

    kernel.system = system
