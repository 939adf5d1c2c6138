"""The `parser` of a prompt, as its front matter declares it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harness.specs.yamlspec import Spec


class ParserSpec(Spec):
    """The `parser` of a prompt. A bare string is its `type`; `key` defaults to "labels" for `json_list`."""

    type: Annotated[Literal["integer", "label", "json", "json_list"], Field(description="what an answer looks like")]
    first: Annotated[int, Field(ge=-1000, le=1000, description="integer, json: the number of the first label")] = 0
    key: Annotated[str, Field(min_length=1, description="json, json_list: the key of the answer")] = "score"
    most: Annotated[int | None, Field(ge=1, description="json_list: names that a constrained answer may have")] = None

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        if isinstance(data, str):
            data = {"type": data}
        if isinstance(data, dict):
            unused = {
                **{"integer": {"key", "most"}, "label": {"first", "key", "most"}, "json": {"most"}, "json_list": {"first"}}
            }.get(str(data.get("type")), set())
            if found := sorted(unused & data.keys()):
                raise ValueError(f"a parser of type {data['type']} has no {' and no '.join(found)}")
            if data.get("type") == "json_list":
                data = {"key": "labels", **data}
        return data
