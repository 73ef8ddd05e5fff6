"""Decorated functions that return arrays and frames."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

from scalable_cas import CacheWarning, Store, cacheable


def test_each_caller_gets_an_array_of_its_own(workdir):
    live = np.arange(100_000.0)

    @cacheable
    def f(i: int):
        return {"large": live, "small": np.arange(3)}

    first = f(1)
    second, third = f(1), f(1)
    for item in ("large", "small"):
        second[item][0] = -1
        assert first[item][0] == third[item][0] == f(1)[item][0] == 0
    assert f.cache_info()[:2] == (4, 1)


def test_a_hit_while_the_result_is_being_written_has_memory_of_its_own(workdir):
    from scalable_cas.codecs import encode
    from scalable_cas.storage.ahead import Ahead
    from scalable_cas.storage.loose import LooseObjects
    from scalable_cas.store.assembly import as_objects
    from scalable_cas.store.entry import decode_pending

    live = np.arange(100_000.0)

    class Item:  # what the writer holds of a result
        objects = as_objects(encode(live), Ahead(LooseObjects(str(workdir)), lambda: False))
        record = type("Record", (), {"codec": "numpy"})

    back = decode_pending(Item)
    back[0] = -1
    assert live[0] == 0


def test_equal_arrays_in_one_result_are_two_arrays(workdir):
    @cacheable
    def f(i: int):
        return {"a": np.zeros(100_000), "b": np.zeros(100_000), "c": (b"x" * 100_000, b"x" * 100_000)}

    f(1)
    back = f(1)
    back["a"][:] = 1
    assert back["b"].sum() == 0
    assert f(1)["a"].sum() == 0
    assert f.cache_info().hits == 2


def test_results_that_share_columns_share_objects(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(np.random.default_rng(0).random((20_000, 5)), columns=list("abcde"))
    with Store.init(str(tmp_path / "store")) as store:

        @cacheable(_store=store)
        def f(i: int):
            return frame.assign(e=frame.e + i)

        for i in range(5):
            pd.testing.assert_frame_equal(f(i), f(i))
        assert {entry.codec for entry in store.entries()} == {"pandas"}
    sizes = [file.stat().st_size for file in (tmp_path / "store" / "objects").rglob("*") if file.is_file()]
    column = frame.a.to_numpy().nbytes
    assert sum(size > column // 2 for size in sizes) == 4 + 5
    assert sum(sizes) < 9.5 * column


def test_a_library_that_has_gone_is_a_miss_and_one_warning(workdir, run):
    pytest.importorskip("pandas")
    (workdir / "job.py").write_text(
        "import sys\n"
        "from scalable_cas import cacheable\n"
        "@cacheable\n"
        "def f(i: int):\n"
        "    print('running', file=sys.stderr)\n"
        "    if 'pandas' in sys.argv:\n"
        "        import pandas\n"
        "        return pandas.Series([1.0])\n"
        "    return 'without'\n"
        "if 'pandas' not in sys.argv:\n"
        "    sys.modules['pandas'] = None\n"
        "print(type(f(1)).__name__)\n"
    )
    assert run("job.py", "pandas").stdout == "Series\n"
    done = run("job.py")
    assert done.stdout == "str\n"
    assert done.stderr.count("CacheWarning") == 1, done.stderr
    assert "needs pandas, which is not installed" in done.stderr


def test_no_warning_where_nothing_is_wrong(workdir):
    @cacheable
    def f(i: int):
        return np.arange(i)

    with warnings.catch_warnings():
        warnings.simplefilter("error", CacheWarning)
        assert f(3).tolist() == f(3).tolist()
    assert "numpy" in sys.modules
