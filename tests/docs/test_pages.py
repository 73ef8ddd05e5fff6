"""Every block of README.md and docs/ does what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from .blocks import ROOT, RUN, SHOWN, blocks, commands, pages

SESSION = Path(__file__).with_name("session.py")
PAGES = [page.relative_to(ROOT).as_posix() for page in pages()]


def session(page, folder):
    """Run one page in an empty folder, with `python` and `scalable-cas` those of this interpreter."""
    env = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        # a page edits modules faster than Python can tell from its bytecode: that goes by whole seconds and the size
        "PYTHONDONTWRITEBYTECODE": "1",
        "COLUMNS": "100",
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }
    command = [sys.executable, str(SESSION), str(page)]
    with (
        tempfile.TemporaryDirectory() as own
    ):  # somebody without a home may have left his key in the machine's
        env["TMPDIR"] = own
        return subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, timeout=150, check=False
        )


@pytest.mark.parametrize(
    "page", [p for p in PAGES if any(b.language in RUN for b in blocks((ROOT / p).read_text()))]
)
def test_page_is_true(page, tmp_path):
    done = session(ROOT / page, tmp_path)
    assert done.returncode == 0, f"\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES)
def test_no_block_slips_through(page):
    everything = blocks((ROOT / page).read_text(encoding="utf-8"))
    for block in everything:
        if block.language == "sh":
            assert block.marker, (
                f"{page}:{block.line}: only the README's commands are sh, behind their markers"
            )
        else:
            assert block.language in RUN | SHOWN, f"{page}:{block.line}: a block of {block.language!r}"
        if block.file.endswith(".py"):
            stem = Path(block.file).stem
            later = [b for b in everything if b.line > block.line and b.language in RUN and stem in b.text]
            assert later, f"{page}:{block.line}: nothing runs {block.file}"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)", text) if "://" not in target]
    dead = [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()]
    assert not dead


@pytest.mark.parametrize(
    "page, true",
    [
        ("```python\nx = 1\n```\n```python\nassert x == 1\n```\n", True),
        ("```python\nassert False\n```\n", False),
        ("```python\n>>> 1 + 1\n2\n```\n", True),
        ("```python\n>>> 1 + 1\n3\n```\n", False),
        ("```python\ny = 2\n```\n```python\n>>> y\n2\n>>> z = 3\n```\n```python\nassert z == 3\n```\n", True),
        ("```python\n# made.py\nprint('made')\n```\n```console\n$ python made.py\nmade\n```\n", True),
        ("```console\n$ echo one; echo two\none\n...\n```\n", True),
        ("```console\n$ echo one\ntwo\n```\n", False),
        ("```console\n$ false\n```\n", False),
        ("```console\n$ false; echo $?\n1\n```\n", True),
        ("```console\n$ a=1\n$ echo $a\n1\n```\n", True),
        ("```console\n$ echo a \\\n    b\na b\n$ echo c\nc\n```\n", True),
        ("```console\n$ exit 0\n$ echo never\nnever\n```\n", False),
        ("```console\n$ echo silent\n```\n", False),
        ("```console\n$ echo talk >&2\ntalk\n```\n", True),
        ("```text\n$ false\n```\n", True),
    ],
)
def test_a_page_that_is_not_true_is_recognised(tmp_path, page, true):
    (tmp_path / "page.md").write_text(page)
    done = session(tmp_path / "page.md", tmp_path)
    assert (done.returncode == 0) is true, done.stderr


def test_a_block_that_would_not_run_is_refused():
    with pytest.raises(ValueError, match="first column"):
        blocks("- a\n  ```python\n  x\n  ```\n")
    with pytest.raises(ValueError, match="never closed"):
        blocks("```python\nx\n")
    with pytest.raises(ValueError, match="starts with"):
        commands("echo\n")
