"""Pages of the site that are not in ``docs/``: those of other folders, and the reference, made from docstrings.

A hook of MkDocs. Links between pages are those of the repository, so that they work in any viewer of it; here they
become those of the site.
"""

import posixpath
import re
from typing import Any

from house import CORE, FILES, ROOT, floors, is_folder, rooms
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "results/README.md": "comparisons.md",
}
"""Pages of other folders, and their names in the site."""

REPOSITORY = {page: file for file, page in ELSEWHERE.items()}


def reference() -> dict[str, list[str]]:
    """Return the modules of every page of the reference, by title: a page for each folder, one for the single files."""
    names = [name for floor in reversed(floors(rooms())) for name in floor if f"{CORE}.{name}" in FILES]
    pages = {f"{CORE}.{name}": [f"{CORE}.{name}"] for name in names if is_folder(name)}
    single = {CORE: [f"{CORE}.{name}" for name in names if not is_folder(name) and not name.startswith("_")]}
    others = [name for name in FILES if name.count(".") == 1 and not name.startswith(CORE)]
    return single | pages | {name: [name] for name in others}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the reference to the navigation."""
    assert config.nav is not None
    config.nav.append({"Reference": [{title: f"reference/{title}.md"} for title in reference()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in ``docs/``."""
    for file, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / file).read_text(encoding="utf-8")))
    for title, modules in reference().items():
        level = 1 if len(modules) == 1 else 2
        options = f"    options: {{heading_level: {level}}}"
        heading = [f"# {title}"] if level > 1 else []
        content = "\n\n".join([*heading, *(f"::: {name}\n{options}" for name in modules)])
        files.append(File.generated(config, f"reference/{title}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    here = posixpath.dirname(REPOSITORY.get(page.file.src_uri, f"docs/{page.file.src_uri}"))

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(here, found[1]))
        if target in ELSEWHERE:
            return f"]({posixpath.relpath(ELSEWHERE[target], posixpath.dirname(page.file.src_uri) or '.')}"
        return f"]({target.removeprefix('docs/')}" if target.startswith("docs/") and here != "docs" else found[0]

    return re.sub(r"\]\(([\w./-]+)", link, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Take Sphinx's roles off names in docstrings: ``:func:`` and the like."""
    return re.sub(r":(?:attr|class|data|exc|func|meth|mod):(?=<code>)", "", html)
