"""The prompt files of a search: templates with few-shot examples, decoding and calibration fixed, and the winner's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from harness.core.errors import UserError
from harness.core.json_files import write_atomically
from harness.core.types import Calibration, Decoding, ShotsBy
from harness.specs.catalog import Catalog, Kind
from harness.specs.prompts import Prompt, PromptSpec, load_prompt


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prompt that a search can try. `shots`: as in the front matter; `shots_seed`: of their draw, None without one."""

    template: str
    shots: int
    shots_seed: int | None
    calibration: Calibration

    @property
    def name(self) -> str:
        """Of its file; the same for the same candidate, so that its runs are found again."""
        shots = f"-shots{self.shots}" if self.shots else ""
        shots += "" if self.shots_seed is None else f"-seed{self.shots_seed}"
        return f"{self.template}{shots}-{self.calibration}"

    @property
    def fixed(self) -> dict[str, Any]:
        """Fields of the front matter."""
        drawn = {} if self.shots else {"shots_by": ShotsBy.RANDOM}  # no examples could be nearest
        return {"shots": self.shots, "shots_seed": self.shots_seed, "calibration": self.calibration, **drawn}

    def __str__(self) -> str:
        shots = f", shots {self.shots}" if self.shots else ""
        shots += "" if self.shots_seed is None else f" (seed {self.shots_seed})"
        calibration = f", {self.calibration} calibration" if self.calibration is not Calibration.NONE else ""
        return f"{self.template}{shots}{calibration}"


@dataclass(frozen=True)
class Template:
    """An instruction: a prompt and its variants, by language (None: the prompt itself). `decoding`: as all of them have it."""

    name: str
    variants: Mapping[str | None, Prompt] = field(repr=False)

    @property
    def base(self) -> Prompt:
        return self.variants[None]

    @property
    def decoding(self) -> Decoding:
        return self.base.spec.decoding

    def of(self, lang: str) -> Prompt:
        return self.variants.get(lang, self.base)

    def files(self, name: str, fixed: Mapping[str, Any], note: str = "") -> dict[str, str]:
        """File name -> text, with the `fixed` fields of the front matter; `note`: lines of YAML comments."""
        return {
            f"{name}.j2" if lang is None else f"{name}.{lang}.j2": prompt_text(
                prompt.spec.model_copy(update=dict(fixed)), prompt.body, note
            )
            for lang, prompt in self.variants.items()
        }


def template_of(catalog: Catalog, name: str, decoding: Decoding | None) -> Template:
    """A prompt of the catalog with its variants; `decoding` replaces that of their front matter."""
    changed: dict[str, Any] = {} if decoding is None else {"decoding": decoding}
    if decoding not in (None, Decoding.SCORE):
        changed["calibration"] = Calibration.NONE  # it needs probabilities
    langs: list[str | None] = [None, *catalog.variants(name)]
    found = {lang: catalog.prompt(name, lang) for lang in langs}
    return Template(name, {lang: _changed(prompt, changed) for lang, prompt in found.items()})


def _changed(prompt: Prompt, changed: Mapping[str, Any]) -> Prompt:
    return replace(prompt, spec=prompt.spec.model_copy(update=dict(changed)))


def prompt_text(spec: PromptSpec, body: str, note: str = "") -> str:
    """The text of a prompt file. Decoding and, for `score`, calibration are written out, so that no default decides."""
    data = spec.model_dump(mode="json", exclude_defaults=True)
    data["decoding"] = str(spec.decoding)
    if spec.decoding is Decoding.SCORE:
        data["calibration"] = str(spec.calibration)
    ordered = {name: data[name] for name in PromptSpec.model_fields if name in data}
    front = yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=128)
    return f"---\n{note}{front}---\n{body}\n"


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as YAML blocks."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block)


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_atomically(folder / name, text)


def read_template(path: Path) -> Template:
    """A template without variants, from its file."""
    return Template(path.stem, {None: load_prompt(path)})


@dataclass(frozen=True)
class PromptFolder(Catalog):
    """A catalog whose prompts are the files of one folder alone: names of candidates meet no other prompts."""

    prompts: Path = Path()

    def files(self, kind: Kind) -> dict[str, Path]:
        if kind != "prompt":
            return super().files(kind)
        return {path.name.removesuffix(".j2"): path for path in sorted(self.prompts.glob("*.j2"))}


@dataclass(frozen=True)
class Output:
    """Where the winner is written: NAME.j2 in `folder`, with a file for each variant."""

    folder: Path
    name: str

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.j2"

    def existing(self) -> dict[str, str]:
        """File name -> text of what is there under this name, variants included."""
        found = [self.path, *sorted(self.folder.glob(f"{self.name}.*.j2"))]
        return {path.name: path.read_text(encoding="utf-8") for path in found if path.is_file()}

    def check(self, catalog: Catalog, *, force: bool) -> None:
        """Raise `UserError` for a name that another folder has, or that exists here, unless with `force`."""
        known = catalog.files("prompt").get(self.name)
        if known is not None and not (self.path.exists() and known.samefile(self.path)):
            raise UserError(f"The prompt {self.name!r} exists already, in {known}.", "Choose another name: --output NAME.")
        there = self.existing()
        if there and not force:
            raise self.refused(there)

    def refused(self, there: Sequence[str] | Mapping[str, str]) -> UserError:
        names = ", ".join(str(self.folder / name) for name in there)
        exist = "exists" if len(there) == 1 else "exist"
        return UserError(f"{names} {exist} already.", "Choose another name (--output NAME), or replace it (--force).")

    def write(self, files: Mapping[str, str], *, force: bool) -> None:
        """Write the files; those of variants that the winner lacks are deleted. Raises `UserError` for other files without
        `force`."""
        there = self.existing()
        if there == dict(files):
            return
        if there and not force:
            raise self.refused(there)
        write_files(self.folder, files)
        for name in there.keys() - files.keys():
            (self.folder / name).unlink()
