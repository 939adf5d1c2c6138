"""What libraries say on their own: nothing, unless the user wants to hear it (`-v`)."""

from __future__ import annotations

import logging
import os
import warnings

# Read by the libraries when they are imported, here and in every process that is started. What the user has set stays.
_QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "DATASETS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}
_loud = False
_silent = logging.NullHandler()


def loud() -> bool:
    """Whether the user wants to hear the libraries."""
    return _loud


def hush() -> None:
    """Before the libraries are imported: no bars, no log lines, no warnings of other people's code."""
    global _loud
    _loud = False
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    # Of ours, warnings stay: they are mistakes to mend.
    warnings.filterwarnings("ignore", module=r"(?!(harness|backends)\b)")
    # Without any handler, Python would print what is logged as a warning.
    logging.getLogger().addHandler(_silent)


def speak() -> None:
    """The libraries' log lines and warnings on stderr, as they are."""
    global _loud
    _loud = True
    for name, value in _QUIET.items():
        if os.environ.get(name) == value:  # of an earlier command of the same process
            del os.environ[name]
    root = logging.getLogger()
    root.removeHandler(_silent)
    if not root.handlers:
        logging.basicConfig(format="%(name)s: %(message)s", level=logging.INFO)
    logging.captureWarnings(True)
