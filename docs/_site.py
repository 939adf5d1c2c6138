"""Hooks of mkdocs: the site works without the repository, a server and a network.

Files outside of docs/ that the pages link to are copied into the site, under `repo/` (Markdown as a page, source code as a
page with a listing), and the links point to the copies. `mkdocs build --strict` fails on a link to a missing file.

The theme would load a script from the web to search in pages opened from disk; `search-from-disk.js` replaces it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).resolve().parents[1]
COPIES = "repo"
LISTED = {".py": "python", ".toml": "toml", ".j2": "jinja"}  # source code that is shown as a page
SHIPPED = (".md", ".svg", ".png", ".json", ".html", *LISTED)
ALWAYS = ("results/LEADERBOARD.md", "CHANGELOG.md")  # part of the navigation
FETCHED, OWN = "https://unpkg.com/iframe-worker/shim", "search-from-disk.js"
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the copies, and the files that copied Markdown links to."""
    found: set[str] = set()
    pending = list(ALWAYS)
    for page in files.documentation_pages():
        pending += _outside(f"docs/{page.src_uri}", page.content_string)
    while pending:
        path = pending.pop()
        if path in found:
            continue
        found.add(path)
        files.append(_copy(path, config))
        if path.endswith(".md"):
            pending += _outside(path, (ROOT / path).read_text(encoding="utf-8"))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """The page with its links pointing to the copies."""
    here = _in_repository(page.file.src_uri)

    def turned(link: re.Match[str]) -> str:
        path = _resolved(here, link[1])
        target = _in_site(path)
        known = files.get_file_from_path(target) is not None
        return posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or ".") if known else link[1]

    return LINK.sub(turned, markdown)


def on_post_page(output: str, page: Any, config: Any) -> str:
    return output.replace(FETCHED, get_relative_url(OWN, page.url))


def on_post_template(output_content: str, template_name: str, config: Any) -> str:
    """404.html is for servers, where the theme needs no such script."""
    return output_content.replace(f'<script src="{FETCHED}"></script>', "")


def _outside(here: str, text: str) -> list[str]:
    """Files of the repository, outside of docs/, that `text` in the file `here` links to."""
    paths = {_resolved(here, link) for link in LINK.findall(text)}
    return sorted(path for path in paths if not path.startswith(("docs/", "..")) and _ships(path))


def _ships(path: str) -> bool:
    return path.endswith(SHIPPED) and (ROOT / path).is_file()


def _copy(path: str, config: Any) -> File:
    if not path.endswith(tuple(LISTED)):
        return File.generated(config, _in_site(path), abs_src_path=str(ROOT / path))
    code = (ROOT / path).read_text(encoding="utf-8")
    listing = f"---\nsearch: {{exclude: true}}\n---\n# {path}\n\n``````{LISTED[Path(path).suffix]}\n{code}``````\n"
    return File.generated(config, _in_site(path), content=listing)


def _resolved(here: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(here), link))


def _in_site(path: str) -> str:
    """The path of a repository file among the site's sources."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"{COPIES}/{path}" + (".md" if path.endswith(tuple(LISTED)) else "")


def _in_repository(source: str) -> str:
    return source.removeprefix(f"{COPIES}/") if source.startswith(f"{COPIES}/") else f"docs/{source}"
