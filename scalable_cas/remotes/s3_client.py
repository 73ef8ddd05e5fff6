"""boto3: how its client is made, and what its exceptions mean. The only importer of it.

Imports of boto3 are inside functions: it takes 130 ms, and most processes never leave this machine.
"""

from __future__ import annotations

import socket
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from scalable_cas.errors import ConfigError, RemoteDenied, RemoteError, not_installed
from scalable_cas.remotes.bodies import BrokenError, TooSlowError
from scalable_cas.remotes.retry import Setback
from scalable_cas.remotes.s3_answers import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scalable_cas.remotes.base import Settings, Traffic

T = TypeVar("T")

_AMAZON = (".amazonaws.com", ".amazonaws.com.cn")
_NO_KEYS = "no credentials were found; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


class Client:
    """One boto3 client, and where it leads. ``sums``: whether uploads carry boto3's own checksums.

    ``endpoint`` is where to go unless boto3's chain names another place; None: to Amazon.

    Raises:
        ConfigError: the profile, region or endpoint cannot be used.
        RemoteError: no credentials, or the endpoint's name leads nowhere.
    """

    def __init__(self, url: str, settings: Settings, endpoint: str | None, traffic: Traffic) -> None:
        self.url = url
        self.limits = settings.limits
        self.boto, self.sums = self._made(settings, endpoint)
        self.boto.meta.events.register("before-send.s3", _counter(traffic))
        self._look_up()

    def _made(self, settings: Settings, endpoint: str | None) -> tuple[Any, bool]:
        """A client, made twice where it does not lead to Amazon: only a client tells where the chain of
        variables and files leads. The second takes 10 ms; the first, 200, reads the tables of the service.
        """
        try:
            import boto3
        except ImportError as error:
            raise not_installed(self.url, "boto3", error) from error
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        common = Config(
            connect_timeout=settings.limits.connect,
            read_timeout=settings.limits.read,
            retries={"mode": "standard", "total_max_attempts": 1},  # `retry` tries again
            max_pool_connections=max(32, settings.jobs),  # several files at once, each with `jobs` parts
        )
        try:
            session = boto3.session.Session()
            self._find_credentials(session)
            client = session.client("s3", config=common)
            parts = urlsplit(client.meta.endpoint_url)
            host, _ = parts.hostname or "", parts.port  # ValueError: a port that is none
            if host.endswith(_AMAZON) and endpoint is None:
                return client, True
            scoped = session._session.get_scoped_config().get("s3")  # noqa: SLF001 - no public way to it
            chosen = isinstance(scoped, dict) and "addressing_style" in scoped
            other = Config(
                # boto3's checksums, in a trailer since 1.36, are refused by many servers (boto/boto3#4392)
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                # a name for each bucket needs wildcards in DNS and in the certificate
                s3=None if chosen else {"addressing_style": "path"},
            )
            where = {} if endpoint is None or not host.endswith(_AMAZON) else {"endpoint_url": endpoint}
            client = session.client("s3", config=common.merge(other), **where)
        except BotoCoreError as error:
            raise ConfigError(self.url, f"the settings of AWS cannot be used: {_line(error)}") from error
        except ValueError as error:  # an endpoint that is no URL
            what = f"the settings of AWS cannot be used: {_line(error)}; check AWS_ENDPOINT_URL"
            raise ConfigError(self.url, what) from error
        client.meta.events.register_last("before-parameter-build.s3", _stay_here)
        return client, False

    def _find_credentials(self, session: Any) -> None:
        """Have the chain find credentials, in bounded time: it may ask services of the machine or of the
        network, or run a program, and a client would do that while it is made.
        """
        from botocore import exceptions as boto

        def find() -> bool:
            found = session.get_credentials()
            return found is not None and bool(found.get_frozen_credentials().access_key)

        try:
            found = bounded(self.limits.connect * 2, find)
        except boto.ProfileNotFound:
            raise
        except boto.BotoCoreError as error:
            raise self._no_keys(error) from error
        except TimeoutError as error:
            reason = "the service that gives out credentials does not answer"
            raise RemoteError(self.url, "", reason, retryable=True) from error
        if not found:
            raise RemoteDenied(self.url, "", _NO_KEYS)

    @property
    def endpoint(self) -> str:
        """Where requests go, without credentials."""
        parts = urlsplit(self.boto.meta.endpoint_url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}"

    def _look_up(self) -> None:
        """Find the endpoint's address, in bounded time: the system's resolver knows no time limit."""
        from botocore.utils import get_environ_proxies

        if get_environ_proxies(self.boto.meta.endpoint_url):
            return  # then the proxy looks the name up
        parts = urlsplit(self.boto.meta.endpoint_url)
        try:
            bounded(self.limits.connect, lambda: socket.getaddrinfo(parts.hostname, parts.port or 443))
        except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
            raise RemoteError(
                self.url,
                "",
                f"the host name {parts.hostname} is not known here; check AWS_ENDPOINT_URL and the network",
                retryable=True,
            ) from error

    def _no_keys(self, error: Exception) -> RemoteError:
        return RemoteDenied(
            self.url, "", f"no credentials could be had: {_line(error)}; log in again, or check AWS_PROFILE"
        )

    @contextmanager
    def translated(self, name: str, doing: str) -> Iterator[None]:
        """Turn every failure of boto3 inside into a `Setback` with our error. ``doing``: "read", "write"…"""
        from botocore import exceptions as boto

        def setback(kind: str, reason: str, *, retryable: bool = True) -> Setback:
            return Setback(kind, RemoteError(self.url, name, reason, retryable=retryable))

        there = self.endpoint
        try:
            yield
        except boto.ClientError as error:
            answer = refusal(error)
            raise Setback(answer.kind, answer.error(self.url, name, doing)) from error
        except (boto.ConnectTimeoutError, boto.ReadTimeoutError, TooSlowError) as error:
            raise setback(
                "silent", f"{there} does not answer; check AWS_ENDPOINT_URL and the network"
            ) from error
        except boto.SSLError as error:
            said = _line(error.kwargs.get("error", error))
            reason = f"no secure connection to {there}: {said}; check AWS_CA_BUNDLE"
            raise setback("final", reason, retryable=False) from error
        except (boto.EndpointConnectionError, boto.ProxyConnectionError) as error:
            reason = (
                f"cannot connect to {there}; check AWS_ENDPOINT_URL, the network, and that the server runs"
            )
            raise setback("refused", reason) from error
        except boto.HTTPClientError as error:
            kind = "silent" if _is_timeout(error) else "broken"
            raise setback(kind, f"the connection to {there} keeps breaking; try again later") from error
        except boto.FlexibleChecksumError as error:
            raise setback("broken", f"what {there} sends keeps being damaged on its way") from error
        except (boto.IncompleteReadError, BrokenError) as error:
            raise setback(
                "broken", f"{there} keeps sending less than it announced; try again later"
            ) from error
        except (boto.NoCredentialsError, boto.CredentialRetrievalError) as error:
            raise Setback("final", self._no_keys(error)) from error
        except boto.BotoCoreError as error:
            raise setback("final", f"cannot {doing}: {_line(error)}", retryable=False) from error


