"""A task: a data set plus its label space, read from one YAML file. The field descriptions are the YAML's reference."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from harness.core.types import Date, LabelKind, LabelSpace
from harness.specs.yamlspec import Spec, load_yaml_spec


class CsvFormat(Spec):
    """The dialect of csv and tsv files, if it is not the usual one: UTF-8, commas (or tabs), names in the first line."""

    delimiter: str | None = Field(
        default=None, min_length=1, max_length=1, description="Separator of fields, if it is not a comma (csv) or tab (tsv)."
    )
    encoding: str = Field(default="utf-8", description="Such as `cp1252` or `utf-16`; a byte order mark is skipped.")
    quoted: bool = Field(
        default=True,
        description="Whether quotes enclose a field. `false`: a quote is an ordinary character.",
    )
    quote: str = Field(default='"', min_length=1, max_length=1, description="The quote that encloses a field.")
    escape: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description="Escape character before a quote inside a quoted text, such as a backslash; a doubled quote always works.",
    )
    header: list[str] | None = Field(
        default=None, min_length=1, description="Names of the columns, if the file has no header line."
    )
    spaced: bool = Field(default=False, description="Whether a space follows each delimiter, and is no part of a field.")
    skip: int = Field(default=0, ge=0, description="Lines above the header that are no part of the table.")

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            "".encode(value)  # base64 is a codec too, but none of text
        except LookupError as error:
            raise ValueError("not a text encoding of Python") from error
        return value


class HubSource(Spec):
    id: str = Field(min_length=1, description="Name of the data set on the Hugging Face hub, such as `owner/name`.")
    config: str | None = Field(
        default=None, description="Configuration (subset) of the data set; `{lang}` is replaced by the language."
    )
    revision: str | None = Field(default=None, description="Commit, tag or branch; pin it to read the same rows next year.")


class FilesSource(Spec):
    """Paths are relative to the YAML file and may contain `{lang}`.

    The suffix tells the format: parquet, csv, tsv, jsonl, json, txt, arrow, or a spreadsheet (xlsx, xls, ods). Text may be
    packed (.gz, .bz2, .xz, .zip). `*` in a file's name stands for the numbers of its shards. A folder that holds a folder of
    .txt files for each class is read like a file with the columns text and label; one that `datasets` saved to disk is a
    split. Tables within JSON, and sheets, that are named as splits are joined, with a column `split`.
    """

    train: str | None = Field(default=None, description="File of the train split.")
    validation: str | None = Field(default=None, description="File of the validation split.")
    test: str | None = Field(default=None, description="File of the test split.")
    all: str | None = Field(default=None, description="One file with all rows, for `splits: {stratified: ...}`.")
    folder: str | None = Field(
        default=None,
        description="A folder that holds `train`, `validation` (or `val`) and `test`, or `all`, with one of the suffixes.",
    )
    lang_map: dict[str, str] | None = Field(
        default=None, description="Value of `{lang}` in the paths -> the language's code, if it is not the code itself."
    )
    sheet: str | None = Field(default=None, description="Sheet of a spreadsheet; default: the first with rows.")
    csv: CsvFormat = Field(
        default_factory=CsvFormat, description="The dialect of csv and tsv files, if it is not the usual one."
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        paths = [self.train, self.validation, self.test, self.all]
        if self.folder is None and not any(paths):
            raise ValueError("name at least one file: `train`, `validation`, `test`, `all`, or a `folder`")
        if self.folder is not None and any(paths):
            raise ValueError("give either a `folder` or single files, not both")
        if self.lang_map is not None and not self.per_language:
            raise ValueError("`lang_map` needs `{lang}` in a path")
        if len(set((self.lang_map or {}).values())) != len(self.lang_map or {}):
            raise ValueError("`lang_map` names a language twice; a language has one path")
        return self

    def spelled(self, lang: str) -> str:
        """The value of `{lang}` for a language's code."""
        return next((spelling for spelling, code in (self.lang_map or {}).items() if code == lang), lang)

    def in_language(self, path: str, lang: str) -> str:
        """The path of one language."""
        return path.replace("{lang}", self.spelled(lang))

    @property
    def per_language(self) -> bool:
        """Whether the path chooses the language."""
        return any("{lang}" in path for path in (self.train, self.validation, self.test, self.all, self.folder) if path)


