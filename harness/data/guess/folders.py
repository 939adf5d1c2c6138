"""Which files of a folder hold which split, and where their paths tell the language, of which language."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path, PurePath

from harness.core.errors import UserError
from harness.data.guess.language import CODES, ISO3, LANGUAGE_NAMES, REGIONS, SCRIPTS
from harness.data.guess.words import SPLITS as WORDS
from harness.data.json_tables import SeveralTables
from harness.data.reading import SUFFIXES, UNLABELLED, bare, class_folders, natural, readable
from harness.specs.tasks import SPLITS, Split

_WORD = r"(?<![^-_./]){}(?![^-_./])"
_SUBTAGS = r"[A-Za-z]{2,3}(?P<script>[-_][A-Za-z]{4})?(?P<region>[-_](?:[A-Z]{2}|[a-z]{2}|419))?"  # 419: Latin America
_TAG = re.compile(_WORD.format(_SUBTAGS))
_PLAIN = re.compile(_WORD.format(r"[^-_./]+"))


def spellings_in(path: str) -> list[str]:
    """Each way to read a language out of `path` (without its suffix): the whole tag and the code that begins it.

    The region of a tag is none by itself: `FR` in `fr_FR`.
    """
    found: dict[str, None] = {}
    regions: set[int] = set()
    for word in _PLAIN.finditer(path):
        if base_of(word[0]) is None or word.start() in regions:
            continue
        tag = _TAG.match(path, word.start())
        if tag is not None and _is_tag(tag):
            found[tag[0]] = None
            regions.add(tag.start("region") + 1)
        found[word[0]] = None
    return list(found)


def with_lang(path: str, spelling: str) -> str:
    """The path with `{lang}` for each `spelling`."""
    return re.sub(_WORD.format(re.escape(spelling)), "{lang}", path)


def base_of(spelling: str) -> str | None:
    """The code of the language that is meant, whatever its script and region; None for what is none."""
    if spelling.lower() in LANGUAGE_NAMES:
        return LANGUAGE_NAMES[spelling.lower()]
    code = re.split("[-_]", spelling)[0]
    if not (code.islower() or code.isupper()):
        return None
    code = ISO3.get(code.lower(), code.lower())
    return code if code in CODES else None


def codes_of(spellings: Collection[str]) -> dict[str, str]:
    """Spelling -> code. Where several mean one language (`zh-CN`, `zh-TW`), they stay apart, each as it is spelled."""
    bases = {spelling: base_of(spelling) or spelling for spelling in sorted(spellings)}
    times = Counter(bases.values())
    return {spelling: base if times[base] == 1 else spelling for spelling, base in bases.items()}


def _is_tag(found: re.Match[str]) -> bool:
    script, region = ((found[part] or "")[1:] for part in ("script", "region"))
    known = (not script or script.lower() in SCRIPTS) and (not region.islower() or region in REGIONS)
    return known and bool(script or region)


MOST_NAMED = 12
Part = tuple[str, str]
"""A split, or `all`; and a language, empty where paths tell none."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The file of each part. `paths`: split -> its path as a task names it, with `{lang}` where it tells the language.

    `notes`: a sentence on the files of the folder that are none of these. `spelled`: language -> what stands for it in paths.
    """

    files: dict[Part, Path]
    paths: dict[str, Path]
    notes: list[str]
    spelled: dict[str, str] = field(default_factory=dict)


def layout_of(path: Path) -> Layout:
    """Of a file, or of a folder. Raises `UserError` where it can't be told."""
    if not path.is_dir():
        return Layout({("all", ""): path}, {"all": path}, [])
    folders = _folders(path)
    if folders is not None:
        return folders
    joined: list[str] = []
    plain, deeper = _shards(_readable(path.glob("*")), joined), _shards(_readable(path.glob("*/*")), joined)
    by_language = _by_language(path, [*plain, *deeper])
    named = {file for files in by_language.values() for file in files.values()}
    spelled: dict[str, str] = {}
    if by_language and not any(_split_of(PurePath(file.name)) == "train" for file in plain if file not in named):
        splits = _by_split(path, by_language)
        paths = {split: path / inner for split, inner in splits.items()}
        there = {split: by_language[inner] for split, inner in splits.items()}
        codes = codes_of({spelling for files_of in there.values() for spelling in files_of})
        spelled = {code: spelling for spelling, code in sorted(codes.items(), key=itemgetter(1))}
        files = {(split, code): there[split][said] for split in there for code, said in spelled.items() if said in there[split]}
        looked_at = [*plain, *deeper]
    else:
        looked_at = plain or _below(path, deeper)
        paths = {split: path / name for split, name in _by_split(path, [file.relative_to(path) for file in looked_at]).items()}
        files = {(split, ""): file for split, file in paths.items()}
    others = [file.relative_to(path).as_posix() for file in looked_at if file not in files.values()]
    more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
    notes = [f"Other files are left alone: {', '.join(others[:MOST_NAMED])}{more}."] if others else []
    return Layout(files, paths, [*joined, *notes], spelled)