def refusal(error: Exception) -> Answer:
    """What the server said; an `Answer` of nothing for any other exception."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return Answer(0, "", "")
    said = response.get("Error", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return Answer(int(status), str(said.get("Code", status)), str(said.get("Message", "")))


def bounded(seconds: float, action: Callable[[], T]) -> T:
    """Call ``action`` in a thread that is left to itself when time is up.

    Raises:
        TimeoutError: it takes longer.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(action())
        except BaseException as error:  # noqa: BLE001 - raised in the caller
            errors.append(error)

    thread = Thread(target=run, daemon=True, name="scalable-cas-remote-look-up")
    try:
        thread.start()
    except RuntimeError:  # the interpreter ends: no new threads; then it takes what it takes
        run()
    else:
        thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError
    return results[0]


def _is_timeout(error: BaseException | None) -> bool:
    """Whether a time limit is behind an error. Of one while a body is sent urllib3 makes a broken connection,
    and botocore another one of that.
    """
    if isinstance(error, (TimeoutError, TooSlowError)):
        return True
    inner = getattr(error, "kwargs", {}).get("error") if error is not None else None
    causes = [] if error is None else [inner, error.__cause__, *error.args]
    return any(_is_timeout(cause) for cause in causes if isinstance(cause, BaseException))


def _counter(traffic: Traffic) -> Callable[..., None]:
    def count(**_: Any) -> None:
        traffic.add(requests=1)

    return count


def _stay_here(context: Any, **_: Any) -> None:
    """Tell botocore that this request was sent on once already. Elsewhere than at Amazon nothing is sent on
    to another region; a server that redirects everything (to https) would be asked a thousand times, until
    the stack is full.
    """
    context.setdefault("s3_redirect", {})["redirected"] = True


def _line(error: object) -> str:
    return " ".join(str(error).split())[:300]
