"""Run the blocks of one Markdown file: `python session.py PAGE` in an empty folder. Exits 1 at the first
difference.

A process for each page, because a process finds its store once; the python blocks run in this one, so that
what a page defines in one block is there in the next, and the commands in a shell that finds the same
`python` and `scalable-cas`.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the package, also where it is not installed

from tests.docs.blocks import Block, blocks, commands

FLAGS = doctest.ELLIPSIS
#: Printed after each command, with its exit code. No page prints it by accident.
MARK = "\x1e"


class Difference(Exception):
    """A page says something else than what happens."""


def compare(where: str, expected: str, printed: str) -> None:
    if not doctest.OutputChecker().check_output(expected, printed, FLAGS):
        raise Difference(f"{where}\n--- the page says\n{expected}--- it prints\n{printed}")


def run_python(block: Block, page: str, namespace: dict[str, object]) -> None:
    if ">>> " in block.text:
        test = doctest.DocTestParser().get_doctest(block.text, {}, page, page, block.line - 1)
        test.globs = namespace  # given to the parser it would be copied
        said: list[str] = []
        runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
        if runner.run(test, out=said.append, clear_globs=False).failed:
            raise Difference("".join(said))
        return
    # the empty lines make the line numbers of a traceback those of the page
    exec(compile("\n" * (block.line - 1) + block.text, page, "exec"), namespace)


def run_console(block: Block, page: str) -> None:
    """All commands of a block in one shell, so that a variable set by one is there in the next."""
    steps = commands(block.text)
    script = "".join(f"{command}printf '{MARK}%s{MARK}' $?\n" for command, _ in steps)
    shell = subprocess.run(
        ["sh", "-c", "exec 2>&1 </dev/null\n" + script],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    parts = re.split(f"{MARK}(\\d+){MARK}", shell.stdout)
    printed, codes = parts[0:-1:2], parts[1::2]
    for number, (command, expected) in enumerate(steps):
        where = f"{page}:{block.line}: $ {command.strip()}"
        if number >= len(codes):
            raise Difference(f"{where}\nthe shell ended before: {parts[-1]}{shell.stderr}")
        compare(where, expected, printed[number])
        if codes[number] != "0":
            raise Difference(f"{where}\nexit code {codes[number]}\n{printed[number]}")


def main(page: str) -> int:
    namespace: dict[str, object] = {"__name__": "__main__"}
    sys.path.insert(0, os.getcwd())
    for block in blocks(Path(page).read_text(encoding="utf-8")):
        try:
            if block.file:
                Path(block.file).parent.mkdir(parents=True, exist_ok=True)
                Path(block.file).write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                run_python(block, page, namespace)
            elif block.language == "console":
                run_console(block, page)
        except Difference as difference:
            print(difference, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