def layout_of_parts(path: Path, several: SeveralTables) -> Layout:
    """Of a file whose tables are splits. Raises `several` where they are not."""
    splits = {split_named(name.rpartition(".")[2]): name for name in several.names}
    if path.is_dir() or "train" not in splits or None in splits or len(splits) < len(several.names):
        raise several
    paths = {split: path.with_name(f"{path.name}#{splits[split]}") for split in SPLITS if split in splits}
    return Layout({(split, ""): file for split, file in paths.items()}, dict[str, Path](paths.items()), [])


def _folders(path: Path) -> Layout | None:
    """Of a folder whose tables are folders: saved by `datasets`, or a folder of texts for each label; None of any other."""
    if (path / "state.json").is_file():
        return Layout({("all", ""): path}, {"all": path}, [])
    inner = [folder for folder in sorted(path.iterdir()) if folder.is_dir()]
    there: dict[Split, Path] = {}
    for folder in inner:
        split = split_named(folder.name)
        if split is not None and ((folder / "state.json").is_file() or class_folders(folder)):
            there[split] = folder
    if "train" in there:
        paths: dict[str, Path] = {split: there[split] for split in SPLITS if split in there}
        files = {(split, ""): folder for split, folder in paths.items()}
        return Layout(files, paths, _not_used(path, inner, there.values()) + _without_labels(there.values()))
    classes = class_folders(path)
    if not classes or any(split_named(label) or base_of(label) for label in classes) or any(_readable(path.glob("*"))):
        return None
    if any(_split_of(PurePath(file.name)) == "train" for files_of in classes.values() for file in files_of):
        return None
    return Layout({("all", ""): path}, {"all": path}, _without_labels([path]))


def _not_used(path: Path, inner: Iterable[Path], used: Collection[Path]) -> list[str]:
    others = [folder.relative_to(path).as_posix() for folder in inner if folder not in used]
    return [f"Other folders are left alone: {', '.join(others[:MOST_NAMED])}."] if others else []


def _without_labels(folders: Iterable[Path]) -> list[str]:
    """A sentence on the folders of texts that have no label, as IMDB has them."""
    found = [inner for folder in folders for inner in folder.iterdir() if inner.is_dir() and inner.name.lower() in UNLABELLED]
    return [f"{', '.join(f'{one.parent.name}/{one.name}' for one in found)}: texts without a label, left out."] if found else []


def _below(path: Path, deeper: list[Path]) -> list[Path]:
    """The files of the only folder in `path` that has any, or of those that are named after splits."""
    folders = {file.parent.name for file in deeper}
    return deeper if len(folders) == 1 or all(map(split_named, folders)) else []


_SHARD = re.compile(r"(?P<head>.*?[-_.]?)\d+(?P<of>-of-(?P<count>\d+))?")


def _shards(files: list[Path], joined: list[str]) -> list[Path]:
    """`files` with one path, such as `train-[0-9]*.parquet`, for those that are parts of one table; a sentence on each is added
    to `joined`. Raises `UserError` where some are missing."""
    groups: dict[tuple[Path, str, str], list[Path]] = defaultdict(list)
    for file in files:
        name = bare(PurePath(file.name)).name
        found = _SHARD.fullmatch(name)
        if found is not None:
            groups[file.parent, found["head"], (found["of"] or "") + file.name[len(name) :]].append(file)
    kept = list(files)
    for (folder, head, end), parts in groups.items():
        count = re.match(r"-of-(\d+)", end)
        if count is not None and len(parts) != int(count[1]):
            raise UserError(
                f"{folder}: {len(parts)} of the {int(count[1])} files {head}*{end} are there.", "Add the missing ones."
            )
        if count is None and (len(parts) < 2 or any(char in head for char in "[]*?")):
            continue
        table = folder / f"{head}[0-9]*{end}"
        if len(parts) > 1:
            joined.append(f"{len(parts)} files are parts of one table, and are joined: {table.name}.")
        kept = [table, *(file for file in kept if file not in parts)]
    return sorted(kept, key=natural)


