"""Packages that we depend on and that cannot be imported: a broken installation fails no call of the user's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scalable_cas import Store
from scalable_cas.errors import ConfigError
from scalable_cas.storage import signing
from tests.support import processes


@pytest.fixture
def without(monkeypatch):
    """A function that makes packages impossible to import."""

    def lacking(*names):
        for name in names:
            for known in [known for known in sys.modules if known.partition(".")[0] == name]:
                monkeypatch.delitem(sys.modules, known)
            monkeypatch.setitem(sys.modules, name, None)

    return lacking


def test_a_call_beside_a_project_file_runs_without_yaml(workdir):
    Path("scalable.yaml").write_text("version: 1\n")
    processes.run(
        """
        import os, sys, warnings
        os.chdir(sys.argv[1])
        sys.modules["yaml"] = None
        from scalable_cas import CacheWarning, cacheable

        @cacheable
        def double(x):
            return 2 * x

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert [double(3), double(3)] == [6, 6]
        (text,) = [str(item.message) for item in caught if item.category is CacheWarning]
        assert "PyYAML cannot be imported" in text and "`pip install PyYAML`" in text
        """,
        workdir,
    )


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_bucket_without_boto3_is_one_line(workdir, without, scheme):
    without("boto3")
    with Store.init("store") as store, pytest.raises(ConfigError, match="`pip install boto3`"):
        store.push(f"{scheme}://bucket/x")


def test_signing_without_cryptography_is_one_line(tmp_path, without):
    without("cryptography")
    with pytest.raises(ConfigError, match="`pip install cryptography`"):
        signing.signing_key((str(tmp_path),))
    with pytest.raises(ConfigError, match="`pip install cryptography`"):
        signing.verify(bytes(32), b"", bytes(64))
