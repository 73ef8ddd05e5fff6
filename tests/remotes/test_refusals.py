"""Whatever is wrong with an endpoint, a bucket or credentials: one line that says what to do, in time, and no secret in it."""

from __future__ import annotations

import http.server
import json
import pickle
import socket
import threading
import time

import pytest

from scalable_cas.errors import ConfigError, RemoteDenied, RemoteError, RemoteFileMissing
from scalable_cas.remotes import s3_client
from scalable_cas.remotes.base import LOOKUP, TRANSFER, Settings, open_remote
from scalable_cas.remotes.s3_answers import Answer
from tests.support.servers import free_ports

from .conftest import WANTED, on

SECRET = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def refusal(action) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text and len(text) < 300, text
    assert SECRET not in text and "AKIA" not in text
    return caught.value


# --- endpoints that are dead -------------------------------------------------------------------------------


def nobody_listens(stack):
    return f"http://127.0.0.1:{free_ports(1)[0]}", "cannot connect"


def the_connection_is_never_made(stack):
    """The queue of a listener that accepts nothing is full: the kernel drops further requests, as a firewall does."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    stack.append(listener)
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        stack.append(filler)
    return f"http://127.0.0.1:{listener.getsockname()[1]}", "does not answer"


def nothing_is_answered(stack):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    stack.append(listener)
    return f"http://127.0.0.1:{listener.getsockname()[1]}", "does not answer"


def the_name_is_unknown(stack):
    return "http://nowhere.invalid:9000", "nowhere.invalid is not known"


@pytest.mark.parametrize(
    "limits, most",
    [
        pytest.param(LOOKUP, 10, id="lookup"),
        pytest.param(TRANSFER, 26, id="transfer", marks=pytest.mark.deep),  # 50 s of waiting
    ],
)
@pytest.mark.parametrize(
    "kind", [nobody_listens, the_connection_is_never_made, nothing_is_answered, the_name_is_unknown]
)
def test_a_dead_endpoint_ends_in_time(kind, limits, most, credentials, monkeypatch, seconds):
    stack = []
    url, said = kind(stack)
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    remote = open_remote("s3://bucket/prefix", settings=Settings(limits=limits))
    with seconds(most):
        error = refusal(lambda: remote.get("a", largest=1))
    assert said in str(error) and error.retryable
    assert error.url == "s3://bucket/prefix"
    for one in stack:
        one.close()


def test_a_resolver_that_hangs_ends_in_time(credentials, monkeypatch, seconds):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://slow.example:9000")
    ended = threading.Event()
    monkeypatch.setattr(s3_client.socket, "getaddrinfo", lambda *_: ended.wait(30))
    with seconds(LOOKUP.connect + 4):
        error = refusal(lambda: open_remote("s3://bucket", settings=Settings(limits=LOOKUP)).size("a"))
    ended.set()
    assert "slow.example is not known" in str(error)


# --- credentials, regions, settings ------------------------------------------------------------------------


def test_no_credentials(monkeypatch, moto):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    error = refusal(lambda: open_remote(moto[1]).size("a"))
    assert isinstance(error, RemoteDenied) and "AWS_PROFILE" in str(error)


def test_credentials_by_a_program_that_fails(monkeypatch, moto, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text("[default]\ncredential_process = false\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert "no credentials could be had" in str(refusal(lambda: open_remote(moto[1]).size("a")))


def test_a_profile_that_does_not_exist(monkeypatch, moto):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigError, match="nobody"):
        open_remote(moto[1]).size("a")


@pytest.mark.parametrize(
    "endpoint", ["not a url", "http://h:abc", "http://h:99999", "http://h:-1", "http://[::1", "http://:9000"]
)
def test_an_endpoint_that_is_no_url(monkeypatch, credentials, endpoint):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(ConfigError, match=r"settings of AWS.*AWS_ENDPOINT_URL"):
        open_remote("s3://bucket").size("a")


def test_a_profile_leads_to_endpoint_and_credentials(monkeypatch, moto, tmp_path):
    server, url = moto
    for name in server.environment:
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(f"[profile team]\nregion = us-east-1\nendpoint_url = {server.url}\n")
    (tmp_path / "keys").write_text(
        f"[team]\naws_access_key_id = {server.key}\naws_secret_access_key = {server.secret}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    monkeypatch.setenv("AWS_PROFILE", "team")
    remote = open_remote(url)
    assert remote.put("a", b"x") is True
    assert remote.get("a", largest=1) == b"x"


def test_a_missing_bucket(moto):
    remote = open_remote("s3://no-such-bucket-here/prefix")
    for action in (
        lambda: remote.get("a", largest=1),
        lambda: remote.put("a", b""),
        lambda: list(remote.list("")),
        remote.probe,
    ):
        error = refusal(action)
        assert "bucket does not exist" in str(error) and not error.retryable
        assert not isinstance(error, RemoteFileMissing)


class OneAnswer(http.server.BaseHTTPRequestHandler):
    status, code = 403, "AccessDenied"

    def _answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = f"<Error><Code>{self.code}</Code><Message>said by the test</Message></Error>".encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _answer  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    "status, code, said",
    [
        (403, "AccessDenied", "may not read"),
        (403, "InvalidAccessKeyId", "does not know this access key"),
        (403, "SignatureDoesNotMatch", "secret key is wrong"),
        (400, "ExpiredToken", "expired"),
        (400, "InvalidToken", "AWS_SESSION_TOKEN"),
        (403, "RequestTimeTooSkewed", "clock is wrong"),
        (400, "AuthorizationHeaderMalformed", "set AWS_REGION"),
        (301, "PermanentRedirect", "set AWS_REGION"),
        (301, "Moved", "http or https?"),
        (404, "NoSuchBucket", "bucket does not exist"),
        (405, "MethodNotAllowed", "does not support"),
        (418, "Teapot", "refused to read: 418 Teapot (said by the test)"),
    ],
)
def test_a_refusal_says_what_to_do(status, code, said, credentials, monkeypatch):
    handler = type("Handler", (OneAnswer,), {"status": status, "code": code})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        remote = open_remote("s3://bucket", settings=Settings(limits=LOOKUP))
        assert said in str(refusal(lambda: remote.get("a", largest=1)))
        if status in (301, 400, 403):  # the answer to HEAD has no body; what is said comes from a GET
            assert said in str(refusal(lambda: remote.size("a")))
        server.shutdown()


@pytest.mark.parametrize("name", [on(name) for name in ("swift", "ceph") if name in WANTED])
def test_a_server_that_checks_them_refuses_wrong_keys(use, name, monkeypatch):
    _, url = use(name)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert "secret key is wrong" in str(refusal(lambda: open_remote(url).get("a", largest=1)))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    assert isinstance(refusal(lambda: open_remote(url).get("a", largest=1)), RemoteDenied)


def test_codes_decide_where_they_are_known_and_statuses_elsewhere():
    assert Answer(400, "RequestTimeout", "").kind == "busy"
    assert Answer(409, "ConditionalRequestConflict", "").kind == "busy"
    assert Answer(404, "NoSuchKey", "").missing and Answer(404, "404", "").missing
    assert not Answer(404, "NoSuchBucket", "").missing and not Answer(404, "NoSuchUpload", "").missing
    assert Answer(304, "", "").there_already and Answer(412, "", "").there_already
    assert not Answer(409, "ConditionalRequestConflict", "").there_already


# --- what crosses processes --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [RemoteError, RemoteDenied])
def test_errors_cross_processes(kind):
    error = pickle.loads(pickle.dumps(kind("s3://b", "a/b", "why", retryable=True)))
    assert type(error) is kind
    assert (error.url, error.name, error.reason, error.retryable) == ("s3://b", "a/b", "why", True)
    assert str(error) == "s3://b/a/b: why"


def test_credentials_are_not_logged_or_shown(credentials, monkeypatch, caplog):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
    caplog.set_level("INFO")
    remote = open_remote("s3://bucket")
    refusal(lambda: remote.size("a"))
    assert SECRET not in caplog.text
    assert SECRET not in json.dumps([repr(remote), str(vars(remote))])


def test_a_program_may_end_at_once_after_a_dead_endpoint(credentials, monkeypatch):
    """No thread of ours keeps the interpreter from ending."""
    from tests.support import processes

    start = time.monotonic()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
    processes.run(
        """
        from scalable_cas.remotes.base import LOOKUP, Settings, open_remote
        from scalable_cas.errors import RemoteError
        try:
            open_remote("s3://bucket", settings=Settings(limits=LOOKUP)).size("a")
        except RemoteError:
            pass
        """
    )
    listener.close()
    assert time.monotonic() - start < LOOKUP.total + 8
