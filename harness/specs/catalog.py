"""Find the files of tasks, prompts, backends, recipes and reported figures by name.

Built-ins come first, then the user's project folder (`./tasks`, `./prompts`, ...), then installed plugins. A plugin is an entry
point in the group `bench.catalog` that names a function like `builtin_folders`. Two files of the same name are an error: a
leaderboard could not distinguish them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from harness.core.errors import UnknownName, UserError
from harness.specs.backend_specs import BackendSpec, engine_class, entry_points, load_backend
from harness.specs.prices import Prices, load_prices
from harness.specs.prompts import Prompt, load_prompt, require_same_kind
from harness.specs.recipes import Recipe, load_recipe
from harness.specs.reported import Reported, load_reported
from harness.specs.tasks import TaskSpec, load_task

S = TypeVar("S")
Kind = Literal["task", "prompt", "backend", "recipe", "reported"]
_FOLDERS: dict[Kind, str] = {
    "task": "tasks",
    "prompt": "prompts",
    "backend": "backends",
    "recipe": "recipes",
    "reported": "results/reported",
}
_SUFFIX: dict[Kind, str] = {"prompt": ".j2"}
_YAML = ".yaml"
_PLURAL = {"reported": "files of reported figures"}


def builtin_folders() -> Mapping[str, Path]:
    """The folders of this distribution; in a wheel the data folders are inside the package."""
    package = Path(__file__).parents[1]
    root = package.parent
    moved = {folder: f"{folder.rpartition('/')[2]}_data" for folder in _FOLDERS.values()}
    inside = (package / moved["tasks"]).is_dir()
    folders = {folder: package / moved[folder] if inside else root / folder for folder in moved}
    return {**folders, "backends": root / "backends"}  # a package, with the engines


def _is_server(spec: BackendSpec) -> bool:
    """Whether its tokens may cost money. A missing engine is reported when it is used."""
    try:
        return engine_class(spec.engine).model_is == "name"
    except UserError:
        return False


@dataclass(frozen=True)
class Catalog:
    """All names that can be used from `project`. `trust_metric_code`: a task's metrics may run code."""

    project: Path
    trust_metric_code: bool = False

    @cached_property
    def _roots(self) -> list[Mapping[str, Path]]:
        points = list(entry_points(group="bench.catalog"))
        plugins = [point.load()() for point in points if point.name != "builtin"]
        own = {folder: self.project / folder for folder in _FOLDERS.values()}
        return [builtin_folders(), own, *plugins]

    def files(self, kind: Kind) -> dict[str, Path]:
        """Name → file. The name of a prompt's language variant is `NAME.LANG`."""
        found: dict[str, Path] = {}
        for root in self._roots:
            folder = root.get(_FOLDERS[kind])
            if folder is None or not folder.is_dir():
                continue
            suffix = _SUFFIX.get(kind, _YAML)
            for path in sorted(folder.glob("*" + suffix)):
                name = path.name.removesuffix(suffix)
                known = found.setdefault(name, path)
                if not known.samefile(path):
                    kinds = _PLURAL.get(kind, f"{kind}s")
                    raise UserError(f"Two {kinds} are named {name!r}: {known} and {path}.", "Rename one of them.")
        return found

    def names(self, kind: Kind) -> list[str]:
        """The names a user can give (without the variants of a prompt)."""
        files = self.files(kind)
        return sorted(name for name in files if kind != "prompt" or name.rpartition(".")[0] not in files)

    def own_tasks(self) -> list[str]:
        """The tasks of the user's project folder; none in bench's own repository."""
        builtin, own = (root[_FOLDERS["task"]] for root in self._roots[:2])
        if not own.is_dir() or (builtin.is_dir() and own.samefile(builtin)):
            return []
        return sorted(path.name.removesuffix(_YAML) for path in own.glob(f"*{_YAML}"))

    def _file(self, kind: Kind, name: str) -> Path:
        files = self.files(kind)
        if name not in files:
            raise UnknownName(kind, name, self.names(kind))
        return files[name]

    @cached_property
    def _known(self) -> dict[Path, tuple[tuple[int, ...], Any]]:
        """What was read of a file, with the file's state then."""
        return {}

    def _read(self, load: Callable[[Path], S], file: Path) -> S:
        """What `load` makes of the file: read again only where it was changed. A command asks dozens of times."""
        about = file.stat()
        state = (about.st_mtime_ns, about.st_size, about.st_ino)
        if self._known.get(file, ((), None))[0] != state:
            self._known[file] = (state, load(file))
        found: S = self._known[file][1]
        return found

    def task(self, name: str) -> TaskSpec:
        return self._read(load_task, self._file("task", name))

    @cached_property
    def prices(self) -> Prices:
        """Prices of machines and tokens, including the project's own `prices.yaml`."""
        return load_prices(self.project)

    def backend(self, name: str) -> BackendSpec:
        """The backend; for a server with the price of its model, if known."""
        spec = self._read(load_backend, self._file("backend", name))
        return self.prices.filled(spec) if _is_server(spec) else spec

    def recipe(self, name: str) -> Recipe:
        return load_recipe(self._file("recipe", name))

    def reported(self, name: str) -> Reported:
        return load_reported(self._file("reported", name))

    def prompt(self, name: str, lang: str | None = None) -> Prompt:
        """The prompt, in its variant for `lang` if there is one."""
        base = self._file("prompt", name)
        variant = self.files("prompt").get(f"{name}.{lang}")
        if variant is None:
            return load_prompt(base)
        prompt = load_prompt(variant)
        require_same_kind(prompt, load_prompt(base))  # it may be in another folder
        return prompt

    def variants(self, name: str) -> list[str]:
        """Languages for which the prompt has a variant."""
        return sorted(other.removeprefix(f"{name}.") for other in self.files("prompt") if other.startswith(f"{name}."))
