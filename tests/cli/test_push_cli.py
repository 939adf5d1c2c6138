"""`bench model push`: one commit uploads a model that works as it was measured. The hub is a fake below httpx2."""

from __future__ import annotations

import base64
import inspect
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.core.options import RunOptions
from harness.core.types import Decision
from harness.records.store import Store
from harness.reports.cards.card import make_card
from harness.reports.cards.facts import read_facts
from harness.reports.cards.repository import Files, Upload, model_files, without_places
from harness.running.plan import make_plan
from harness.running.runner import run
from harness.specs.catalog import Catalog

sys.path.insert(0, str(Path(__file__).parents[1] / "backends"))  # the builders of tiny checkpoints

pytestmark = pytest.mark.slow

TOKEN = "hf_ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
NAMES = ["bad", "so-so", "very good"]
TASK = """\
description: Kettles, judged.
source: {{files: {{train: rows/{kind}.jsonl, validation: rows/{kind}.jsonl, test: rows/{kind}.jsonl}}}}
columns: {{id: id}}
labels: {{kind: {kind}, names: [bad, so-so, very good]}}
languages: [en]
licence: CC0-1.0
"""
BACKEND = "engine: {engine}\nmodel: {model}\noptions: {options}\n"
QUICK: dict[str, Any] = {"device": "cpu", "max_length": 12, "train": {"epochs": 12, "lr": 1e-2, "batch_size": 8}}
HEADS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "softmax": ("ordinal", "encoder", QUICK),
    "one_hot": ("nominal", "encoder", {**QUICK, "head": "one_hot"}),
    "coral": ("ordinal", "encoder", {**QUICK, "head": "coral", "train": {**QUICK["train"], "epochs": 40, "lr": 2e-2}}),
    "corn": ("ordinal", "encoder", {**QUICK, "head": "corn"}),
    "multilabel": ("multilabel", "encoder", QUICK),
    "lora": ("ordinal", "encoder", {**QUICK, "train": {**QUICK["train"], "lr": 3e-2, "lora": {"dropout": 0}}}),  # kept in part
    "setfit": ("ordinal", "setfit", {"device": "cpu", "max_length": 12, "train": {"lr": 2e-2, "iterations": 2}}),
    "setfit-tags": ("multilabel", "setfit", {"device": "cpu", "max_length": 12, "train": {"lr": 2e-2, "iterations": 2}}),
}


def _rows(kind: str) -> list[dict[str, Any]]:
    """Some texts are longer than 12 tokens, with words behind them that decide: who does not cut there answers otherwise."""
    rng = random.Random(0)
    rows = []
    for number in range(48):
        label = number % 3
        words = rng.choices(["the", "kettle", "lid", "is", "very", "and", "it"], k=rng.randrange(2, 9))
        words.insert(
            rng.randrange(len(words)), [["bad", "awful"], ["it"], ["good", "great"]][label][rng.randrange(2 - label % 2)]
        )
        if number % 4 == 0:
            words += [*["lid"] * 10, "awful", "great", "bad", "bad", "good"]
        tags = [NAMES[k] for k in range(3) if k == label or (k == 1 and "lid" in words)]
        rows.append({"id": f"r{number}", "text": " ".join(words), "label": tags if kind == "multilabel" else NAMES[label]})
    return rows


@pytest.fixture(scope="module")
def kettles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a tiny checkpoint and a backend for each head."""
    from tiny_models import write_bert

    project = tmp_path_factory.mktemp("kettles")
    bert = write_bert(project / "bert")
    for name in ("tasks/rows", "backends"):
        (project / name).mkdir(parents=True)
    for kind in ("ordinal", "nominal", "multilabel"):
        (project / "tasks" / f"{kind}.yaml").write_text(TASK.format(kind=kind))
        lines = "".join(json.dumps(row) + "\n" for row in _rows(kind))
        (project / "tasks" / "rows" / f"{kind}.jsonl").write_text(lines)
    for head, (_, engine, options) in HEADS.items():
        spec = BACKEND.format(engine=engine, model=bert, options=json.dumps(options))
        (project / "backends" / f"b-{head}.yaml").write_text(spec)
    return project


@pytest.fixture(scope="module")
def trained(kettles: Path) -> Callable[..., str]:
    """`trained("coral")` is the id of a run, made once; the cache is the project's."""
    known: dict[tuple[str, Any], str] = {}
    store = Store(kettles / "results" / "runs")

    def train(head: str, decision: Any = None) -> str:
        if (head, decision) not in known:
            request = RunOptions(task=HEADS[head][0], backend=f"b-{head}", lang="en", decision=decision)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("BENCH_CACHE", str(kettles / "cache"))
                known[head, decision] = run(make_plan(request, Catalog(kettles)), store).run_id
        return known[head, decision]

    return train


