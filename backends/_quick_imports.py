"""Imports transformers without what only other uses of it need, which is half of the time that importing it takes.

At the beginning of its modules transformers imports torch's compiler (to mark functions for it), scikit-learn (for assisted
generation), scipy.optimize (to find objects in images) and sharded tensors (for models spread over processes), and reads the
file lists of all distributions that are installed. bench uses none of these. The functions and classes that stand in for them
import the real ones when called.

The marks for the compiler are lost: a model of transformers that is to be compiled must be imported before this module is used.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import Any
from unittest.mock import patch

from harness.core.distributed import processes

MARKS = ("disable", "allow_in_graph", "assume_constant_result")
"""Of torch's compiler: decorators that change nothing of an uncompiled model."""
SELDOM = {"sklearn.metrics": "roc_curve", "scipy.optimize": "linear_sum_assignment"}
"""Modules, and the one function that transformers imports of each."""
TRANSFORM = "TransformGetItemToIndex"


@cache
def import_transformers() -> ModuleType:
    """transformers, with the modules that every model needs. Without effect on what is imported already."""
    try:
        with _standing_in(), patch.object(metadata, "packages_distributions", Distributions):
            _import_for_models()
    except Exception:  # a version that needs more of them
        _import_for_models()
    return sys.modules["transformers"]


def _import_for_models() -> None:
    import transformers

    if processes() == 1:
        for module in (transformers.utils, transformers.utils.import_utils):
            module.is_torch_distributed_available = _is_not_distributed
    importlib.import_module("transformers.modeling_utils")
    importlib.import_module("transformers.generation.utils")


class Distributions(dict[str, list[str]]):
    """As `importlib.metadata.packages_distributions()`: module -> names of the distributions that have it. All of them are
    looked through only for a module whose distribution has another name, or may have."""

    def get(self, module: str, default: Any = None) -> Any:
        if module not in self:
            try:
                if module.startswith("flash_attn"):
                    raise metadata.PackageNotFoundError(module)
                self[module] = [metadata.metadata(module)["Name"]]
            except metadata.PackageNotFoundError:
                self.update(metadata.packages_distributions())
        return super().get(module, default)


@contextmanager
def _standing_in() -> Iterator[None]:
    """Within it, other modules stand in for those that are not imported yet."""
    compiler = "torch._dynamo"
    with ExitStack() as stack:
        if compiler not in sys.modules:
            stack.enter_context(_module(compiler, dict.fromkeys(MARKS, _unmarked)))
            inner = f"{compiler}._trace_wrapped_higher_order_op"
            stack.enter_context(_module(inner, {TRANSFORM: _later(inner, TRANSFORM)}))
        for name, function in SELDOM.items():
            if name not in sys.modules:
                stack.enter_context(_module(name, {function: _later(name, function)}))
        yield


@contextmanager
def empty_weights_unfilled() -> Iterator[None]:
    """Within it, weights without memory (on the device meta), into which a checkpoint is read, are not drawn at random first:
    that changes nothing in them, and imports torch's compiler."""
    import torch

    drawn = torch.nn.init.normal_

    def normal_(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        return tensor if tensor.is_meta else drawn(tensor, *args, **kwargs)

    with patch.object(torch.nn.init, "normal_", normal_):
        yield


@contextmanager
def _module(name: str, contents: dict[str, Any]) -> Iterator[None]:
    module = ModuleType(name)
    vars(module).update(contents)
    sys.modules[name] = module
    try:
        yield
    finally:
        del sys.modules[name]


def _later(module: str, name: str) -> Callable[..., Any]:
    """The function or class of that module, which is imported at the first call."""

    def called(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*args, **kwargs)

    return called


def _unmarked(function: Callable[..., Any] | None = None, *args: Any, **kwargs: Any) -> Any:
    """In place of a decorator with or without arguments."""
    return function if callable(function) else lambda function: function


def _is_not_distributed() -> bool:
    """Whether transformers can share a model between processes: this one is alone."""
    return False
