"""Upload files to a repository of the Hugging Face hub, in one commit. The token is the library's affair: its environment
variable or its login; it is never an argument and never shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from harness.core.errors import BenchError, RunError, UserError
from harness.reports.cards.files import RepositoryFile

FilesFor = Callable[[str], Sequence[RepositoryFile]]
"""The files for a repository, whose name `OWNER/NAME` stands in them."""

LOG_IN = "Set HF_TOKEN to a token that may write (https://huggingface.co/settings/tokens), or log in: hf auth login."

MOST_SAID = 300
"""Characters of what a server says of an error."""


@dataclass(frozen=True)
class Pushed:
    """`url` is that of the commit, None where none was made; `files` are what it holds, or would."""

    repository: str
    url: str | None
    files: Sequence[RepositoryFile]


def check_names(repository: str, revision: str | None) -> None:
    """Raises `UserError` for what can't be the name of a repository, or of a branch. No network."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        reason = str(error).splitlines()[0].partition(": '")[0].rstrip(".:")  # what follows is the name again
        raise UserError(f"{repository!r} can't be the name of a repository: {reason}.", "Write OWNER/NAME.") from error
    if revision is not None and (
        not revision.strip() or revision != revision.strip() or any(c in revision for c in " ~^:?*[\\")
    ):
        raise UserError(f"--revision {revision!r} can't be the name of a branch.", "Write a name such as main or v2.")


def push(repository: str, files_for: FilesFor, message: str, *, private: bool, revision: str | None) -> Pushed:
    """Make the repository where there is none, the branch likewise, and commit the files.

    Raises `UserError` for a missing or refused token, a name that is not the user's, and `private` for a repository that
    everybody can read; `RunError` where the hub can't be reached or refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    api = HfApi()
    with _named(repository):
        if get_token() is None:
            raise UserError("There is no token for the Hugging Face hub on this machine.", LOG_IN)
        # None, and not False: whether new repositories are private is else for their owner's settings to say.
        full = api.create_repo(repository, private=private or None, repo_type="model", exist_ok=True).repo_id
        if private and not api.model_info(full).private:
            raise UserError(
                f"{full} is there already, and everybody can read it; nothing was uploaded.",
                "Make it private on the hub, name another one, or leave out --private.",
            )
        if revision is not None and revision != "main":
            api.create_branch(full, branch=revision, exist_ok=True)
        files = files_for(full)
        operations = [CommitOperationAdd(path_in_repo=file.path, path_or_fileobj=file.content) for file in files]
        commit = api.create_commit(full, operations, commit_message=message, repo_type="model", revision=revision)
    return Pushed(full, str(commit.commit_url), files)


@contextmanager
def _named(repository: str) -> Iterator[None]:
    """The library's errors as ours."""
    try:
        yield
    except BenchError:
        raise
    except Exception as error:  # HTTP library, file system and Rust uploader each raise errors of their own
        raise _as_ours(repository, error) from error


def _as_ours(repository: str, error: Exception) -> BenchError:
    # HTTPError comes from here because the library below is httpx or httpx2, by the version of huggingface_hub.
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        HfHubHTTPError,
        HTTPError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    if isinstance(error, LocalTokenNotFoundError):
        return UserError("There is no token for the Hugging Face hub on this machine.", LOG_IN)
    if isinstance(error, OfflineModeIsEnabled):
        return UserError("HF_HUB_OFFLINE is set, so nothing can be uploaded.", "Unset it, or look with --dry-run.")
    if isinstance(error, HfHubHTTPError):
        return _refused(repository, error.response.status_code, _said(error))
    if isinstance(error, HTTPError | ConnectionError | TimeoutError):
        return RunError(
            f"The connection to the Hugging Face hub failed while {repository} was to get its files.",
            "Try again: what is there already is not sent twice. (--dry-run needs no connection.)",
        )
    return RunError(f"The upload to {repository} failed: {_safe(str(error) or type(error).__name__)}.", "Try again.")


def _refused(repository: str, status: int, said: str) -> BenchError:
    if status == 401:
        return UserError("The Hugging Face hub does not know the token of this machine (401).", LOG_IN)
    if status in (403, 404):
        return UserError(
            f"The token of this machine may not write to {repository} ({status}).",
            "Name a repository of your own or of your organisation. " + LOG_IN,
        )
    return RunError(
        f"The Hugging Face hub refused the upload to {repository} ({status}): {_safe(said)}.", "Mend that, or try later."
    )


def _said(error: Any) -> str:
    return str(getattr(error, "server_message", None) or error)


def _safe(text: str) -> str:
    """In a line, without the token should a server have sent it back."""
    from huggingface_hub import get_token

    line, token = " ".join(text.split()), get_token()
    line = (line.replace(token, "***") if token else line).rstrip(".")
    return line if len(line) <= MOST_SAID else f"{line[:MOST_SAID]} ..."
