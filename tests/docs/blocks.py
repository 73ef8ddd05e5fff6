"""The fenced blocks of a Markdown file, and what each is for.

- `python`: executed, in one namespace for the file; with `>>>` lines it is a doctest. If its first line is a
  comment that is nothing but a file's name (`# growth.py`) it is written to that file instead, for a later
  block to run.
- `yaml`: written to the file that its first line names, or only shown.
- `console`: each `$ ` line is run by sh, and what follows is what it prints, with `...` for anything at all.
- `sh`: not run here, because it sets up the machine; only the README has such blocks, each behind a marker.
- every other language (`text`, `json`, ...) is only shown.

They run in the order of the file, in a working directory of their own, and a command that fails is a failure.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
MARKER = re.compile(r"<!-- command: (\w+) -->")
FILE_NAME = re.compile(r"# ([\w./-]+\.(?:py|ya?ml))")
SHOWN = {"text", "json", "yaml", "toml", "ini", "c", "diff"}
RUN = {"python", "console"}


class Block(NamedTuple):
    language: str
    line: int  # of its first line, from 1
    text: str
    marker: str  # the command of the README that it is, or ""

    @property
    def file(self) -> str:
        """The file that the block is to be written to, or ""."""
        named = (
            FILE_NAME.fullmatch(self.text.partition("\n")[0]) if self.language in ("python", "yaml") else None
        )
        return named[1] if named else ""


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(markdown: str) -> list[Block]:
    """All fenced blocks, in order.

    Raises:
        ValueError: a fence is indented or never closed, so that the block would silently not run.
    """
    found = []
    fence, start, language, marker = "", 0, "", ""
    lines = markdown.splitlines()
    for number, line in enumerate(lines, 1):
        if fence:
            if line == fence:
                text = "\n".join(lines[start : number - 1]) + "\n"
                found.append(Block(language, start + 1, text, marker))
                fence, marker = "", ""
        elif line.startswith("```"):
            fence = "`" * (len(line) - len(line.lstrip("`")))
            start, language = number, line.removeprefix(fence).strip()
        elif line.lstrip().startswith("```"):
            raise ValueError(f"line {number}: a fence starts in the first column")
        elif named := MARKER.fullmatch(line):
            marker = named[1]
        elif line:
            marker = ""
    if fence:
        raise ValueError(f"line {start}: the block is never closed")
    return found


def commands(text: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with what it is said to print.

    Raises:
        ValueError: the block does not start with a command.
    """
    found: list[tuple[str, str]] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif not found:
            raise ValueError("a console block starts with `$ `")
        elif found[-1][1] == "" and found[-1][0].endswith("\\\n"):
            found[-1] = (found[-1][0] + line, "")
        else:
            found[-1] = (found[-1][0], found[-1][1] + line)
    return found
