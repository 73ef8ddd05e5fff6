"""What is special about S3: how it is asked, and answers that must not be believed."""

from __future__ import annotations

import http.server
import os
import threading

import pytest

from scalable_cas.errors import RemoteError
from scalable_cas.remotes import s3, s3_client
from scalable_cas.remotes.base import LOOKUP, Settings, open_remote
from scalable_cas.testing.faults import Fault, FaultProxy

MIB = 1 << 20


@pytest.fixture(autouse=True)
def parts_from_16_mib(monkeypatch):
    """So that files of 17 MiB are sent in parts, which are of 8 MiB."""
    monkeypatch.setattr(s3, "LARGE", 16 * MIB)


@pytest.fixture
def at_amazon(moto, monkeypatch):
    """A remote that takes the test's server for Amazon, and the proxy before it."""
    server, url = moto
    monkeypatch.setattr(s3_client, "_AMAZON", ("127.0.0.1",))
    with FaultProxy(server.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        remote = open_remote(url)
        yield remote, proxy
        remote.close()


def test_at_amazon_uploads_carry_checksums(at_amazon, tmp_path):
    remote, proxy = at_amazon
    content = os.urandom(17 * MIB)
    (tmp_path / "source").write_bytes(content)
    assert remote.put("small", b"x" * 1000) is True
    assert remote.put_file("large", str(tmp_path / "source")) is True
    sums = [
        "x-amz-checksum-crc32" in {name.lower() for name in seen.headers}
        or "x-amz-trailer" in {n.lower() for n in seen.headers}
        for seen in proxy.exchanges
        if seen.method == "PUT"
    ]
    assert len(sums) == 4 and all(sums)
    assert remote.get("small", largest=1000) == b"x" * 1000
    assert remote.get_file("large", str(tmp_path / "target"), largest=17 * MIB) == 17 * MIB
    assert (tmp_path / "target").read_bytes() == content


def test_elsewhere_requests_are_as_old_servers_know_them(moto, monkeypatch, tmp_path):
    server, url = moto
    with FaultProxy(server.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        remote = open_remote(url)
        remote.put("small", b"x")
        remote.put("large", bytes(17 * MIB))
        remote.get("small", largest=1)
        for seen in proxy.exchanges:
            names = {name.lower() for name in seen.headers}
            assert names.isdisjoint(
                {
                    "x-amz-trailer",
                    "x-amz-sdk-checksum-algorithm",
                    "x-amz-checksum-crc32",
                    "x-amz-checksum-mode",
                }
            )
            assert seen.target.startswith(f"/{url.split('/')[2]}/")  # the bucket is in the path


def test_requests_are_as_few_as_can_be(moto, monkeypatch, tmp_path):
    server, url = moto
    with FaultProxy(server.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        remote = open_remote(url, settings=Settings(conditional=True))
        (tmp_path / "large").write_bytes(bytes(24 * MIB))

        def cost(action):
            before = proxy.count()
            action()
            assert remote.traffic.requests == proxy.count()
            return proxy.count() - before

        assert cost(lambda: remote.put("a", b"x")) == 1
        assert cost(lambda: remote.put("a", b"x")) == 1
        assert cost(lambda: remote.get("a", largest=1)) == 1
        assert cost(lambda: remote.get_file("a", str(tmp_path / "a"), largest=1)) == 1
        assert cost(lambda: remote.size("a")) == 1
        assert cost(lambda: list(remote.list(""))) == 1
        assert cost(lambda: remote.put_file("large", str(tmp_path / "large"))) == 1 + 1 + 3 + 1
        assert cost(lambda: remote.get_file("large", str(tmp_path / "b"), largest=24 * MIB)) == 3
        assert cost(lambda: remote.delete(["a", "large"])) == 1


def test_opening_asks_nothing(moto, monkeypatch):
    server, url = moto
    with FaultProxy(server.url, [Fault("status", status=500, times=None)]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        open_remote(url).close()
        assert proxy.count() == 0


class Liar(http.server.BaseHTTPRequestHandler):
    """Answers every GET with the headers and bytes of `said`."""

    said: tuple = (200, {}, b"")
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status, headers, body = self.said
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_):
        pass


LIES = {
    "no size": (200, {}, b"x" * 100),
    "the whole for a part": (200, {"Content-Length": "100"}, b"x" * 100),
    "another part": (206, {"Content-Length": "10", "Content-Range": "bytes 50-59/100"}, b"x" * 10),
    "more than was asked": (
        206,
        {"Content-Length": "9000000", "Content-Range": "bytes 0-8999999/9000000"},
        b"x" * 9_000_000,
    ),
    "more than there is": (206, {"Content-Length": "50", "Content-Range": "bytes 0-49/10"}, b"x" * 50),
    "less than there is": (206, {"Content-Length": "5", "Content-Range": "bytes 0-4/10"}, b"x" * 5),
    "a huge file": (206, {"Content-Length": "10", "Content-Range": "bytes 0-9/9999999999999"}, b"x" * 10),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_server_fills_neither_memory_nor_disk(lie, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    handler = type("Handler", (Liar,), {"said": LIES[lie]})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        remote = open_remote("s3://bucket", settings=Settings(limits=LOOKUP))
        target = tmp_path / "target"
        with pytest.raises(RemoteError):
            remote.get_file("a", str(target), largest=1_000_000)
        assert not target.exists()
        if "there is" not in lie and lie != "a huge file":  # those parts are as they were asked for
            with pytest.raises(RemoteError):
                remote.get("a", largest=1_000_000, offset=0, length=8)
        server.shutdown()


@pytest.mark.parametrize(
    "more, keys, said",
    [
        ("<IsTruncated>false</IsTruncated>", "acb", "in order"),
        ("<IsTruncated>true</IsTruncated>", "abc", "goes on"),  # as one that knows only the older request
        ("<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>", "", "goes on"),
    ],
)
def test_a_listing_without_order_or_end_is_refused(monkeypatch, more, keys, said):
    keys = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
    body = f"<ListBucketResult>{more}{keys}</ListBucketResult>".encode()
    handler = type("Handler", (Liar,), {"said": (200, {"Content-Length": str(len(body))}, body)})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(RemoteError, match=said):
            list(open_remote("s3://bucket").list(""))
        server.shutdown()


def test_names_in_a_bucket_that_could_not_be_ours_are_left_out(moto):
    server, url = moto
    remote = open_remote(url)
    remote.put("mine", b"x")
    client = server.client()
    for key in ("../up", "folder/", "a//b", "a/./b"):
        client.put_object(Bucket=url.split("/")[2], Key=f"some/prefix/{key}", Body=b"")
    assert [file.name for file in remote.list("")] == ["mine"]


def test_a_server_without_batches_deletes_one_by_one(moto, monkeypatch):
    server, url = moto
    script = [Fault("status", status=501, method="POST", times=None)]
    with FaultProxy(server.url, script) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        remote = open_remote(url.replace("s3://", "gs://"))
        names = [f"d/{number}" for number in range(20)]
        for name in names:
            remote.put(name, b"")
        remote.delete(names)
        assert list(remote.list("")) == []
        assert proxy.count(method="DELETE") == 20
        remote.delete(names)
        assert proxy.count(method="POST") == 1  # known from then on
