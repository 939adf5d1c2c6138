"""`bench model card`: a model card for a fine-tuned encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import RESULTS, Json, Results, catalog, open_store, plain, print_json

if TYPE_CHECKING:
    from harness.reports.cards.card import Card
    from harness.reports.cards.facts import Subject

Licence = Annotated[
    str | None,
    typer.Option(
        "--licence", metavar="ID", help="Licence of the model, as the hub calls it (apache-2.0); default: the base's."
    ),
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, or a part that only it has: the digits at the end.")]


def card_command(
    run: Run,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Where to write it; default: cards/RUN in the results.")
    ] = None,
    licence: Licence = None,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Write a model card (README.md, with the metadata of the Hugging Face hub) for the encoder that a run fine-tuned.

    Every recorded run that tested the same trained model is in it: other languages, other splits. Nothing is computed.

    --json prints an object with run, runs (all that are in the card), files (what was written), model (whether the trained
    model is on this machine).
    """
    from harness.core.json_files import write_atomically
    from harness.reports.cards.card import make_card
    from harness.reports.cards.facts import subject_of

    store = open_store(results)
    name = store.find(run)
    subject = subject_of(store, name, catalog())
    tell_of_damaged(subject)
    card = make_card(subject, licence=licence)
    folder = output if output is not None else results / "cards" / name
    _check_place(folder, card)
    for path, text in card.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / path, text)
    here = subject.folder.is_dir()
    if as_json:
        written = [(folder / path).as_posix() for path in card.files]
        print_json({"run": name, "runs": [entry.run_id for entry in subject.runs], "files": written, "model": here})
        return
    for path in card.files:
        typer.echo(plain(f"written: {folder / path}"), err=True)
    langs = ", ".join(dict.fromkeys(entry.manifest["identity"]["lang"] for entry in subject.runs))
    then = "`bench model push` uploads both" if here else "the model itself is not on this machine any more"
    count = len(subject.runs)
    typer.echo(
        plain(f"The card of {name} tells of {count} run{'s' if count > 1 else ''} of its model (tested in {langs}); {then}.")
    )


def tell_of_damaged(subject: Subject) -> None:
    """Records of whichever model, whose figures the card may lack."""
    if subject.damaged:
        several = f"{len(subject.damaged)} records are" if len(subject.damaged) > 1 else "a record is"
        ids = ", ".join(subject.damaged)
        typer.echo(plain(f"note: {several} damaged, and not in the card if of this model: {ids}"), err=True)


def _check_place(folder: Path, card: Card) -> None:
    """Raises `UserError` rather than write over a README that is not a card of ours."""
    from harness.core.errors import UserError
    from harness.reports.cards.metadata import TAG

    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder} is not a folder.", "Name a folder, new or not.")
    readme = folder / "README.md"
    if readme.exists() and f"\n- {TAG}\n" not in readme.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"{readme} is there already, and is no card made by bench.", "Name another folder with --output.")
