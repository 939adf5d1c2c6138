"""`bench model card`: a model card for a fine-tuned encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import RESULTS, Json, Results, catalog, open_store, plain, print_json

if TYPE_CHECKING:
    from harness.reports.cards.facts import ModelFacts

Licence = Annotated[
    str | None,
    typer.Option("--licence", metavar="ID", help="Licence of the model, as the hub names it; default: that of its base model."),
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, or a part of one that no other run has.")]
Output = Annotated[
    Path | None, typer.Option("--output", metavar="DIR", help="Where to write it; default: cards/RUN in the results.")
]


def card_command(
    run: Run, output: Output = None, licence: Licence = None, results: Results = RESULTS, as_json: Json = False
) -> None:
    """Write a model card for the encoder that a run fine-tuned.

    The card is README.md with the metadata of the Hugging Face hub. It covers all recorded runs of the same trained model:
    other languages, other splits. Nothing is computed.

    --json prints an object with run, runs (all that are in the card), files (what was written), model (whether the trained
    model is on this machine).
    """
    from harness.core.json_files import write_atomically
    from harness.reports.cards.card import make_card

    facts = read_facts(run, results)
    name = facts.run.run_id
    card = make_card(facts, licence=licence)
    folder = output if output is not None else results / "cards" / name
    _check_place(folder)
    for path, text in card.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / path, text)
    here = facts.folder.is_dir()
    if as_json:
        written = [(folder / path).as_posix() for path in card]
        print_json({"run": name, "runs": [run.run_id for run in facts.runs], "files": written, "model": here})
        return
    for path in card:
        typer.echo(plain(f"written: {folder / path}"), err=True)
    langs = ", ".join(dict.fromkeys(run.identity.lang for run in facts.runs))
    count = f"{len(facts.runs)} run{'s' if len(facts.runs) > 1 else ''}"
    then = "`bench model push` uploads card and model" if here else "the model is no longer on this machine"
    typer.echo(plain(f"The card of {name} covers {count} of its model (tested in {langs}); {then}."))


def read_facts(run: str, results: Path) -> ModelFacts:
    """What is known of the model of a run; a note on stderr names the damaged records, whichever model they are of."""
    from harness.reports.cards.facts import read_facts

    store = open_store(results)
    facts = read_facts(store, store.find(run), catalog())
    if facts.damaged:
        ids = ", ".join(facts.damaged)
        typer.echo(plain(f"note: damaged records, which the card leaves out even if they are of this model: {ids}"), err=True)
    return facts


def _check_place(folder: Path) -> None:
    """Raises `UserError` rather than overwrite a README that bench did not make."""
    from harness.core.errors import UserError
    from harness.reports.cards.metadata import TAG

    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder} is not a folder.", "Name a folder, new or not.")
    readme = folder / "README.md"
    if readme.exists() and f"\n- {TAG}\n" not in readme.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"{readme} exists and is not a card made by bench.", "Name another folder with --output.")
