"""Brings files from outside docs/ into the site: the project's own pages, notebooks, and what pages link to.

Pages are written to be read in the repository, where ``../CHANGELOG.md`` and ``../benchmarks/core.yaml`` lead somewhere. Here
such a link leads to the page of that file; where a file is no text to be read in a page, its name stays as plain text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PROJECT = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
"""Pages of the repository's root, each with its place in the site."""
LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".cff": "yaml", ".sh": "sh", ".txt": "text", "": "text"}
"""Files that are shown as code, by their endings."""
LARGEST = 60_000
"""Bytes up to which a file has a page."""

LINK = re.compile(r"(!?)\[([^\]\n]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
FENCED = re.compile(r"(^ *```.*?^ *```[^\n]*$)", re.MULTILINE | re.DOTALL)


@event_priority(100)  # before the plugin that makes pages of notebooks
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the project's pages, the notebooks, and a page for each file outside that a page links to."""
    for name, uri in PROJECT.items():
        if (ROOT / name).exists():
            files.append(File.generated(config, uri, content=(ROOT / name).read_text()))
    for notebook in sorted((ROOT / "examples").glob("*.ipynb")):
        place_of = f"examples/{notebook.name}"  # with a folder, since the plugin's own kind of file knows no other source
        files.append(File(place_of, str(ROOT), config.site_dir, config.use_directory_urls))
    for page in [file for file in files if file.src_uri.endswith(".md")]:
        here = in_repository(page.src_uri).parent
        for linked in (place(here, link[3]) for link in LINK.finditer(page.content_string)):
            uri = uri_of(linked)
            if uri and uri.startswith("files/") and not files.get_file_from_path(uri):
                files.append(File.generated(config, uri, content=shown(linked)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links between places in the repository into links between pages."""
    here = in_repository(page.file.src_uri).parent
    pieces = FENCED.split(markdown)
    pieces[::2] = [LINK.sub(lambda link: retargeted(link, here, page.file), piece) for piece in pieces[::2]]
    return "".join(pieces)


def in_repository(uri: str) -> PurePosixPath:
    """Where a page of the site lies in the repository, from its root."""
    for name, of_project in PROJECT.items():
        if uri == of_project:
            return PurePosixPath(name)
    if uri.startswith("files/"):
        return PurePosixPath(uri.removeprefix("files/").removesuffix(".md"))
    return PurePosixPath(uri) if uri.startswith("examples/") else PurePosixPath("docs", uri)


def place(here: PurePosixPath, target: str) -> str:
    """The place in the repository, from its root, that a link of a page in the folder ``here`` leads to."""
    return posixpath.normpath(posixpath.join(here, target))


def uri_of(linked: str) -> str | None:
    """The page, or the file, of the site that stands for a place in the repository; None where there is none."""
    file = ROOT / linked
    if linked.startswith("docs/"):
        inside = linked.removeprefix("docs/")
        return next((f"{inside}/{name}" for name in ("README.md", "index.md") if (file / name).exists()), inside)
    if linked == "README.md":
        return "index.md"
    if linked in PROJECT or (linked.startswith("examples/") and linked.endswith(".ipynb")):
        return PROJECT.get(linked, linked)
    readable = file.is_file() and file.suffix in (*LANGUAGES, ".md") and file.stat().st_size <= LARGEST
    return f"files/{linked}.md" if readable and not linked.startswith("..") else None


def shown(linked: str) -> str:
    """The page of a file: a page of Markdown as it is, and other text as code."""
    text = (ROOT / linked).read_text()
    if linked.endswith(".md"):
        return text
    language = LANGUAGES[PurePosixPath(linked).suffix]
    return f"---\nsearch:\n  exclude: true\n---\n\n# {linked}\n\n````{language}\n{text.rstrip()}\n````\n"


def retargeted(link: re.Match[str], here: PurePosixPath, page: File) -> str:
    """A link for the site, or its words alone where it leads to nothing there."""
    mark, words, target, anchor = link[1], link[2], link[3], link[4] or ""
    if not target or ":" in target or target.startswith("/"):
        return link[0]
    uri = uri_of(place(here, target))
    if uri is None:
        return words
    return f"{mark}[{words}]({posixpath.relpath(uri, posixpath.dirname(page.src_uri) or '.')}{anchor})"
