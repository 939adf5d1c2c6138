"""Which files of a folder hold which split, and where their paths tell the language, of which language."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path, PurePath

from harness.core.errors import UserError
from harness.data.formats import READERS, SHARD, UNLABELLED, class_folders, hidden, is_saved, readable, shards_of
from harness.data.guess.language import CODES, ISO3, LANGUAGE_NAMES, REGIONS, SCRIPTS
from harness.data.guess.words import SPLITS as WORDS
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
    if (saved := _saved(path)) is not None:
        return saved
    plain, deeper = _readable(path.glob("*")), _readable(path.glob("*/*"))
    if not plain and (classes := _by_class(path)):
        unlabelled = sorted({folder.name for folder in (*path.glob("*"), *path.glob("*/*")) if folder.name in UNLABELLED})
        notes = [f"The texts in {', '.join(unlabelled)} are left out: they have no label."] if unlabelled else []
        return Layout({(split, ""): folder for split, folder in classes.items()}, classes, notes)
    by_language = _by_language(path, [*plain, *deeper])
    named = {file for files in by_language.values() for file in files.values()}
    spelled: dict[str, str] = {}
    sharded: dict[str, int] = {}
    if by_language and not any(_split_of(PurePath(file.name)) == "train" for file in plain if file not in named):
        splits = _by_split(path, by_language)
        paths = {split: path / inner for split, inner in splits.items()}
        there = {split: by_language[inner] for split, inner in splits.items()}
        codes = codes_of({spelling for files_of in there.values() for spelling in files_of})
        spelled = {code: spelling for spelling, code in sorted(codes.items(), key=itemgetter(1))}
        files = {(split, code): there[split][said] for split in there for code, said in spelled.items() if said in there[split]}
        looked_at = [*plain, *deeper]
    else:
        looked_at = plain or deeper
        whole, sharded = _shards(path, looked_at)
        paths = {split: path / name for split, name in _by_split(path, whole).items()}
        files = {(split, ""): file for split, file in paths.items()}
        read = {shard for file in paths.values() for shard in shards_of(file)}
        looked_at = [file for file in looked_at if file not in read]
    others = [file.relative_to(path).as_posix() for file in looked_at if file not in files.values()]
    more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
    notes = [f"Other files are left alone: {', '.join(others[:MOST_NAMED])}{more}."] if others else []
    notes += [f"{count} files are read as one: {name}." for name, count in sharded.items() if path / name in paths.values()]
    return Layout(files, paths, notes, spelled)


def split_named(text: str) -> Split | None:
    """The split that a file's stem or a cell means."""
    word = re.sub(r"[-_\s]+", "_", text.strip().lower())
    word = re.sub(r"_?(set|data|split|rows)$", "", word) if word not in ("set", "data", "split", "rows") else word
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


def _by_class(path: Path) -> dict[str, Path]:
    """The folders of splits whose folders are classes (`train/pos/1.txt`), the folder itself (`pos/1.txt`), or the only one
    in it."""
    if len(class_folders(path)) > 1:
        return {"all": path}
    inner = sorted(folder for folder in path.iterdir() if folder.is_dir() and not hidden(folder))
    with_classes = [folder for folder in inner if len(class_folders(folder)) > 1]
    found: dict[str, Path] = {split: folder for folder in with_classes if (split := split_named(folder.name))}
    if "train" in found:
        return found
    return {"all": with_classes[0]} if len(inner) == 1 and with_classes else {}


def _saved(path: Path) -> Layout | None:
    """Of a folder that `save_to_disk` of the library `datasets` wrote: one split, or a folder for each."""
    if is_saved(path):
        return Layout({("all", ""): path}, {"all": path}, [])
    inner = {split: folder for folder in sorted(path.iterdir()) if is_saved(folder) and (split := split_named(folder.name))}
    paths: dict[str, Path] = {split: inner[split] for split in SPLITS if split in inner}
    return Layout({(split, ""): folder for split, folder in paths.items()}, paths, []) if "train" in paths else None


_OF = re.compile(r"(?P<number>\d+)-of-(?P<count>\d+)(?:-[0-9a-f]{8,})?")
"""As libraries number shards; some put a digest of the contents behind."""
_NUMBER = re.compile(r"(?<![vV\d(])(?P<number>\d+)(?=\D*$)(?![kKmM%)])")
"""The last number of a name, but no version (`v2`), no size (`10k`) and no second download (`train (1)`)."""


