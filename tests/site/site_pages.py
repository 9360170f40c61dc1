"""The pages of a built site, as far as links and what they load go."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src", "embed": "src"}
"""Elements that load what an attribute names."""


@dataclass
class SitePage(HTMLParser):
    """What is in one page: places that links may lead to, where its links lead, and what the browser loads with it."""

    file: Path
    places: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    of_nav: list[str] = field(default_factory=list)
    in_nav: int = 0
    words: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.file.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.places |= {values[name] for name in ("id", "name") if name in values}
        self.in_nav += tag == "nav"
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
            self.of_nav += [values["href"]] if self.in_nav else []
        if tag == "link" and values.get("rel") not in ("canonical", "prev", "next", "alternate"):
            self.loaded.append(values["href"])
        if values.get(LOADS.get(tag, ""), ""):
            self.loaded.append(values[LOADS[tag]])

    def handle_endtag(self, tag: str) -> None:
        self.in_nav -= tag == "nav"

    def handle_data(self, data: str) -> None:
        self.words += f" {data} "


def pages_of(site: Path) -> dict[Path, SitePage]:
    """The pages by their files; not that of a missing page, which only a server shows."""
    return {file: SitePage(file) for file in sorted(site.rglob("*.html")) if file.name != "404.html"}


def target(page: Path, link: str) -> tuple[Path, str] | None:
    """The file and the place in it that a link within the site leads to; None for another address."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    return (page.parent / unquote(parts.path)).resolve() if parts.path else page, unquote(parts.fragment)
