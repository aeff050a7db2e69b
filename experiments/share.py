"""Share a trained model: a folder or a Hugging Face repository of weights, exported program, model card and checksums.

Others read it with ``predict.py --run FOLDER`` or ``--run hf://user/name``; see docs/export.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.engine.command import run_command


@dataclass
class Request:
    """What to share, and where.

    Args:
        run: Run directories (``runs/<experiment>/<variant>/seed<S>/fold<F>``), one or more folds and seeds of a variant.
        to: New folder, or ``hf://user/name``: a repository that is made private where there is none (needs HF_TOKEN).
        checkpoint: best, last, or epoch<N> of runs with --train.keep_epochs.
    """

    run: list[Path]
    to: str
    checkpoint: str = "best"


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``python experiments/share.py``."""
    from experiments.evaluate import one_list

    run_command(Request, share, "python experiments/share.py", __doc__, one_list(argv))


def share(request: Request) -> None:
    """Rebuild the tasks, write the folder whole or not at all, and upload it where a repository is named.

    Raises:
        DataError: No usable checkpoint, runs that do not belong together, a folder that is not empty, a Hub that refuses.
    """
    import tempfile

    from datamodules.commands import announced
    from datamodules.errors import DataError
    from datamodules.files import atomic_path
    from experiments.engine.pretrained import HubName
    from experiments.engine.run_directory import must_exist

    must_exist(*request.run)  # before torch is imported
    name, folder = HubName.read(request.to), Path(request.to)
    if name is not None and name.member:
        raise DataError(f"{request.to} names a model in a repository; give hf://user/name")
    if name is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is there already; give a new folder")
    from experiments.engine.inference import load_task
    from experiments.engine.sharing import upload, write_shared
    from experiments.engine.trainer import quiet_libraries

    quiet_libraries()
    trained = [load_task(run, request.checkpoint) for run in request.run]
    what = f"{len(trained)} model{'s' if len(trained) > 1 else ''} of {trained[0].experiment.name}"
    if name is None:
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            with announced("exporting, and writing the model card"):
                write_shared(trained, temporary, folder.name)
        print(f"{folder}: {what}")
        return
    with tempfile.TemporaryDirectory(prefix="podium-") as place:
        with announced("exporting, and writing the model card"):
            write_shared(trained, Path(place), f"hf://{name.name}")
        print(f"{upload(Path(place), name)}: {what}")


if __name__ == "__main__":
    main()
