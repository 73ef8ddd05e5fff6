"""What a network, an overloaded service or a hostile proxy does to requests: every operation ends as promised."""

from __future__ import annotations

import os
import random

import pytest

from scalable_cas.errors import RemoteDenied, RemoteError
from scalable_cas.remotes import bodies, s3, s3_client
from scalable_cas.remotes.base import Limits, Settings, open_remote
from scalable_cas.testing.faults import Fault, FaultProxy

QUICK = Settings(limits=Limits(connect=1, read=1.0, total=5, slowest=1 << 20), conditional=True)
MIB = 1 << 20


@pytest.fixture(autouse=True)
def parts_from_16_mib(monkeypatch):
    """So that files of 17 MiB are sent in parts, which are of 8 MiB."""
    monkeypatch.setattr(s3, "LARGE", 16 * MIB)


@pytest.fixture
def proxied(moto, monkeypatch):
    """(the proxy, a remote behind it, a plain client past it and the bucket)."""
    server, url = moto
    with FaultProxy(server.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        remote = open_remote(url, settings=QUICK)
        client = server.client()
        yield proxy, remote, (client, url.split("/")[2])
        remote.close()
        client.close()


@pytest.fixture(params=["received", "read"])
def way(request, monkeypatch):
    """A body is received where it belongs, or read through all of botocore, where the way down is another one."""
    if request.param == "read":
        monkeypatch.setattr(bodies.Body, "_plain", lambda self, size: None)


def test_what_is_read_is_what_is_there_and_one_connection_serves_all(proxied, way, tmp_path):
    proxy, remote, _ = proxied
    content = random.Random(1).randbytes(3 * MIB)
    remote.put("a", content)
    for _ in range(3):
        assert remote.get("a", largest=len(content)) == content
        assert remote.get("a", largest=len(content), offset=MIB, length=7) == content[MIB : MIB + 7]
        room = bytearray(MIB)
        assert remote.get_into("a", memoryview(room), offset=5) == MIB
        assert room == content[5 : 5 + MIB]
        assert remote.get_into("a", memoryview(room), offset=len(content) - 9) == 9
        assert room[:9] == content[-9:] and room[9:] == content[14 : 5 + MIB]
        assert remote.get_file("a", str(tmp_path / "a"), largest=len(content)) == len(content)
        assert (tmp_path / "a").read_bytes() == content
        (tmp_path / "a").unlink()
    assert proxy.connections == 1
    assert remote.traffic.retries == 0


def test_bodies_are_received_without_a_copy(proxied, monkeypatch):
    """Or the way down is another one in this version of botocore or urllib3, and all of it is slower."""
    _, remote, _ = proxied
    remote.put("a", bytes(MIB))
    monkeypatch.setattr(bodies, "_Timed", None)  # the other way begins with it
    assert remote.get("a", largest=MIB) == bytes(MIB)


def test_a_body_with_a_checksum_is_checked_at_its_end(proxied, monkeypatch):
    """botocore does so where a read finds nothing any more."""
    from botocore.httpchecksum import StreamingChecksumBody

    proxy, remote, (client, bucket) = proxied
    client.put_object(Bucket=bucket, Key=remote.key("a"), Body=bytes(MIB), ChecksumAlgorithm="CRC32")
    remote.boto.meta.events.register(
        "before-parameter-build.s3.GetObject", lambda params, **_: params.update(ChecksumMode="ENABLED")
    )
    remote.boto.meta.config.response_checksum_validation = "when_supported"
    checked, validate = [], StreamingChecksumBody._validate_checksum

    def count(self):
        checked.append(self)
        return validate(self)

    monkeypatch.setattr(StreamingChecksumBody, "_validate_checksum", count)
    assert remote.get("a", largest=MIB) == bytes(MIB)
    assert len(checked) == 1
    assert proxy.connections == 1


def test_a_time_limit_while_a_body_is_sent_is_told_from_a_broken_connection():
    from botocore.exceptions import ConnectionClosedError
    from urllib3.exceptions import ProtocolError

    for cause, timeout in ((TimeoutError("timed out"), True), (ConnectionResetError(), False)):
        error = ConnectionClosedError(error=ProtocolError("Connection aborted.", cause), endpoint_url="u")
        assert s3_client._is_timeout(error) is timeout


PASSING = [
    *("drop", "lost", "truncate", "reset"),
    *(f"status {status}" for status in (409, 429, 500, 502, 503, 504)),
]
HARDEST = ["drop", "lost", "reset", "status 503"]


def fault(text, **more):
    kind, _, status = text.partition(" ")
    return Fault(kind, status=int(status or 0), **more)


@pytest.mark.parametrize("kind", PASSING)
@pytest.mark.parametrize("times", [1, 2])
def test_a_get_survives_what_passes(proxied, way, kind, times):
    proxy, remote, _ = proxied
    content = os.urandom(100_000)
    remote.put("a", content)
    proxy.use([fault(kind, method="GET", times=times)])
    assert remote.get("a", largest=100_000) == content
    assert proxy.count(method="GET") == times + 1
    assert remote.traffic.retries == times


@pytest.mark.parametrize("kind", PASSING)
@pytest.mark.parametrize("exclusive", [True, False])
def test_a_put_survives_what_passes_and_knows_its_own(proxied, kind, exclusive):
    """Also where the server did it and the answer was lost: the second try then finds the first one's file."""
    proxy, remote, _ = proxied
    proxy.use([fault(kind, method="PUT", times=2)])
    assert remote.put("a", b"content", exclusive=exclusive) is True
    assert remote.get("a", largest=100) == b"content"


def test_a_lost_answer_of_a_put_is_not_taken_for_anothers_file(proxied):
    proxy, remote, _ = proxied
    remote.put("a", b"somebody else's")
    proxy.use([Fault("lost", method="PUT")])
    assert remote.put("a", b"mine") is False
    assert remote.get("a", largest=100) == b"somebody else's"


@pytest.mark.parametrize("kind", PASSING)
def test_size_list_and_delete_survive_what_passes(proxied, kind):
    proxy, remote, _ = proxied
    for name in ("a", "b", "c"):
        remote.put(name, b"123")
    proxy.use(
        [
            fault(kind, method="HEAD"),
            fault(kind, method="GET"),
            fault(kind, method="POST"),
            fault(kind, method="DELETE"),
        ]
    )
    assert remote.size("a") == 3
    assert [file.name for file in remote.list("")] == ["a", "b", "c"]
    remote.delete(["a", "b"])
    remote.delete(["c"])
    assert list(remote.list("")) == []


@pytest.mark.deep
@pytest.mark.parametrize("kind", HARDEST)
def test_every_request_of_a_large_upload_may_fail_once(proxied, kind, tmp_path):
    """The n-th request is hit, for every n that there is."""
    proxy, remote, (client, bucket) = proxied
    content = os.urandom(17 * MIB)
    (tmp_path / "source").write_bytes(content)
    for number in range(1, 6):  # a look, the beginning, three parts; the end is number 6
        proxy.use([fault(kind, nth=number)])
        assert remote.put_file(f"large{number}", str(tmp_path / "source")) is True
    proxy.use([fault(kind, method="POST", nth=2)])
    assert remote.put_file("large6", str(tmp_path / "source")) is True
    proxy.use([])
    for number in range(1, 7):
        assert remote.get(f"large{number}", largest=len(content)) == content
    uploads = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    # where the answer to the very first request is lost, nobody knows the upload's id: the bucket's rule ends it
    assert len(uploads) <= (1 if kind in ("lost", "truncate", "reset") else 0)


@pytest.mark.deep
@pytest.mark.parametrize("kind", HARDEST)
def test_every_request_of_a_large_download_may_fail_once(proxied, kind, tmp_path):
    proxy, remote, _ = proxied
    content = os.urandom(20 * MIB)
    remote.put("large", content)
    for number in range(1, 4):
        proxy.use([fault(kind, nth=number)])
        target = tmp_path / f"target{number}"
        assert remote.get_file("large", str(target), largest=len(content)) == len(content)
        assert target.read_bytes() == content
        assert proxy.count() == 4


@pytest.mark.parametrize(
    "kind", ["drop", "lost", "truncate", "reset", pytest.param("hang", marks=pytest.mark.deep), "status 503"]
)
def test_what_does_not_pass_ends_in_time_with_one_line(proxied, kind, tmp_path, seconds):
    proxy, remote, _ = proxied
    remote.put("large", bytes(20 * MIB))
    proxy.use([fault(kind, times=None)])
    target = tmp_path / "target"
    actions = [
        lambda: remote.get_file("large", str(target), largest=20 * MIB),
        lambda: list(remote.list("")),
    ]
    if kind not in ("truncate", "reset"):  # the answer to a put has no body
        actions.append(lambda: remote.put("b", b"x" * 1000))
    for action in actions:
        with seconds(QUICK.limits.total + 1), pytest.raises(RemoteError) as caught:
            action()
        assert caught.value.retryable
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    assert not target.exists()


def test_a_body_that_drips_is_given_up(proxied, way, seconds):
    proxy, remote, _ = proxied
    remote.put("a", bytes(1000))
    proxy.use([Fault("drip", method="GET", seconds=0.1, times=None)])
    with seconds(8), pytest.raises(RemoteError, match="does not answer"):
        remote.get("a", largest=1000)


def test_a_late_answer_within_the_limit_is_waited_for(proxied):
    proxy, remote, _ = proxied
    remote.put("a", b"x")
    proxy.use([Fault("slow", seconds=0.5)])
    assert remote.get("a", largest=1) == b"x"
    assert remote.traffic.retries == 0


def test_a_failed_upload_leaves_no_parts(proxied, tmp_path):
    proxy, remote, (client, bucket) = proxied
    (tmp_path / "source").write_bytes(bytes(20 * MIB))
    proxy.use([Fault("status", status=403, method="PUT", nth=2, times=None)])
    with pytest.raises(RemoteDenied, match="may not write"):
        remote.put_file("large", str(tmp_path / "source"))
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    assert remote.size("large") is None


@pytest.mark.parametrize("status", [501, 400])
def test_a_server_that_knows_no_condition_is_written_to_without(proxied, status):
    proxy, remote, _ = proxied
    proxy.use([Fault("status", status=status, header="If-None-Match", times=None)])
    assert remote.put("a", b"first") is True
    assert remote.put("a", b"second") is False
    assert remote.get("a", largest=10) == b"first"
    assert sum("If-None-Match" in seen.headers for seen in proxy.exchanges) == 1  # asked once


def test_a_probe_finds_a_server_that_ignores_the_condition(proxied, moto):
    if moto[0].name != "moto":
        pytest.skip("the header is signed, and this server checks that")
    proxy, remote, _ = proxied
    proxy.use([Fault("ignore", header="If-None-Match", times=None)])
    found = remote.probe()
    assert found.conditional is False
    assert any("only where nothing is" in note for note in found.notes)
    assert remote.put("a", b"first") is True
    assert remote.put("a", b"second") is False  # a look before takes the place of the condition
    assert remote.get("a", largest=10) == b"first"


def test_without_a_probe_nothing_relies_on_the_condition(moto, monkeypatch):
    server, url = moto
    if server.name != "moto":
        pytest.skip("the header is signed, and this server checks that")
    with FaultProxy(server.url, [Fault("ignore", header="If-None-Match", times=None)]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        remote = open_remote(url)
        assert remote.put("a", b"first") is True
        assert remote.put("a", b"second") is False
        assert remote.get("a", largest=10) == b"first"


def test_a_probe_is_an_error_while_the_server_is_busy_and_never_a_no(proxied):
    proxy, remote, _ = proxied
    proxy.use([Fault("status", status=503, method="PUT", times=None)])
    with pytest.raises(RemoteError) as caught:
        remote.probe()
    assert caught.value.retryable


@pytest.mark.parametrize(
    "method, can",
    [("PUT", (True, None, False, None, None, None)), ("DELETE", (True, True, True, True, True, False))],
)
def test_a_probe_tells_what_is_not_allowed(proxied, method, can):
    proxy, remote, (client, bucket) = proxied
    script = [Fault("status", status=403, method=method, times=None)]
    if method == "DELETE":  # two files are deleted in one POST
        script.append(Fault("status", status=403, method="POST", times=None))
    proxy.use(script)
    found = remote.probe()
    assert tuple(found)[:6] == can
    assert all("\n" not in note for note in found.notes)
    assert any(f"may not {'write' if method == 'PUT' else 'delete'}" in note for note in found.notes)
    left = client.list_objects_v2(Bucket=bucket).get("KeyCount", 0)
    assert left == (2 if method == "DELETE" else 0)


def test_a_wrong_byte_is_passed_on(proxied):
    """Bodies are verified by whoever knows their digest; here only their length is known."""
    proxy, remote, _ = proxied
    remote.put("a", bytes(1000))
    proxy.use([Fault("corrupt", method="GET")])
    got = remote.get("a", largest=1000)
    assert len(got) == 1000 and got != bytes(1000)


def test_a_file_that_is_replaced_during_a_download_is_noticed(proxied, tmp_path):
    proxy, remote, (client, bucket) = proxied
    remote.put("large", bytes(20 * MIB))

    def script(method, target, number):
        if number == 2:
            client.put_object(Bucket=bucket, Key=remote.key("large"), Body=b"\1" * (20 * MIB))

    proxy.use(script)
    target = tmp_path / "target"
    with pytest.raises(RemoteError, match="replaced while it was read") as caught:
        remote.get_file("large", str(target), largest=20 * MIB)
    assert caught.value.retryable
    assert not target.exists()


@pytest.mark.parametrize("seed", range(4))
def test_random_faults_change_nothing(proxied, seed):
    """A fifth of all requests fails; what was written is there, and what is read is what was written."""
    proxy, remote, _ = proxied
    chance = random.Random(seed)

    row = 0  # of faults: five would be one too many

    def script(method, target, number):
        nonlocal row
        row = row + 1 if chance.random() < 0.2 and row < 3 else 0
        return fault(chance.choice(PASSING)) if row else None

    proxy.use(script)
    made = {}
    for number in range(25):
        name = f"d{number % 7}/{number}"
        made[name] = chance.randbytes(chance.randrange(5000))
        assert remote.put(name, made[name]) is True
        assert remote.put(name, b"other") is False
    assert {name: remote.get(name, largest=5000) for name in made} == made
    assert [(f.name, f.size) for f in remote.list("")] == sorted((n, len(c)) for n, c in made.items())
    remote.delete(list(made))
    assert list(remote.list("")) == []
    assert remote.traffic.retries > 5
