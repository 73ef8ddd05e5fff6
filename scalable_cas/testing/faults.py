"""A proxy that misbehaves on purpose, between a client and a real HTTP server, as a script says.

    with FaultProxy("http://127.0.0.1:9000", [Fault("lost", method="PUT", nth=2)]) as proxy:
        ...  # AWS_ENDPOINT_URL_S3=proxy.url
        assert proxy.count(method="PUT") == 3

A fake server would have the bugs that we think of; here the real server's answers are kept, and only what a
network or an overloaded service does to them is added. The `Host` header is passed on as the client signed
it, so that servers that check signatures accept them.
"""

from __future__ import annotations

import http.client
import re
import socket
import struct
from contextlib import suppress
from fnmatch import fnmatchcase
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from scalable_cas import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import BinaryIO, Self

__all__ = ["KINDS", "Exchange", "Fault", "FaultProxy"]

#: What can go wrong.
KINDS = {
    "drop": "the connection is closed before the server sees the request",
    "hang": "nothing is ever answered, and the server sees nothing",
    "status": "the answer is `status`, as S3 words it; the server sees nothing",
    "lost": "the server does it, and the connection is closed without an answer",
    "truncate": "the answer ends in the middle of its body",
    "reset": "the connection is reset in the middle of the answer's body",
    "corrupt": "one bit in the middle of the answer's body is wrong, and checksums of it are left out",
    "slow": "the answer comes `seconds` late",
    "drip": "the answer's body comes byte by byte, with `seconds` between",
    "ignore": "the server never sees the request's header `header`; one that checks signatures then refuses",
}
_CODES = {
    400: "InvalidRequest",
    403: "AccessDenied",
    404: "NoSuchKey",
    409: "ConditionalRequestConflict",
    412: "PreconditionFailed",
    429: "TooManyRequests",
    500: "InternalError",
    501: "NotImplemented",
    503: "SlowDown",
}
_MOST = 1 << 30  # bytes of one body that the proxy holds in memory


class Fault(NamedTuple):
    """One line of a script. It applies to requests that fit ``method`` ("" any), ``path`` (a pattern with
    ``*`` for the path below the server, without the query) and ``header`` (a header they must have); from the
    ``nth`` of these on, ``times`` times (None: for ever).
    """

    kind: str
    method: str = ""
    path: str = "*"
    header: str = ""
    nth: int = 1
    times: int | None = 1
    status: int = 503
    seconds: float = 1.0


class Exchange(NamedTuple):
    """A request that the proxy saw: its number from 1, what it asked for, the status that went back (0:
    none), and the kind of the fault that it met ("" none).
    """

    number: int
    method: str
    target: str
    headers: dict[str, str]
    status: int
    fault: str


