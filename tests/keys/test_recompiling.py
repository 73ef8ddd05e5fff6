"""What the compiler says of a user's text was said when Python compiled it: it neither comes again, nor changes what
the program hears otherwise.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import warnings

import pytest

from scalable_cas.keys import code as codes
from scalable_cas.keys import recompiling
from tests.support.processes import ROOT, run

WRONG = 'def pattern():\n    return "\\d", 1 is 1\n\ndouble = lambda x: (x, "\\d")\n'


@pytest.fixture
def module(tmp_path):
    """A module at whose text the compiler frowns."""
    path = tmp_path / "frowned.py"
    path.write_text(WRONG)
    spec = importlib.util.spec_from_file_location("frowned", path)
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
    codes._known.clear()
    codes._parsed.clear()
    return module


@pytest.mark.parametrize("name", ["pattern", "double"])
@pytest.mark.parametrize("action", ["error", "always", "default"])
def test_nothing_is_said_and_the_source_is_found(module, name, action):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter(action)
        found = codes.fingerprint(getattr(module, name))
    assert said == []
    assert not found.startswith("bc-")


def test_the_filters_of_the_process_stay_as_they_are_whatever_threads_do(module):
    recompiling.parse("1")
    before = list(warnings.filters)
    workers = 4
    turn = threading.Barrier(workers)

    def work():
        for _ in range(50):
            turn.wait()
            codes._known.clear()
            codes._parsed.clear()
            codes.fingerprint(module.pattern)
            codes.fingerprint(module.double)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


def test_the_filter_comes_again_after_it_was_dropped(module):
    with warnings.catch_warnings():
        warnings.resetwarnings()
        recompiling.parse('"\\d"')
    with warnings.catch_warnings(record=True) as said:
        warnings.resetwarnings()
        warnings.simplefilter("always")
        recompiling.parse('"\\d"')
    assert said == []


def test_other_warnings_are_heard():
    recompiling.parse("1")
    with pytest.warns(SyntaxWarning if sys.version_info >= (3, 12) else DeprecationWarning):
        compile('"\\d"', "other.py", "exec")


def test_a_program_whose_warnings_are_errors_has_the_same_fingerprint(tmp_path):
    (tmp_path / "frowned.py").write_text(WRONG)
    program = (
        "import warnings\n"
        "with warnings.catch_warnings():\n"
        "    warnings.simplefilter('ignore')\n"
        "    import frowned\n"
        "from scalable_cas.keys.code import fingerprint\n"
        "print(fingerprint(frowned.pattern), fingerprint(frowned.double))\n"
    )
    path = f"{ROOT}{os.pathsep}{tmp_path}"
    found = {run(program, PYTHONPATH=path, PYTHONWARNINGS=action) for action in ("default", "error")}
    assert len(found) == 1
