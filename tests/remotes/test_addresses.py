"""URLs of remotes, and what is lazily loaded for them."""

from __future__ import annotations

import pytest

from scalable_cas.errors import ConfigError
from scalable_cas.remotes.base import Address, open_remote, parse_url
from tests.support import processes


@pytest.mark.parametrize(
    "url, address, again",
    [
        ("s3://bucket", Address("s3", "bucket", ""), "s3://bucket"),
        ("s3://bucket/", Address("s3", "bucket", ""), "s3://bucket"),
        ("S3://my.bucket-1/a/b/", Address("s3", "my.bucket-1", "a/b"), "s3://my.bucket-1/a/b"),
        ("gs://b/é", Address("gs", "b", "é"), "gs://b/é"),
        ("file:///a/b/", Address("file", "", "a/b"), "file:///a/b"),
        ("file:///a/./c/../b", Address("file", "", "a/b"), "file:///a/b"),
        ("file://localhost/a%20b", Address("file", "", "a b"), "file:///a b"),
    ],
)
def test_a_url_has_its_parts(url, address, again):
    assert parse_url(url) == address
    assert address.url == again
    assert parse_url(again) == address


@pytest.mark.parametrize(
    "url, said",
    [
        ("/folder", "file:///folder"),
        ("s3:bucket", "not the URL"),
        ("s3://", "name a bucket"),
        ("s3:///prefix", "name a bucket"),
        ("s3://bu cket", "name a bucket"),
        ("s3://bucket/a//b", "empty parts"),
        ("s3://bucket/../b", "empty parts"),
        ("s3://bucket/a?endpoint=x", "AWS_ENDPOINT_URL"),
        ("file://folder/b", "three slashes"),
        ("file:///", "name a folder"),
        ("ftp://host/a", "nothing installed knows ftp://"),
    ],
)
def test_what_is_no_url_of_a_remote_is_refused_with_the_remedy(url, said):
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        open_remote(url)


def test_credentials_in_a_url_are_refused_and_not_repeated():
    with pytest.raises(ConfigError) as caught:
        open_remote("s3://AKIAKEY:very-secret@bucket/prefix")
    assert "very-secret" not in str(caught.value) and "AKIAKEY" not in str(caught.value)
    assert "AWS_PROFILE" in str(caught.value)


def test_opening_sends_nothing_and_a_folder_needs_no_boto3(tmp_path):
    out = processes.run(
        f"""
        import sys
        from scalable_cas.remotes.base import open_remote
        open_remote("s3://bucket").close()
        open_remote("gs://bucket").close()
        remote = open_remote("file://{tmp_path}/new")
        remote.put("a", b"x")
        remote.put_file("b", "{__file__}")
        print(sorted(set(sys.modules) & {{"boto3", "botocore"}}))
        """
    )
    assert out == "[]\n"
    assert (tmp_path / "new" / "a").read_bytes() == b"x"


def test_a_package_adds_a_scheme(tmp_path, monkeypatch):
    (tmp_path / "other.py").write_text(
        "from scalable_cas.remotes.base import open_remote as inner\n"
        "def open_memory(url, settings):\n    return inner('file://' + url.removeprefix('copy://'), settings=settings)\n"
        "broken = 1 / 1\n"
    )
    info = tmp_path / "other-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[scalable_cas.remotes]\ncopy = other:open_memory\nlost = nowhere:at_all\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    remote = open_remote(f"copy://{tmp_path}/there")
    assert remote.put("a", b"x") is True
    with pytest.raises(ConfigError, match="cannot be loaded"):
        open_remote("lost://x")
    with pytest.raises(ConfigError, match="copy://"):
        open_remote("nobody://x")
