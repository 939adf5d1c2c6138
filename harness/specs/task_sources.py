"""Where a task's rows come from: the hub, files of one's own, or what comes with bench."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from harness.specs.yamlspec import Spec


class CsvFormat(Spec):
    """How csv and tsv files are written, where it is not the usual way: UTF-8, commas (or tabs), names in the first line."""

    delimiter: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description="What stands between two fields, where it is no comma (csv) or tab (tsv).",
    )
    encoding: str = Field(
        default="utf-8", description="Such as `cp1252` or `utf-16`; a byte order mark is no part of the data."
    )
    quoted: bool = Field(
        default=True, description="Whether double quotes enclose a field. `false`: a quote is a character as any."
    )
    escape: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description="What may stand before a quote inside a quoted text, such as a backslash; a doubled quote always may.",
    )
    header: list[str] | None = Field(
        default=None, min_length=1, description="Names of the columns, where the file has no line with them."
    )

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            "".encode(value)  # base64 is a codec too, but none of text
        except LookupError as error:
            raise ValueError("no encoding of text that Python knows") from error
        return value


class HubSource(Spec):
    id: str = Field(min_length=1, description="Name of the data set on the Hugging Face hub, such as `owner/name`.")
    config: str | None = Field(
        default=None,
        description="Configuration (subset) of the data set; `{lang}` stands for the language, one configuration each.",
    )
    revision: str | None = Field(default=None, description="Commit, tag or branch; pin it to read the same rows next year.")


class FilesSource(Spec):
    """Paths are relative to the YAML file and may contain `{lang}`; the suffix is parquet, csv, tsv, jsonl or json."""

    train: str | None = Field(default=None, description="File of the train split.")
    validation: str | None = Field(default=None, description="File of the validation split.")
    test: str | None = Field(default=None, description="File of the test split.")
    all: str | None = Field(default=None, description="One file with all rows, for `splits: {stratified: ...}`.")
    folder: str | None = Field(
        default=None,
        description="A folder that holds `train`, `validation` (or `val`) and `test`, or `all`, with one of the suffixes.",
    )
    lang_map: dict[str, str] | None = Field(
        default=None,
        description="What stands for `{lang}` in the paths -> the language's code, where it is not the code itself.",
    )
    csv: CsvFormat = Field(
        default_factory=CsvFormat, description="How csv and tsv files are written, where it is not the usual way."
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        paths = [self.train, self.validation, self.test, self.all]
        if self.folder is None and not any(paths):
            raise ValueError("name at least one file: `train`, `validation`, `test`, `all`, or a `folder`")
        if self.folder is not None and any(paths):
            raise ValueError("give either a `folder` or single files, not both")
        if self.lang_map is not None and not self.per_language:
            raise ValueError("`lang_map` says what stands for `{lang}` in the paths, and none of them has it")
        if len(set((self.lang_map or {}).values())) != len(self.lang_map or {}):
            raise ValueError("`lang_map` names a language twice; a language has one path")
        return self

    def spelled(self, lang: str) -> str:
        """What stands in the paths for a language's code."""
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