class _Request(NamedTuple):
    number: int
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class _Reply(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class _Over(Exception):
    """This connection is done with."""


class FaultProxy:
    """The proxy, as a context. ``script``: faults, the first that applies counts; or a function from method,
    target and number to a fault or None. ``target`` is the real server's URL.
    """

    def __init__(
        self,
        target: str,
        script: Sequence[Fault] | Callable[[str, str, int], Fault | None] = (),
    ) -> None:
        if not callable(script):
            for fault in script:
                if fault.kind not in KINDS:
                    raise ValueError(f"no fault is called {fault.kind!r}; there are {', '.join(KINDS)}")
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self._script = script
        self._lock = Lock()
        self._seen: dict[int, int] = {}
        self._exchanges: list[Exchange] = []
        self._numbers = 0
        self._closing = Event()
        self._open: set[socket.socket] = set()
        self._listener = socket.socket()

    # --- for the test ------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(128)
        Thread(target=self._accept, daemon=True, name="fault-proxy").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        with suppress(OSError):  # wakes the thread that accepts
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            left = list(self._open)
        for connection in left:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def exchanges(self) -> list[Exchange]:
        """All requests so far, in the order in which they were answered."""
        with self._lock:
            return list(self._exchanges)

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        with self._lock:
            return len(self._open)

    def count(self, *, method: str = "", path: str = "*") -> int:
        """How many requests there were of a method and path."""
        return sum(
            1
            for seen in self.exchanges
            if method in ("", seen.method) and fnmatchcase(_path(seen.target), path)
        )

    def use(self, script: Sequence[Fault] | Callable[[str, str, int], Fault | None]) -> None:
        """Go on with another script; requests are counted from 1 again."""
        with self._lock:
            self._script, self._seen, self._exchanges, self._numbers = script, {}, [], 0

    # --- connections -------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            with self._lock:
                self._open.add(connection)
            Thread(target=self._serve, args=(connection,), daemon=True, name="fault-proxy").start()

    def _serve(self, connection: socket.socket) -> None:
        server = http.client.HTTPConnection(*self._target, timeout=120)
        try:
            with connection, connection.makefile("rb") as lines:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while (request := self._receive(connection, lines)) is not None:
                    self._answer(connection, server, request)
        except (_Over, OSError, http.client.HTTPException):  # either side went away, or the script says so
            pass
        finally:
            server.close()
            with self._lock:
                self._open.discard(connection)

    def _receive(self, connection: socket.socket, lines: BinaryIO) -> _Request | None:
        first = lines.readline(65_537).decode("latin-1").split()
        if len(first) != 3:
            return None
        headers = []
        while line := lines.readline(65_537).strip():
            key, _, value = line.decode("latin-1").partition(":")
            headers.append((key, value.strip()))
        known = {key.lower(): value for key, value in headers}
        if known.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if known.get("transfer-encoding", "").lower() == "chunked":
            body = b"".join(_chunks(lines))
        else:
            body = lines.read(min(_MOST, int(known.get("content-length", 0))))
        with self._lock:
            self._numbers += 1
            number = self._numbers
        return _Request(number, first[0], first[1], headers, body)

    def _fault(self, request: _Request) -> Fault | None:
        if callable(self._script):
            return self._script(request.method, request.target, request.number)
        with self._lock:
            for place, fault in enumerate(self._script):
                if (
                    fault.method in ("", request.method)
                    and fnmatchcase(_path(request.target), fault.path)
                    # the header of "ignore" is the one to leave out
                    and (not fault.header or request.header(fault.header) is not None)
                ):
                    seen = self._seen[place] = self._seen.get(place, 0) + 1
                    if seen >= fault.nth and (fault.times is None or seen < fault.nth + fault.times):
                        return fault
        return None

    # --- what becomes of a request -----------------------------------------------------------------------

    def _answer(
        self, connection: socket.socket, server: http.client.HTTPConnection, request: _Request
    ) -> None:
        fault = self._fault(request)
        kind = fault.kind if fault else ""
        reply: _Reply | None = None
        if fault is None or kind not in ("drop", "hang", "status"):
            reply = _forward(server, request, fault.header if fault and kind == "ignore" else "")
        elif kind == "status":
            reply = _refusal(fault.status)
        lost = reply is None or kind == "lost"
        with self._lock:
            self._exchanges.append(
                Exchange(
                    request.number,
                    request.method,
                    request.target,
                    dict(request.headers),
                    0 if lost or reply is None else reply.status,
                    kind,
                )
            )
        if kind == "hang":
            self._closing.wait()
        if lost or reply is None:
            raise _Over
        if fault is not None and kind == "slow":
            self._closing.wait(fault.seconds)
        self._send(connection, request, reply, fault)

    def _send(self, connection: socket.socket, request: _Request, reply: _Reply, fault: Fault | None) -> None:
        kind = fault.kind if fault else ""
        headers, body = reply.headers, reply.body
        if kind == "corrupt" and body:
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
            headers = [
                pair for pair in headers if not re.match("x-amz-checksum|content-md5", pair[0], re.IGNORECASE)
            ]
        head = f"HTTP/1.1 {reply.status} {http.client.responses.get(reply.status, '')}\r\n"
        if request.method != "HEAD" and reply.status not in (204, 304):
            headers = [*headers, ("Content-Length", str(len(body)))]
        connection.sendall((head + "".join(f"{k}: {v}\r\n" for k, v in headers) + "\r\n").encode("latin-1"))
        if kind in ("truncate", "reset"):
            connection.sendall(body[: len(body) // 2])
            if kind == "reset":
                clock.sleep(0.05)  # what was sent must arrive before the reset, which overtakes it
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise _Over
        if fault is not None and kind == "drip":
            for place in range(len(body)):
                connection.sendall(body[place : place + 1])
                if self._closing.wait(fault.seconds):
                    raise _Over
        else:
            connection.sendall(body)


def _path(target: str) -> str:
    return unquote(target.partition("?")[0]).removeprefix("/")


def _chunks(lines: BinaryIO) -> list[bytes]:
    found = []
    while size := int(lines.readline(1_000).partition(b";")[0], 16):
        found.append(lines.read(size))
        lines.readline(2)
    while lines.readline(65_537).strip():  # trailers
        pass
    return found


_BETWEEN_TWO = ("connection", "transfer-encoding", "expect", "keep-alive", "content-length")


def _forward(server: http.client.HTTPConnection, request: _Request, without: str) -> _Reply:
    """Have the real server do it."""
    for again in (True, False):
        try:
            server.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
            for key, value in request.headers:
                if key.lower() not in (*_BETWEEN_TWO, without.lower()):
                    server.putheader(key, value)
            if request.body or request.method in ("PUT", "POST"):
                server.putheader("Content-Length", str(len(request.body)))
            server.endheaders(request.body)
            answer = server.getresponse()
            break
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            server.close()  # it had closed a connection that we kept; the next request opens a new one
            if not again:
                raise
    body = answer.read()
    headers = [
        (key, value)
        for key, value in answer.getheaders()
        if key.lower() not in _BETWEEN_TWO or (request.method == "HEAD" and key.lower() == "content-length")
    ]
    return _Reply(answer.status, headers, body)


def _refusal(status: int) -> _Reply:
    code = _CODES.get(status, "Error")
    text = f"<Error><Code>{code}</Code><Message>a fault of the script</Message></Error>"
    return _Reply(status, [("Content-Type", "application/xml")], text.encode())
