"""`bench model push`: upload a trained encoder and its card to the Hugging Face hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.amounts import size
from harness.cli.card import Licence, Run, tell_of_damaged
from harness.cli.options import RESULTS, Json, Results, catalog, open_store, plain, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.reports.cards.facts import Subject
    from harness.reports.cards.files import RepositoryFile
    from harness.reports.cards.upload import Pushed


Repository = Annotated[str, typer.Argument(metavar="REPO", help="OWNER/NAME on the hub; it is made where there is none.")]
Branch = Annotated[
    str | None, typer.Option(metavar="BRANCH", help="Branch to commit to, made where there is none; default: main.")
]


def push_command(
    run: Run,
    repo: Repository,
    private: Annotated[bool, typer.Option("--private", help="Make a repository that only its owner can read.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Upload nothing: show the files. No network, no token.")] = False,
    revision: Branch = None,
    licence: Licence = None,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Upload the encoder that a run fine-tuned, with its card, in one commit.

    The token is that of HF_TOKEN or of `hf auth login`. What goes: weights (safetensors), config (with the names of the
    labels), tokenizer, README.md, .eval_results. Files of the same names in the repository are replaced, others stay.

    --json prints an object with run, repository, revision, private, files (path, bytes), url (of the commit; null with
    --dry-run).
    """
    from harness.reports.cards.facts import subject_of
    from harness.reports.cards.metadata import check_library
    from harness.reports.cards.upload import Pushed, check_names, push
    from harness.running.starts import in_use

    check_library()
    check_names(repo, revision)
    store = open_store(results)
    subject = subject_of(store, store.find(run), catalog())
    tell_of_damaged(subject)
    run_id = subject.entry.run_id
    done = Pushed(repo, None, _files(subject, repo, licence))  # before any talk with the hub: whatever is wrong here shows
    if not dry_run:
        with in_use(subject.folder.parent):
            message = f"Model and card of the run {run_id}"
            done = push(repo, lambda full: _files(subject, full, licence), message, private=private, revision=revision)
    if as_json:
        listed = [{"path": file.path, "bytes": file.size} for file in done.files]
        where = {"repository": done.repository, "revision": revision or "main", "private": private}
        print_json({"run": run_id, **where, "files": listed, "url": done.url})
        return
    _print(done, f"{done.repository}, branch {revision or 'main'}" + (" (private)" if private else ""))


def _print(done: Pushed, where: str) -> None:
    print_table(["file", "size"], [[file.path, size(file.size)] for file in done.files], text=["file"])
    total = f"{len(done.files)} files, {size(sum(file.size for file in done.files))}"
    if done.url is None:
        _print_head(done.files)
        typer.echo(plain(f"Nothing was uploaded: {total} would go to {where}."))
    else:
        typer.echo(plain(f"{total} are now in {where}: {done.url}"))


def _files(subject: Subject, repository: str, licence: str | None) -> list[RepositoryFile]:
    """The card first."""
    from harness.reports.cards.card import make_card
    from harness.reports.cards.files import RepositoryFile, model_files

    card = make_card(subject, repository, licence)
    return [*(RepositoryFile(path, text.encode()) for path, text in card.files.items()), *model_files(subject)]


def _print_head(files: Sequence[RepositoryFile]) -> None:
    """The metadata without the figures, and what the card says first."""
    card = next(file.content for file in files if file.path == "README.md")
    assert isinstance(card, bytes)
    front, _, body = card.decode().partition("\nmodel-index:\n")
    figures, _, body = body.partition("\n---\n")
    typer.echo(plain(f"\nREADME.md begins:\n\n{front}\nmodel-index: ({figures.count('value:')} figures)\n---"))
    typer.echo(plain(body.partition("\n## ")[0]))