def _shards(folder: Path, files: Sequence[Path]) -> tuple[list[PurePath], dict[str, int]]:
    """The files relative to `folder`, with one path with `*` for those that are parts of one; and how many each has.

    Parts differ by a number alone, and their numbers follow one another.
    """
    groups: dict[PurePath, list[tuple[int, int | None, PurePath]]] = defaultdict(list)
    found: dict[PurePath, int] = {}
    for file in files:
        path: PurePath = file.relative_to(folder)
        part = _OF.search(path.name) or _NUMBER.search(path.stem)
        if part is None:
            found[path] = 1
            continue
        count = part.groupdict().get("count")
        pattern = path.with_name(f"{path.name[: part.start()]}{SHARD}{path.name[part.end() :]}")
        groups[pattern].append((int(part["number"]), int(count) if count else None, path))
    for pattern, parts in groups.items():
        numbers = sorted(number for number, _, _ in parts)
        count = next((count for _, count, _ in parts if count is not None), None)
        if count is not None and len(parts) < count:
            raise UserError(
                f"{folder}: {len(parts)} of the {count} files {pattern} are there.",
                "Add the missing ones, or rename these.",
            )
        in_a_row = len(parts) > 1 and numbers == list(range(numbers[0], numbers[0] + len(parts)))
        whole = in_a_row and {folder / path for _, _, path in parts} == set(shards_of(folder / pattern))
        found |= {pattern: len(parts)} if whole else dict.fromkeys((path for _, _, path in parts), 1)
    return list(found), {path.as_posix(): count for path, count in found.items() if count > 1}


def _readable(paths: Iterable[Path]) -> list[Path]:
    """Those that are read as tables; of .txt files only what is named as a split, as others are notes."""
    found = (path for path in paths if path.is_file() and readable(path) and not hidden(path) and not hidden(path.parent))
    kept = sorted(path for path in found if path.suffix.lower() != ".txt" or _split_of(PurePath(path.name)) is not None)
    tables = [path for path in kept if path.suffix.lower() != ".txt"]
    return tables if any(_split_of(PurePath(path.name)) is not None for path in tables) else kept


def _by_language(folder: Path, files: Iterable[Path]) -> dict[PurePath, dict[str, Path]]:
    """Path with `{lang}` -> what stands for it -> file, where at least two languages have a file."""
    found: dict[PurePath, dict[str, Path]] = defaultdict(dict)
    for file in files:
        inner = file.relative_to(folder)
        text = inner.with_suffix("").as_posix()
        for spelling in spellings_in(text):
            found[PurePath(with_lang(text, spelling) + inner.suffix)][spelling] = file
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
    stem = re.sub(r"\s*\(\d+\)$", "", inner.stem)  # the second download of a file
    words = re.split(r"[-_.\s]+", stem)
    names = [stem, words[-1], words[0], *(words if "{lang}" in words else []), *inner.parts[:-1]]
    return next((split for split in map(split_named, names) if split is not None), None)


def _by_split(folder: Path, inner: Collection[PurePath]) -> dict[str, PurePath]:
    found: dict[str, PurePath] = {}
    for path in inner:
        split = _split_of(path)
        if split is not None and split in found:
            raise UserError(
                f"{folder}: both {found[split]} and {path} look like {split} rows.",
                "Keep one of them; if one holds the labels of the other's texts, write both into one table.",
            )
        if split is not None:
            found[split] = path
    if "train" in found:
        return {split: found[split] for split in SPLITS if split in found}
    if len(inner) == 1:
        return {"all": next(iter(inner))}
    raise UserError(f"{folder}: none of its files is called train{_found(folder, inner)}.", _way_out(folder, inner))


def _found(folder: Path, inner: Collection[PurePath]) -> str:
    """What is there instead."""
    names = [str(path) for path in inner] or sorted(path.name for path in folder.iterdir() if not hidden(path))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f" (found: {', '.join(names[:MOST_NAMED])}{more})" if names else ", it is empty"


def _way_out(folder: Path, inner: Collection[PurePath]) -> str:
    if inner:
        return "Name one of the files, or call it train.csv."
    folders = [path for path in sorted(folder.iterdir()) if path.is_dir() and not hidden(path)]
    classes = [path.name for path in folders if len(class_folders(path)) > 1]
    if classes:
        return f"Its folders hold classes of texts each; name one of them: {', '.join(classes[:MOST_NAMED])}."
    if next((path for path in folder.glob("*.txt") if not hidden(path)), None) is not None:
        return "Text without labels is no table: write rows with a text and a label into one file, train.csv."
    return f"A file of rows has one of the suffixes {', '.join(READERS)}."
