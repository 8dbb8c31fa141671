"""The README and the pages of docs/, and what is in their code blocks."""

from __future__ import annotations

import re

from tests.support.paths import ROOT

FILES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in FILES}
"""The text of each page, by its path in the checkout."""

ALL_PAGES = "\n".join(PAGES.values())


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the language and the content of each fenced block of a page, in their order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", PAGES[page], re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with the output that is shown below it."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)
    assert parts[0] == "", "a console block begins with a command"
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts[1:])]


def section(heading: str) -> str:
    """Return the section under a heading that one page has, up to the next heading of the same level."""
    level = heading.split()[0]
    pattern = re.compile(rf"^{re.escape(heading)}.*?(?=^{level} |\Z)", re.DOTALL | re.MULTILINE)
    (found,) = (match[0] for text in PAGES.values() for match in pattern.finditer(text))
    return str(found)