def split_named(text: str) -> Split | None:
    """The split that a file's stem or a cell means."""
    word = text.strip().lower().removesuffix("_set").removesuffix(" set")
    return next((split for split in SPLITS if word in WORDS[split]), None)


def in_all_splits(parts: Collection[Part]) -> tuple[list[Part], list[str]]:
    """The parts to use, so that every language has every split, and sentences on what is left out.

    First go the splits that fewer than half of the languages have, then the languages that lack one of the others.
    """
    langs: dict[str, set[str]] = defaultdict(set)
    for split, lang in parts:
        langs[split].add(lang)
    everywhere = set().union(*langs.values())
    splits = [split for split in langs if 2 * len(langs[split]) >= len(everywhere)]
    notes = [f"The {split} files are left out: few languages have one." for split in langs if split not in splits]
    kept = set(everywhere)
    for lang in sorted(everywhere):
        missing = [split for split in splits if lang not in langs[split]]
        if missing:
            kept.discard(lang)
            notes.append(f"{lang} is left out: it lacks {' and '.join(missing)} rows that can be used.")
    return [(split, lang) for split, lang in parts if split in splits and lang in kept], notes


_WEAK = (".txt", ".dat")
_FILES_ABOUT = "readme license licence requirements citation changelog dataset_info dataset_infos dataset_dict state"
_ABOUT = frozenset(_FILES_ABOUT.split())


def _readable(paths: Iterable[Path]) -> list[Path]:
    """The files that hold rows by their names; .txt and .dat files beside others only where these name no split."""
    found = sorted(path for path in paths if readable(path) and path.is_file() and bare(path).name.lower() not in _ABOUT)
    strong = [path for path in found if path.suffix.lower() not in _WEAK]
    if any(_split_of(PurePath(path.name)) is not None for path in strong):
        return strong
    named = [path for path in found if path in strong or _split_of(PurePath(path.name)) is not None]
    return named if strong else found


def _by_language(folder: Path, files: Iterable[Path]) -> dict[PurePath, dict[str, Path]]:
    """Path with `{lang}` -> what stands for it -> file, where at least two languages have a file."""
    found: dict[PurePath, dict[str, Path]] = defaultdict(dict)
    for file in files:
        inner = file.relative_to(folder)
        text = bare(inner).as_posix()
        for spelling in spellings_in(text):
            found[PurePath(with_lang(text, spelling) + inner.as_posix()[len(text) :])][spelling] = file
    several = {template: there for template, there in found.items() if len(there) > 1}
    taken: set[Path] = set()
    kept = {}
    # `tr` is Turkish here and train there
    for template, there in sorted(several.items(), key=lambda item: (-len(item[1]), _split_of(item[0]) is None)):
        if taken.isdisjoint(there.values()):
            kept[template] = there
            taken.update(there.values())
    return kept


def _split_of(inner: PurePath) -> Split | None:
    """By the name of the file, its last and its first word; then by the folder's."""
    name = bare(inner).name
    words = re.split(r"[-_.]", name)
    names = [name, words[-1], words[0], *(words if "{lang}" in words else []), *inner.parts[:-1]]
    return next((split for split in map(split_named, names) if split is not None), None)


def _by_split(folder: Path, inner: Collection[PurePath]) -> dict[str, PurePath]:
    found: dict[str, PurePath] = {}
    for path in inner:
        split = _split_of(path)
        if split is not None and split in found:
            raise UserError(f"{folder}: both {found[split]} and {path} look like {split} rows.", "Keep one of them.")
        if split is not None:
            found[split] = path
    if "train" in found:
        return {split: found[split] for split in SPLITS if split in found}
    if len(inner) == 1:
        return {"all": next(iter(inner))}
    names = ", ".join([str(path) for path in inner][:MOST_NAMED]) or "none of " + ", ".join(SUFFIXES)
    raise UserError(
        f"{folder}: none of its files is called train (found: {names}).", "Name one of the files, or call it train.csv."
    )
