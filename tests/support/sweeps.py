"""`python -m tests.support.sweeps PROGRAM FAULT TEMPLATE FOLDER [onwards]`: one program of `scenarios`, once for each change that it makes.

A child is forked for each point from a process that has everything imported and nothing open: 15 ms instead of 300.
Each works on a copy of the template, FOLDER/N/store; FOLDER/N/said is its output, FOLDER/N/warned its standard error. A line for
each is printed: N, and how the child ended. The sweep is over when a child ends without having met its fault.
"""

from __future__ import annotations

import os
import shutil
import sys
import traceback
import warnings

from tests.support import scenarios
from tests.support.faulty import FaultyOs


def one(program: str, fault: str, number: int, folder: str, *, onwards: bool) -> int:
    """Fork a child and return its exit status; 99 if it never met its fault."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        os.dup2(os.open(f"{folder}/said", os.O_WRONLY | os.O_CREAT, 0o600), 1)
        os.dup2(os.open(f"{folder}/warned", os.O_WRONLY | os.O_CREAT, 0o600), 2)
        os.environ["SCALABLE_CACHE_DIR"] = f"{folder}/store"
        faulty = FaultyOs(number, fault, onwards=onwards)
        faulty.install()
        scenarios.PROGRAMS[program]()
        scenarios.forget_open_stores()
        code = 0 if faulty.seen >= number else 99
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def main() -> None:
    program, fault, template, folder, *onwards = sys.argv[1:]
    warnings.simplefilter("always")
    number = 0
    while True:
        number += 1
        here = f"{folder}/{number}"
        os.makedirs(here)
        if os.path.exists(template):
            shutil.copytree(template, f"{here}/store", symlinks=True)
        status = one(program, fault, number, here, onwards=bool(onwards))
        print(number, status, flush=True)
        if status == 99 or number > 2000:
            return


if __name__ == "__main__":
    main()