@pytest.fixture
def at_home(bench: Any, kettles: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`bench` in that project, without a token of whoever runs the tests."""
    monkeypatch.chdir(kettles)
    monkeypatch.setenv("BENCH_CACHE", str(kettles / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(kettles / "no-token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_STORED_TOKENS_PATH", str(kettles / "no-tokens"))
    return bench


def _write(files: Files, folder: Path) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content if isinstance(content, bytes) else content.read_bytes())


@pytest.mark.parametrize(
    ("head", "decision"),
    [*((head, None) for head in HEADS), ("softmax", Decision.EXPECTED), ("corn", Decision.MEDIAN)],
)
def test_the_code_on_the_card_gives_the_labels_that_were_measured(
    head: str, decision: Any, trained: Any, kettles: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = trained(head, decision)
    monkeypatch.setenv("BENCH_CACHE", str(kettles / "cache"))
    store = Store(kettles / "results" / "runs")
    facts = read_facts(store, name, Catalog(kettles))
    repository = tmp_path / "repository"
    _write(model_files(facts), repository)
    readme = make_card(facts, "somebody/kettles")["README.md"]
    code = readme.partition("```python\n")[2].partition("```")[0].replace('"somebody/kettles"', repr(str(repository)))
    code = code.replace(f'hf_hub_download({str(repository)!r}, "head.safetensors")', repr(str(repository / "head.safetensors")))
    scope: dict[str, Any] = {}
    exec(code, scope)  # as a reader would paste it

    rows = {row["id"]: row["text"] for row in _rows(HEADS[head][0])}
    records = store.predictions(name)
    given = scope["classify"]([rows[record["id"]] for record in records])
    multilabel = HEADS[head][0] == "multilabel"
    measured = [[NAMES[k] for k in r["label"]] if multilabel else NAMES[r["label"]] for r in records]
    assert [list(answer) if multilabel else answer for answer in given] == measured
    assert len({str(label) for label in measured}) > 1  # else any code would do


def test_what_goes_is_the_model_and_nothing_of_this_machine(
    trained: Any, kettles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = trained("softmax")
    monkeypatch.setenv("BENCH_CACHE", str(kettles / "cache"))
    facts = read_facts(Store(kettles / "results" / "runs"), name, Catalog(kettles))
    (facts.folder / "optimizer.pt").write_bytes(b"x")
    config = json.loads((facts.folder / "config.json").read_text(encoding="utf-8"))
    (facts.folder / "SHA256SUMS").unlink()  # the change is none that it would find
    (facts.folder / "config.json").write_text(
        json.dumps({**config, "_name_or_path": str(kettles / "bert"), "own": "/home/me/x"})
    )
    files = model_files(facts)
    assert set(files) == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    sizes = Upload("me/kettles", None, files).sizes
    for path, file in files.items():
        content = file if isinstance(file, bytes) else file.read_bytes()
        assert str(kettles).encode() not in content
        assert sizes[path] == len(content)
    sent = json.loads(files["config.json"])
    assert sent["id2label"] == {"0": "bad", "1": "so-so", "2": "very good"}
    assert sent["label2id"]["very good"] == 2
    assert "own" not in sent
    assert "_name_or_path" not in sent
    assert json.loads(files["tokenizer_config.json"])["model_max_length"] == 12
    (facts.folder / "optimizer.pt").unlink()


def test_places_are_told_from_tokens() -> None:
    kept = {"unk_token": "/", "sep": "</s>", "a": ["/x y", {"ratio": "1/2", "url": "https://a/b"}], "n": 1}
    lost = {"cache": "/home/me/x", "b": "C:\\Users\\me", "c": "~/models/x", "name_or_path": "x", "tokenizer_file": "x"}
    assert without_places({**kept, **lost}) == kept


class Hub:
    """The hub as huggingface_hub's client meets it: it keeps what it is sent."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self.tokens: set[str | None] = set()
        self.answers: dict[str, tuple[int, Any]] = {}
        self.private = False

    def __call__(self, request: Any) -> Any:
        import httpx2

        body = request.read()
        self.tokens.add(request.headers.get("authorization"))
        self.requests.append((request.method, request.url.path, body))
        for part, (status, answer) in self.answers.items():
            if part in request.url.path:
                return httpx2.Response(status, json=answer, request=request)
        return httpx2.Response(200, json=self._answer(request.url.path, body), request=request)

    def _answer(self, path: str, body: bytes) -> Any:
        if path == "/api/repos/create":
            asked = json.loads(body)
            return {"url": f"https://huggingface.co/{asked.get('organization') or 'me'}/{asked['name']}"}
        if "/preupload/" in path:
            return {"files": [{**f, "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]]}
        if "/commit/" in path:
            return {"commitUrl": "https://huggingface.co/me/kettles/commit/abc", "commitOid": "abc", "success": True}
        if path.startswith("/api/models/") and path.count("/") == 4:
            return {"id": "me/kettles", "private": self.private, "siblings": [], "sha": "abc"}
        return {"errors": [], "warnings": []}

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _ in self.requests]

    @property
    def committed(self) -> dict[str, bytes]:
        """What the one commit holds."""
        bodies = [body for _, path, body in self.requests if "/commit/" in path]
        assert len(bodies) == 1
        lines = [json.loads(line) for line in bodies[0].splitlines()]
        assert [line["key"] for line in lines].count("header") == 1
        return {line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    import httpx2
    import huggingface_hub

    fake = Hub()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    huggingface_hub.set_client_factory(lambda: httpx2.Client(transport=httpx2.MockTransport(fake)))
    yield fake
    huggingface_hub.close_session()
    from huggingface_hub.utils._http import default_client_factory

    huggingface_hub.set_client_factory(default_client_factory)


def created(hub: Hub) -> dict[str, Any]:
    """What was asked when the repository was made; in a fresh cache the client asks for other things before."""
    (body,) = (body for _, path, body in hub.requests if path.endswith("/repos/create"))
    found: dict[str, Any] = json.loads(body)
    return found


def test_push_commits_model_and_card_at_once(at_home: Any, trained: Any, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    name = trained("softmax")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    said = at_home("model", "push", name, "kettles", "--json")
    assert said.code == 0, said.err
    assert said.json["repository"] == "me/kettles"
    assert said.json["url"].endswith("/commit/abc")
    assert sorted(file["path"] for file in said.json["files"]) == sorted(hub.committed)
    assert set(hub.committed) == {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert 'pipeline("text-classification", model="me/kettles")' in hub.committed["README.md"].decode()
    assert json.loads(hub.committed["config.json"])["id2label"]["2"] == "very good"
    assert f"Bearer {TOKEN}" in hub.tokens
    assert TOKEN not in said.out + said.err
    assert not any("branch" in path for path in hub.paths)
    assert "visibility" not in created(hub)  # for the settings of its owner to say


def test_a_branch_and_a_private_repository(at_home: Any, trained: Any, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.private = True
    said = at_home("model", "push", trained("softmax"), "me/kettles", "--private", "--revision", "v2")
    assert said.code == 0, said.err
    assert created(hub)["visibility"] == "private"
    assert "/api/models/me/kettles/branch/v2" in hub.paths
    assert "/api/models/me/kettles/commit/v2" in hub.paths
    assert "me/kettles, branch v2 (private)" in said.out
    assert "https://huggingface.co/me/kettles/commit/abc" in said.out


def test_private_is_never_made_public(at_home: Any, trained: Any, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    said = at_home("model", "push", trained("softmax"), "me/kettles", "--private")
    assert said.code == 2
    assert "is public; nothing was uploaded" in said.err
    assert not any("commit" in path for path in hub.paths)


def test_a_dry_run_shows_all_and_needs_nothing(at_home: Any, trained: Any, hub: Hub) -> None:
    said = at_home("model", "push", trained("softmax"), "me/kettles", "--dry-run", "--revision", "v2")
    assert said.code == 0, said.err
    assert hub.requests == []
    for shown in ("README.md", "config.json", "model.safetensors", "pipeline_tag: text-classification", "# kettles"):
        assert shown in said.out
    assert "Nothing was uploaded. The target is me/kettles, branch v2" in said.out
    listed = at_home("model", "push", trained("softmax"), "me/kettles", "--dry-run", "--json").json
    assert listed["url"] is None
    assert all(file["bytes"] > 0 for file in listed["files"])


@pytest.mark.parametrize(
    ("part", "status", "answer", "code", "words"),
    [
        ("/api/", 401, {"error": "Invalid user token."}, 2, "does not know the token"),
        ("/api/", 403, {"error": "Forbidden"}, 2, "may not write to me/kettles (403)"),
        ("/commit/", 403, {"error": "Forbidden"}, 2, "may not write to me/kettles (403)"),
        ("/commit/", 413, {"error": f"Too large for {TOKEN}"}, 1, "(413): Too large for ***"),
        ("/validate-yaml", 400, {"errors": [{"message": "license is odd"}], "warnings": []}, 1, "license is odd"),
    ],
)
def test_what_the_hub_refuses(
    part: str,
    status: int,
    answer: Any,
    code: int,
    words: str,
    at_home: Any,
    trained: Any,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.answers[part] = status, answer
    said = at_home("model", "push", trained("softmax"), "me/kettles")
    assert (said.code, said.out) == (code, "")
    assert words in said.err
    assert TOKEN not in said.err


def test_no_network(at_home: Any, trained: Any, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx2

    monkeypatch.setenv("HF_TOKEN", TOKEN)

    def unreachable(self: Hub, request: Any) -> Any:
        raise httpx2.ConnectError("no route")

    monkeypatch.setattr(Hub, "__call__", unreachable)
    said = at_home("model", "push", trained("softmax"), "me/kettles")
    assert said.code == 1
    assert "The connection to the Hugging Face hub failed" in said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["me/kettles"], "There is no token"),
        (["a/b/c"], "can't be the name of a repository"),
        (["me/ket..tles", "--dry-run"], "Cannot have -- or .."),
        (["me/kettles", "--revision", "a b"], "can't be the name of a branch"),
    ],
)
def test_slips(arguments: list[str], words: str, at_home: Any, trained: Any, hub: Hub) -> None:
    said = at_home("model", "push", trained("softmax"), *arguments)
    assert said.code == 2
    assert words in said.err
    assert hub.requests == []


def test_a_model_that_is_gone_and_the_command_that_trains_it(
    at_home: Any, trained: Any, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = trained("coral")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "other"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    said = at_home("model", "push", name, "me/kettles")
    assert said.code == 2
    assert "is not on this machine" in said.err
    command = said.err.partition("`bench ")[2].partition("`")[0].split()
    assert command[-1] == "--force"
    again = at_home(*command, "--json")
    assert [done["run"] for done in again.json] == [name]
    assert at_home("model", "push", name, "me/kettles", "--dry-run").code == 0
    assert hub.requests == []


def test_the_calls_fit_the_installed_library() -> None:
    from huggingface_hub import HfApi

    wanted = {
        "create_repo": {"private", "repo_type", "exist_ok"},
        "create_branch": {"branch", "exist_ok"},
        "create_commit": {"operations", "commit_message", "repo_type", "revision"},
    }
    for method, names in wanted.items():
        assert names <= set(inspect.signature(getattr(HfApi, method)).parameters)
