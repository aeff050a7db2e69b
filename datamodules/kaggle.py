"""Kaggle: where a session keeps a competition's files, and submissions through Kaggle's own client (extra ``kaggle``).

A file is compared with the judge's sample submission before anything is sent. The client signs in by itself: a token in
``KAGGLE_API_TOKEN``, ``KAGGLE_USERNAME`` and ``KAGGLE_KEY``, ``~/.kaggle``, or the session of a Kaggle notebook.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from datamodules.errors import DataError, UsageError, nearest_name

COMPETITIONS = ("leap-atmospheric-physics-ai-climsim", "lish-moa", "waveform-inversion")
"""The competitions of this project that are Kaggle's; Mars is DrivenData's."""

_PLACES = ("/kaggle/input", "/kaggle/input/competitions", "/content", ".")
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 20.0  # seconds between two looks for a score


@dataclass(kw_only=True)
class Submit:
    """Flags of a command that writes a submission.

    Args:
        submit: Kaggle competition to send the submission to, such as lish-moa (pip install "podium[kaggle]"); it is first
            compared with the sample submission of --template.
        message: Description of the submission on Kaggle; default: the name of the file.
        wait: Seconds to wait for the score, 0 = do not wait.
    """

    submit: str | None = None
    message: str | None = None
    wait: float = 600.0

    def __post_init__(self) -> None:
        if self.wait < 0:
            raise ValueError(f"--wait is a time in seconds, got {self.wait:g}")


def data_folder(name: str) -> Path | None:
    """Where a Kaggle or Colab session, or the working directory, keeps the files of a competition or a data set.

    Args:
        name: Last part of its address, such as ``lish-moa``.

    Returns:
        The folder, None where there is none.
    """
    return next((folder for place in _PLACES if (folder := Path(place, name)).is_dir()), None)


class Competition:
    """A competition that this account may submit to.

    Args:
        settings: ``settings.submit`` is its name.

    Raises:
        DataError: no client, no credentials, no such competition, or Kaggle cannot be reached.
    """

    def __init__(self, settings: Submit) -> None:
        self.settings, self.name = settings, settings.submit or ""
        self._api = signed_in()
        with self._refusals():
            self._submissions()  # whoever may list may send

    def send(self, path: Path, template: Path) -> str | None:
        """Check a file, send it, and print its score when it comes.

        Args:
            path: The submission.
            template: The judge's sample submission.

        Returns:
            The public score as Kaggle writes it, None where it did not come in time.

        Raises:
            DataError: the file does not fit the sample (nothing is sent then), or Kaggle refuses it.
        """
        from datamodules.banks.check import check_submission  # pandas, which --help does without

        rows = check_submission(path, template)
        print(f"sending {rows:,} rows ({path.stat().st_size / 1e6:,.1f} MB) to {self.name} ...", flush=True)
        said = io.StringIO()
        with self._refusals(), contextlib.redirect_stdout(said):
            answer = self._api.competition_submit(str(path), self.settings.message or path.name, self.name, quiet=True)
        if not (ref := getattr(answer, "ref", 0)):
            words = f"{said.getvalue()} {getattr(answer, 'message', answer)}".strip()
            raise DataError(f"Kaggle did not take {path} ({words}); nothing was submitted, send it again")
        print(f"submission {ref}: https://www.kaggle.com/competitions/{self.name}/submissions", flush=True)
        return self._score(ref) if self.settings.wait > 0 else None

    def _score(self, ref: int) -> str | None:
        end, pause = time.monotonic() + self.settings.wait, _FIRST_PAUSE
        while True:
            found = None
            with contextlib.suppress(OSError):  # a look that fails is followed by another one
                found = next((one for one in self._submissions() if one.ref == ref), None)
            if found is not None and found.status.name == "COMPLETE":
                private = f", private score {found.private_score}" if found.private_score else ""
                print(f"public score {found.public_score or 'not shown'}{private}")
                return found.public_score or None
            if found is not None and found.status.name == "ERROR":
                words = " ".join((found.error_description or "it does not say why").split())
                raise DataError(f"Kaggle could not score submission {ref}: {words}")
            if time.monotonic() + pause > end:
                print(f"no score after {self.settings.wait:g} s; Kaggle goes on, and the page above will show it")
                return None
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE)

    def _submissions(self) -> list[Any]:
        """The newest ones of this account."""
        return [one for one in self._api.competition_submissions(self.name) or [] if one is not None]

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        """Say in one sentence what the client's exceptions mean."""
        try:
            yield
        except OSError as error:  # those of requests are
            raise DataError(self._meaning(error)) from None

    def _meaning(self, error: OSError) -> str:
        status = getattr(getattr(error, "response", None), "status_code", None)
        page = f"https://www.kaggle.com/competitions/{self.name}"
        if status is None:
            return _unreachable(error)
        if status == 401:
            return "Kaggle refuses these credentials; make a new API token in your account's settings"
        if status == 404:
            near = nearest_name(self.name, COMPETITIONS)
            hint = f"did you mean {near}?" if near and near != self.name else "it is the last part of its address"
            return f"Kaggle knows no competition {self.name!r}; {hint}"
        if status == 403:
            return (
                f"Kaggle does not let this account submit to {self.name}: accept the rules on {page}/rules; a competition that "
                "takes notebooks only wants one that writes the file"
            )
        return f"Kaggle did not take the submission to {self.name} ({error}); see {page}/submissions"


def open_competition(settings: Submit, template: Path | None) -> Competition | None:
    """Sign in before any work is done, so that what cannot be sent is said at once.

    Args:
        settings: Flags.
        template: The judge's sample submission.

    Returns:
        None where nothing is to be sent.

    Raises:
        DataError: as :class:`Competition`, or there is no sample submission to compare with.
    """
    if settings.submit is None:
        if settings.message is not None:
            raise UsageError("--message describes a submission on Kaggle; give --submit COMPETITION too")
        return None
    if template is None:
        raise UsageError(f"--submit {settings.submit} wants the judge's sample submission, to compare with: --template")
    if not template.is_file():
        raise DataError(f"{template} does not exist; --template is the judge's sample submission")
    return Competition(settings)


def signed_in() -> Any:
    """Kaggle's client, signed in; it asks Kaggle only where the credentials are a token.

    Raises:
        DataError: no client, no credentials, or Kaggle cannot be reached.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pages of help, where there are no credentials
            from kaggle.api.kaggle_api_extended import KaggleApi

            api = KaggleApi()
            api.authenticate()
    except ImportError as error:
        raise DataError(f'Kaggle\'s client is not installed ({error}): pip install "podium[kaggle]"') from None
    except (OSError, SystemExit) as error:
        if getattr(error, "request", None) is not None:  # it asked, and got no answer
            raise DataError(_unreachable(error)) from None
        raise DataError(
            "Kaggle's client has no credentials: make an API token in your Kaggle account's settings and set KAGGLE_API_TOKEN "
            "to it, or run `kaggle auth login`"
        ) from None
    return api


def _unreachable(error: BaseException) -> str:
    host = urlsplit(getattr(getattr(error, "request", None), "url", None) or "https://api.kaggle.com").hostname
    return f"Kaggle cannot be reached at {host} ({type(error).__name__}); is the session's internet on?"