class Source(Spec):
    """Exactly one of the three."""

    hub: HubSource | None = Field(default=None, description="A data set on the Hugging Face hub (needs `bench[data]`).")
    files: FilesSource | None = Field(default=None, description="Files on this machine.")
    bundled: str | None = Field(default=None, pattern=r"^[a-z0-9_]+$", description="Name of a data set that comes with bench.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(source is not None for source in (self.hub, self.files, self.bundled)) != 1:
            raise ValueError("give exactly one of `hub`, `files` and `bundled`")
        return self

    @property
    def per_language(self) -> bool:
        """Whether the configuration or the path chooses the language, so that all rows read are in it."""
        if self.hub is not None:
            return "{lang}" in (self.hub.config or "")
        return self.files is not None and self.files.per_language


DEFAULT_PROMPTS = {LabelKind.ORDINAL: "strict", LabelKind.NOMINAL: "topic", LabelKind.MULTILABEL: "tags"}
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class Columns(Spec):
    text: str | list[str] = Field(
        default="text", description="Column of the text, or several, joined by newlines in this order."
    )
    label: str | list[str] = Field(
        default="label",
        description="Column of the label (a list of labels where `kind` is multilabel); or of a multilabel task"
        " several columns of 0 and 1, one for each of `labels.names`, in their order.",
    )
    id: str | None = Field(
        default=None, description="Column of the row's id. Without it ids are made of the split and a digest of the text."
    )
    lang: str | None = Field(default=None, description="Column of the row's language.")
    lang_map: dict[str, str] | None = Field(
        default=None, description="Value in the column `lang` -> the language's code, if it is not the code itself."
    )
    split: str | None = Field(
        default=None, description="Column of the row's split in `source.files.all`; `splits` holds its values."
    )
    group: str | list[str] | None = Field(
        default=None,
        description="Column of what the row was sampled with, such as its film, app, author or document; or several, whose"
        " values together name the group. Splits that bench draws keep a group on one side, and intervals and tests count"
        " groups.",
    )
    group_pattern: str | None = Field(
        default=None,
        min_length=1,
        description=r"Regular expression for the part of the cell that names the group, as in `\d+$`; of a pattern with"
        " parentheses the part in the first pair.",
    )
    lang_from_id: bool = Field(
        default=False, description="The language is the part of the id before the first `_`, as in `de_0203609`."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.text:
            raise ValueError("`text` must name at least one column")
        if self.lang_from_id and (self.id is None or self.lang is not None):
            raise ValueError("`lang_from_id` needs an `id` column and no `lang` column")
        if self.lang_map is not None and self.lang is None:
            raise ValueError("`lang_map` needs a column `lang`")
        if self.group is not None and not self.group:
            raise ValueError("`group` must name at least one column")
        if self.group_pattern is not None:
            if self.group is None:
                raise ValueError("`group_pattern` needs a column `group`")
            try:
                re.compile(self.group_pattern)
            except re.error as error:
                raise ValueError(f"`group_pattern` is no regular expression: {error}") from error
        return self


class Labels(Spec):
    kind: LabelKind = Field(description="`ordinal` (names from lowest to highest), `nominal`, or `multilabel`.")
    names: list[str] | None = Field(
        default=None,
        description="The labels, in order. May be left out for `files`: then the labels of the train split, sorted.",
    )
    first: int = Field(default=0, description="What the lowest whole-number label in the data is: 1 for stars from 1 to 5.")
    map: dict[str | int, str | int] | None = Field(
        default=None,
        description="Label in the data -> name, or 0-based index of the name. Several may map to one; then all must be listed.",
    )
    merge: dict[str, list[str]] | None = Field(
        default=None,
        description="New name -> the `names` that it joins, each of them once: the task then has the new names, in this order.",
    )
    separator: str | None = Field(
        default=None,
        min_length=1,
        description="Multilabel: separator of the labels if one text holds all of them, as in `joy|anger`. Brackets"
        " and quotes around them are ignored.",
    )
    descriptions: dict[str, str] = Field(
        default_factory=dict,
        description="Label -> what it means, in a sentence, for zero-shot classifiers, decision models, and prompts that show"
        " it.",
    )
    missing: list[str | int] = Field(
        default_factory=list,
        description="What stands in the data for no label, such as -1 or `?`: like an empty cell (`drop_empty_label`).",
    )
    _inferred: bool = PrivateAttr(default=False)

    @field_validator("map", mode="before")
    @classmethod
    def _no_bool_keys(cls, value: object) -> object:
        # YAML reads an unquoted yes, no, on or off as a bool, which would then pass as the label 1 or 0
        if isinstance(value, dict) and any(isinstance(item, bool) for pair in value.items() for item in pair):
            raise ValueError('quote yes, no, on, off, true and false, as in "yes"')
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.separator is not None and self.kind is not LabelKind.MULTILABEL:
            raise ValueError("`separator` is for multilabel tasks only")
        if self.names is None:
            needing = next((key for key in ("map", "merge", "separator") if getattr(self, key) is not None), None)
            needing = "descriptions" if needing is None and self.descriptions else needing
            if needing is not None:
                raise ValueError(f"`{needing}` needs `names`")
            return self
        if len(self.names) < 2 or len(set(self.names)) != len(self.names) or not all(name.strip() for name in self.names):
            raise ValueError("`names` must hold at least two different labels, none of them empty")
        for raw, target in (self.map or {}).items():
            if target not in self.names and not (isinstance(target, int) and 0 <= target < len(self.names)):
                raise ValueError(f"`map` sends {raw!r} to {target!r}, which is neither one of `names` nor an index of one")
        for index, name in enumerate(self.names):
            if self.map is None and name.lstrip("-").isdecimal() and name != str(self.first + index):
                raise ValueError(
                    f"the name {name!r} is a number, but its number in the data is {self.first + index};"
                    " set `first`, or list every label in `map`"
                )
        if self.merge is not None:
            self._check_merge(self.names, self.merge)
        for name, description in self.descriptions.items():
            if name not in (self.answers or ()):
                raise ValueError(f"`descriptions` describes {name!r}, which is no label of the task")
            if not description.strip():
                raise ValueError(f"`descriptions` has no text for {name!r}")
        return self

    def _check_merge(self, names: list[str], merge: dict[str, list[str]]) -> None:
        joined = [name for group in merge.values() for name in group]
        if sorted(joined) != sorted(names) or not all(merge.values()):
            raise ValueError(f"`merge` must join each of `names` once ({', '.join(names)}), and joins {', '.join(joined)}")
        if len(merge) < 2 or not all(new.strip() for new in merge):
            raise ValueError("`merge` must leave at least two labels, none of them empty")
        if self.kind is LabelKind.ORDINAL and joined != names:
            raise ValueError("`merge` of an ordinal task joins neighbours, from the lowest to the highest")
        for new, group in merge.items():
            if new in names and new not in group:
                raise ValueError(f"`merge` calls {new!r} what does not hold the label {new!r}")

    @property
    def answers(self) -> list[str] | None:
        """The labels of the task: the new names of `merge`, else `names`; None if these are left out."""
        return self.names if self.merge is None else list(self.merge)

    @property
    def inferred(self) -> bool:
        """Whether `names` come from the rows: then a label is one of them, and a number is no index."""
        return self._inferred

    def inferring(self, names: list[str]) -> Labels:
        """These labels with the names from the rows."""
        labels = self.model_copy(update={"names": names, "map": {name: index for index, name in enumerate(names)}})
        labels._inferred = True
        return labels

    def merged(self, index: int) -> int:
        """Index into `names` -> index into `answers`."""
        if self.merge is None or self.names is None:
            return index
        return next(new for new, joined in enumerate(self.merge.values()) if self.names[index] in joined)


class Shares(Spec):
    train: float = Field(default=0.64, gt=0, lt=1, description="Share of the rows for training.")
    validation: float = Field(default=0.16, gt=0, lt=1, description="Share of the rows for choosing (early stopping, search).")
    test: float = Field(default=0.20, gt=0, lt=1, description="Share of the rows for measuring.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError("the three shares must sum to 1")
        return self


class Stratified(Spec):
    seed: int = Field(default=42, ge=0, description="Seed of the split.")
    shares: Shares = Field(default_factory=Shares, description="Shares of the three splits; they sum to 1.")
    of: list[str] = Field(
        default=["train"], min_length=1, description="For `hub`: the splits there whose rows are put together first."
    )
    test_ids: str | None = Field(
        default=None,
        description="File with the ids of the test rows by language, as `bench init --freeze-test` writes it. Without"
        " it they are sampled.",
    )


class Splits(Spec):
    """Either the names of the three splits on the hub or in the column `columns.split`, or `stratified`."""

    train: str = Field(default="train", description="Name of the train split.")
    validation: str = Field(default="validation", description="Name of the validation split.")
    test: str = Field(default="test", description="Name of the test split.")
    validation_share: float | None = Field(
        default=None, gt=0, lt=1, description="If there is no validation split: the share of the train rows that becomes one."
    )
    stratified: Stratified | None = Field(
        default=None,
        description="Divide all rows of each language into three splits with the same shares of each label. Rows of one text or"
        " one group (`columns.group`) stay together.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.stratified is not None and self.model_fields_set != {"stratified"}:
            raise ValueError("give either `stratified` or the names of splits, not both")
        return self


class Sample(Spec):
    share: float | None = Field(default=None, gt=0, lt=1, description="Share of the split's rows, per language.")
    count: int | None = Field(default=None, ge=1, description="Rows per language, at most.")
    seed: int = Field(default=42, ge=0, description="Seed of the sample.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.share is None) == (self.count is None):
            raise ValueError("give exactly one of `share` and `count`")
        return self


class TaskSpec(Spec):
    """One YAML file of a `tasks/` folder."""

    name: str = Field(description="Taken from the file's name; not in the file.")
    folder: Path = Field(description="Folder of the file, for relative paths; not in the file.")
    description: str = Field(min_length=1, description="What is classified into what, in a sentence.")
    source: Source = Field(description="Where the rows come from.")
    columns: Columns = Field(default_factory=Columns, description="Which columns hold what.")
    labels: Labels = Field(description="The label space, and how the data's labels map to it.")
    languages: list[str] = Field(min_length=1, description="ISO 639-1 codes of the languages.")
    splits: Splits = Field(default_factory=Splits, description="How rows are divided into train, validation and test.")
    sample: dict[Split, Sample] = Field(default_factory=dict, description="Use only a part of a split, stratified by label.")
    stratify_limits: bool = Field(
        default=False,
        description="`--limit`, `--train-limit` and `--validation-limit` choose rows with the same share of each label as all"
        " rows. By default a hash of the id alone chooses them.",
    )
    drop_empty_text: bool = Field(default=False, description="Leave out rows without text. By default they are an error.")
    drop_empty_label: bool = Field(
        default=False, description="Leave out rows whose label is missing or empty. By default they are an error."
    )
    threshold: int | None = Field(
        default=None,
        ge=0,
        description="Ordinal only: also report binary accuracy, label index <= threshold against the ones above.",
    )
    rank_by: str | None = Field(
        default=None,
        description="The metric that ranks the runs, and by which `recommend`, `tune` and the choice of a checkpoint go, such"
        " as `qwk`; default: `accuracy`, of multilabel tasks `micro_f1`.",
    )
    prompt: str | None = Field(
        default=None, description="Default prompt for language models; without it: by the kind of the labels."
    )
    metrics: list[str] = Field(
        default_factory=list,
        description="More Hugging Face `evaluate` metrics: names or local paths. They run code and need `--trust-metric-code`.",
    )
    published: Date | None = Field(
        default=None,
        description="Date (at the latest) of the publication of some of the rows: a year, month or day, such as 2020-10.",
    )
    licence: str = Field(default="", description="Licence of the data.")
    note: str = Field(default="", description="Note on the data for readers of the results.")
    reference_urls: list[str] = Field(default_factory=list, description="Papers and pages about the data.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.languages)) != len(self.languages):
            raise ValueError("`languages` names a language twice")
        known = self.columns.lang is not None or self.columns.lang_from_id or self.source.per_language
        if len(self.languages) > 1 and not known:
            raise ValueError(
                "the language of a row is unknown: give `columns.lang`, `columns.lang_from_id`,"
                " or `{lang}` in `source.hub.config` or in the files' paths"
            )
        files, names = self.source.files, self.labels.answers
        if names is None and (files is None or self.splits.stratified is not None):
            raise ValueError("`labels.names` may be left out only for `files` with a train split of their own")
        if isinstance(self.columns.label, list) and (
            self.labels.kind is not LabelKind.MULTILABEL
            or len(self.labels.names or []) != len(self.columns.label)
            or self.labels.map is not None
        ):
            raise ValueError(
                "several columns of labels need a multilabel task with one of `labels.names` for each, and no `map`"
            )
        if self.columns.split is not None and (files is None or files.all is None or self.splits.stratified is not None):
            raise ValueError("`columns.split` divides the file `source.files.all`, and goes without `splits.stratified`")
        if files is not None and self.splits.stratified is not None and files.all is None and files.folder is None:
            raise ValueError("`splits.stratified` divides the file `source.files.all`, which is missing")
        if self.threshold is not None:
            if self.labels.kind is not LabelKind.ORDINAL:
                raise ValueError("`threshold` is for ordinal labels only")
            if names is not None and self.threshold >= len(names) - 1:
                raise ValueError(f"`threshold` must be below {len(names) - 1}, the index of the highest label")
        return self

    @model_validator(mode="after")
    def _can_rank(self) -> Self:
        if self.rank_by is not None:
            from harness.statistics.metrics import rankable

            known = rankable(self.labels.kind)
            if self.rank_by not in known:
                raise ValueError(f"`rank_by` of a task with {self.labels.kind} labels is one of {', '.join(known)}")
        return self

    @property
    def default_prompt(self) -> str:
        """Its own, or that of its kind of labels."""
        return self.prompt or DEFAULT_PROMPTS[self.labels.kind]

    @property
    def label_space(self) -> LabelSpace:
        """The labels in order; if `labels.names` is left out, `harness.data.rows.with_names` must fill them in first."""
        assert self.labels.answers is not None
        told = self.labels.descriptions
        descriptions = tuple(told.get(name, "").strip() for name in self.labels.answers) if told else ()
        return LabelSpace(self.labels.kind, tuple(self.labels.answers), descriptions)


def load_task(path: Path) -> TaskSpec:
    """Read a task's YAML; its name is the file's stem. Raises `SpecError`."""
    return load_yaml_spec(path, TaskSpec, name=path.stem, folder=path.parent)
