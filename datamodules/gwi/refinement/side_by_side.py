"""Many descents at once: each asks for a simulation at a time, and the simulations of all are one batch.

One map has five shots, which leave most cores and nearly all of a GPU idle.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from datamodules.gwi.refinement.descent import Descent, Refined, descend
from datamodules.gwi.refinement.misfit import Fit, Misfit, Trial, evaluate
from datamodules.gwi.refinement.priors import Prior


@dataclass(frozen=True)
class Job:
    """One map to refine.

    Attributes:
        row: Row of the caller.
        velocity: The map as it came, ``(depth, columns)`` in m/s.
        misfit: Misfit of its gathers.
        prior: Prior of its family.
        begin: Where to begin, if other steps have moved it already.
    """

    row: int
    velocity: npt.NDArray[np.floating]
    misfit: Misfit
    prior: Prior
    begin: npt.NDArray[np.floating] | None = None


@dataclass
class _Running:
    """A descent and the map that it wants to be tried, or its result."""

    job: Job
    descent: Generator[Trial, Fit, Refined]
    wants: Trial
    result: Refined | None = None

    @classmethod
    def start(cls, job: Job, settings: Descent) -> _Running:
        descent = descend(job.velocity, job.prior, settings, job.begin)
        return cls(job, descent, next(descent))

    def go_on(self, fit: Fit) -> None:
        try:
            self.wants = self.descent.send(fit)
        except StopIteration as end:
            self.result = end.value


def refine_maps(
    jobs: Iterable[Job], settings: Descent, at_once: int, watch: Callable[[int, Fit], None] | None = None
) -> Iterator[tuple[int, Refined]]:
    """Refine maps, several at once; each comes out as it would alone.

    Args:
        jobs: Taken one by one, as others end.
        settings: Settings of every descent.
        at_once: Descents side by side.
        watch: Is told the row of a job and how what it tried fits.

    Yields:
        The row of a job and its result, in the order in which they end.
    """
    waiting = iter(jobs)
    running: list[_Running] = []
    with ThreadPoolExecutor(at_once, thread_name_prefix="descent") as pool:
        while True:
            running += [_Running.start(job, settings) for job in islice(waiting, at_once - len(running))]
            if not running:
                return
            fits = evaluate([one.job.misfit for one in running], [one.wants for one in running])
            if watch is not None:
                for one, fit in zip(running, fits, strict=True):
                    watch(one.job.row, fit)
            list(pool.map(_Running.go_on, running, fits))
            yield from ((one.job.row, one.result) for one in running if one.result is not None)
            running = [one for one in running if one.result is None]
