"""`bench model push`: upload a trained encoder and its card to the Hugging Face hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.amounts import size
from harness.cli.card import Licence, Run, read_facts
from harness.cli.options import RESULTS, Json, Results, plain, print_json, print_table

if TYPE_CHECKING:
    from harness.reports.cards.facts import ModelFacts
    from harness.reports.cards.repository import Files, Upload

Repository = Annotated[str, typer.Argument(metavar="REPO", help="OWNER/NAME on the hub; created if it does not exist.")]
Branch = Annotated[
    str | None, typer.Option(metavar="BRANCH", help="Branch to commit to, created if it does not exist; default: main.")
]


def push_command(
    run: Run,
    repo: Repository,
    private: Annotated[bool, typer.Option("--private", help="Create a repository that only its owner can read.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the files and upload nothing; needs no network.")] = False,
    revision: Branch = None,
    licence: Licence = None,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Upload the encoder that a run fine-tuned, with its card, in one commit.

    The token is that of HF_TOKEN or of `hf auth login`. Uploaded are weights (safetensors), config (with the names of the
    labels), tokenizer, README.md and .eval_results. Files of the same names are replaced, others stay.

    --json prints an object with run, repository, revision, private, files (path, bytes), url (of the commit; null with
    --dry-run).
    """
    from harness.reports.cards.metadata import check_library
    from harness.reports.cards.repository import Upload, check_names, upload
    from harness.running.trained_models import in_use

    check_library()
    check_names(repo, revision)
    facts = read_facts(run, results)
    run_id = facts.run.run_id
    done = Upload(repo, None, _files(facts, repo, licence))  # before the hub is asked, so that local problems show first
    if not dry_run:
        with in_use(facts.folder.parent):
            message = f"Model and card of the run {run_id}"
            done = upload(repo, lambda full: _files(facts, full, licence), message, private=private, revision=revision)
    if as_json:
        files = [{"path": path, "bytes": count} for path, count in done.sizes.items()]
        where = {"repository": done.repository, "revision": revision or "main", "private": private}
        print_json({"run": run_id, **where, "files": files, "url": done.url})
        return
    _print(done, f"{done.repository}, branch {revision or 'main'}" + (" (private)" if private else ""))


def _files(facts: ModelFacts, repository: str, licence: str | None) -> Files:
    """The card first."""
    from harness.reports.cards.card import make_card
    from harness.reports.cards.repository import model_files

    card = make_card(facts, repository, licence)
    return {**{path: text.encode() for path, text in card.items()}, **model_files(facts)}


def _print(done: Upload, where: str) -> None:
    print_table(["file", "size"], [[path, size(count)] for path, count in done.sizes.items()], text=["file"])
    total = f"{len(done.files)} files, {size(sum(done.sizes.values()))}"
    if done.url is not None:
        typer.echo(plain(f"Uploaded to {where}: {total}. {done.url}"))
        return
    # Of the card, the metadata without the figures, and its first section.
    card = done.files["README.md"]
    assert isinstance(card, bytes)
    front, _, body = card.decode().partition("\nmodel-index:\n")
    figures, _, body = body.partition("\n---\n")
    typer.echo(plain(f"\nREADME.md begins:\n\n{front}\nmodel-index: ({figures.count('value:')} figures)\n---"))
    typer.echo(plain(body.partition("\n## ")[0]))
    typer.echo(plain(f"Nothing was uploaded. The target is {where}: {total}."))
