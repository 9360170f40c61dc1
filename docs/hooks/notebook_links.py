"""Links of notebooks, which lead to places in the repository as those of pages do, lead to pages of the site."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

_SPEC = importlib.util.spec_from_file_location("outside_of_docs", Path(__file__).with_name("outside.py"))
assert _SPEC and _SPEC.loader
outside = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(outside)

LINK = re.compile(r'href="([^":#]+)(#[^"]*)?"')


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Changes the links of a notebook; PluginError where one leads nowhere."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html
    here = PurePosixPath(page.file.src_uri).parent

    def retargeted(link: re.Match[str]) -> str:
        uri = outside.uri_of(outside.place(here, link[1]))
        target = files.get_file_from_path(uri) if uri else None
        if target is None:
            raise PluginError(f"{page.file.src_uri}: the link to {link[1]} leads to no page of the site")
        return f'href="{target.url_relative_to(page.file)}{link[2] or ""}"'

    return LINK.sub(retargeted, html)
