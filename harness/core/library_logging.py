"""Log lines, warnings and progress bars of libraries: hidden, unless the user asks for them (`-v`)."""

from __future__ import annotations

import logging
import os
import warnings

# The libraries read these when they are imported, also in child processes. The user's own settings are kept.
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
    """Whether library messages are shown."""
    return _loud


def hush() -> None:
    """Before the libraries are imported: hide their progress bars, log lines and warnings."""
    global _loud
    _loud = False
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    # Our own warnings stay: they are mistakes to fix.
    warnings.filterwarnings("ignore", module=r"(?!(harness|backends)\b)")
    # Without a handler Python prints logged warnings.
    logging.getLogger().addHandler(_silent)


def speak() -> None:
    """Show the libraries' log lines and warnings on stderr."""
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
