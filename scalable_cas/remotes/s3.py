"""`s3://`: a bucket of Amazon S3, or of a server that speaks like it.

Credentials, profile, region and endpoint come from boto3's own chain and are neither kept nor printed. Each
process makes one client (`s3_client`), in the thread that first needs it. Failures are told apart there,
tried again in `retry`, and put into words in `s3_answers`.

A write whose answer is lost may have happened. So each carries a random mark in its metadata, and where a
later try is told "there is one already", the mark there tells whether it is our own (as icechunk does since
earth-mover/icechunk#2099).
"""

from __future__ import annotations

from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from scalable_cas.errors import RemoteError, RemoteFileMissing
from scalable_cas.remotes import fs, retry
from scalable_cas.remotes.base import PerProcess, RemoteFile, Traffic, check_name, well_named
from scalable_cas.remotes.bodies import PIECE, Body, Source
from scalable_cas.remotes.parallel import Parts, cancel, finish
from scalable_cas.remotes.retry import Setback
from scalable_cas.remotes.s3_client import Client, refusal
from scalable_cas.remotes.s3_upload import MARK, PART, Upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from scalable_cas.remotes.base import Address, Capabilities, Settings

T = TypeVar("T")

#: A larger file is written in parts. boto3 does so from 8 MiB; but a pack, of which several are sent at once,
#: is one request, which may carry a condition and is less work for the server (moto: 5.0 s of processor time
#: for a gigabyte instead of 8.5).
LARGE = 40 << 20
BATCH = 200  # names in one request that deletes. The service takes 1,000; a slow Swift then needs over 10 s


class S3Remote:
    """A bucket, or a part of one, as a remote. See `base.Remote`.

    ``endpoint``: where it is unless boto3's chain names another place; None: at Amazon.
    """

    def __init__(self, address: Address, settings: Settings, *, endpoint: str | None = None) -> None:
        self.url = address.url
        self.traffic = Traffic()
        self.bucket = address.bucket
        self._base = f"{address.path}/" if address.path else ""
        self.limits = settings.limits
        self._conditional = settings.conditional
        self.client = PerProcess(lambda: Client(self.url, settings, endpoint, self.traffic))
        self.parts = Parts(settings.jobs)
        self._single_deletes = False

    # Without an underscore below: what `s3_upload` uses. The protocol's are `get` to `close`.

    # --- reading -----------------------------------------------------------------------------------------

    def get(self, name: str, *, largest: int, offset: int = 0, length: int | None = None) -> bytes:
        """The content of a file or of a part of it."""
        if length is not None and length <= 0:
            return b""
        part = None if not offset and length is None else (offset, length)

        def read(_: int) -> bytes:
            answer = self._get_object(name, part)
            if answer is None:
                return b""
            self._check_size(name, answer, largest)
            content = bytearray(answer["ContentLength"])
            self._receive(answer, memoryview(content))
            return bytes(content)

        return self.persist(name, "read", read, length or 0)

    def get_into(self, name: str, target: memoryview, *, offset: int = 0) -> int:
        """Fill memory with a part of a file."""

        def read(_: int) -> int:
            answer = self._get_object(name, (offset, len(target)))
            return 0 if answer is None else self._receive(answer, target)

        return self.persist(name, "read", read, len(target)) if len(target) else 0

    def get_file(self, name: str, path: str, *, largest: int) -> int:
        """Write a file's content to a new local file: one request, or parts at once if it is large."""
        with fs.Download(path) as target:
            rest: list[Future[None]] = []
            seen: list[tuple[int, str]] = []  # whole size and version, of the first answer

            def first(_: int) -> None:
                answer = self._get_object(name, (0, PART))
                found = (0, "") if answer is None else (_whole_size(answer), answer.get("ETag", ""))
                if not seen:
                    if found[0] > largest:
                        if answer is not None:
                            answer["Body"].close()
                        raise self._too_large(name, found[0], largest)
                    target.reserve(found[0])
                    seen.append(found)
                    rest.extend(self._start_rest(name, target, found))
                if answer is not None:
                    self._fill(name, target, 0, answer, seen[0])

            try:
                self.persist(name, "read", first)
                finish(rest)
            except BaseException:
                cancel(rest)  # the file is closed next: nobody may still write to its number
                raise
            return seen[0][0]

    def _start_rest(self, name: str, target: fs.Download, found: tuple[int, str]) -> list[Future[None]]:
        def one(offset: int) -> None:
            def read(_: int) -> None:
                answer = self._get_object(name, (offset, min(PART, found[0] - offset)))
                if answer is None:
                    raise Setback("final", self._changed(name))
                self._fill(name, target, offset, answer, found)

            self.persist(name, "read", read)

        return self.parts.start([partial(one, at) for at in range(PART, found[0], PART)])

    def _fill(self, name: str, target: fs.Download, offset: int, answer: Any, found: tuple[int, str]) -> None:
        if (_whole_size(answer), answer.get("ETag", "")) != found:
            answer["Body"].close()
            raise Setback("final", self._changed(name))
        if answer["ContentLength"] != min(PART, found[0] - offset):  # it would run over, or leave a hole
            self._wrong(name, answer, "the server does not answer ranges rightly")
        left, room = answer["ContentLength"], memoryview(bytearray(PIECE))
        with Body(answer["Body"], left, self.limits) as body:
            while left:
                count = body.readinto(room[:left])
                self.traffic.add(received=count)
                target.write_at(offset, room[:count])
                offset, left = offset + count, left - count

    def _get_object(self, name: str, part: tuple[int, int | None] | None) -> Any:
        """The answer to a request for a file or a part of it. None: the part begins at or after its end."""
        asked = {}
        if part is not None:
            offset, length = part
            asked["Range"] = f"bytes={offset}-{'' if length is None else offset + length - 1}"
        try:
            answer = self.boto.get_object(Bucket=self.bucket, Key=self.key(name), **asked)
        except Exception as error:
            if refusal(error).no_such_range:
                return None
            raise
        size = answer.get("ContentLength")
        if size is None or size < 0:
            self._wrong(name, answer, "the server does not say how large it is")
        if part is not None:
            # an empty file has no range; some servers then send the whole, which is nothing
            asked_for = not size or answer.get("ContentRange", "").startswith(f"bytes {part[0]}-")
            if not asked_for or size > (size if part[1] is None else part[1]):
                self._wrong(name, answer, "the server does not answer ranges rightly")
        return answer

    def _wrong(self, name: str, answer: Any, reason: str) -> NoReturn:
        answer["Body"].close()
        raise Setback("final", RemoteError(self.url, name, f"{reason}; use another server"))

    def _receive(self, answer: Any, target: memoryview) -> int:
        """Fill the beginning of memory with an answer, which is not longer; returns its length."""
        at, size = 0, answer["ContentLength"]
        with Body(answer["Body"], size, self.limits) as body:
            while at < size:
                count = body.readinto(target[at:size])
                self.traffic.add(received=count)
                at += count
        return at

    def _check_size(self, name: str, answer: Any, largest: int) -> None:
        if answer["ContentLength"] > largest:
            answer["Body"].close()
            raise self._too_large(name, answer["ContentLength"], largest)

    def _too_large(self, name: str, size: int, largest: int) -> RemoteError:
        return RemoteError(self.url, name, f"it has {size:,} bytes, and at most {largest:,} were expected")

    def _changed(self, name: str) -> RemoteError:
        return RemoteError(self.url, name, "it was replaced while it was read", retryable=True)

    def size(self, name: str) -> int | None:
        """How large a file is, or None."""
        found = self._head(name)
        return None if found is None else found["ContentLength"]

    def _head(self, name: str) -> Any:
        def head(_: int) -> Any:
            try:
                return self.boto.head_object(Bucket=self.bucket, Key=self.key(name))
            except Exception as error:
                if refusal(error).status not in (301, 400, 403):
                    raise
            # the answer to HEAD has no body: wrong keys and a wrong region look alike. GET says which
            answer = self._get_object(name, (0, 1))
            if answer is None:
                return {"ContentLength": 0}
            answer["Body"].close()
            return {**answer, "ContentLength": _whole_size(answer)}

        try:
            return self.persist(name, "read", head)
        except RemoteFileMissing:
            return None

    def list(self, prefix: str, *, after: str = "") -> Iterator[RemoteFile]:
        """The files whose names begin with ``prefix``, in order; a request for each 1,000."""
        asked = {"Bucket": self.bucket, "Prefix": self._base + prefix}
        if after:
            asked["StartAfter"] = self._base + after
        last = ""
        while True:
            page = self.persist("", "list", lambda _: self.boto.list_objects_v2(**asked))
            for found in page.get("Contents", ()):
                if found["Key"] <= last:  # S3 Express; what builds on the order would miss files
                    reason = "the server does not list names in order; use another kind of bucket"
                    raise RemoteError(self.url, "", reason)
                last = found["Key"]
                name = last.removeprefix(self._base)
                if well_named(name):  # others, such as the "folders" that consoles make, are not ours
                    yield RemoteFile(name, found["Size"])
            if not page.get("IsTruncated"):
                return
            token = page.get("NextContinuationToken")
            if not token or token == asked.get("ContinuationToken"):  # what took it for all would miss files
                reason = "the server does not say how its listing goes on; use another server"
                raise RemoteError(self.url, "", reason)
            asked["ContinuationToken"] = token

    # --- writing -----------------------------------------------------------------------------------------

    def put(self, name: str, data: bytes | bytearray | memoryview, *, exclusive: bool = True) -> bool:
        """Write a file."""
        return self._put(name, Source(data), exclusive=exclusive)

    def put_file(self, name: str, path: str, *, exclusive: bool = True) -> bool:
        """Write a file with the content of a local one, in parts at once if it is large."""
        with open(path, "rb", buffering=0) as file:
            return self._put(name, Source(file.fileno()), exclusive=exclusive)

    def _put(self, name: str, source: Source, *, exclusive: bool) -> bool:
        # A condition on the end of a multipart upload is ignored by Ceph and unknown to others; a look before
        # also spares sending it all. Whoever loses a race here replaces equal bytes, as names tell contents.
        large = source.size > LARGE
        if exclusive and (large or self._conditional is not True) and self.size(name) is not None:
            return False
        if large:
            Upload(self, name, source).run()
            return True
        return self._put_whole(name, source, exclusive=exclusive)

    def _put_whole(self, name: str, source: Source, *, exclusive: bool) -> bool:
        mark = token_hex(8)

        def send(number: int) -> bool:
            condition = {"IfNoneMatch": "*"} if exclusive and self._conditional is not False else {}
            try:
                self.boto.put_object(
                    Bucket=self.bucket,
                    Key=self.key(name),
                    Body=source.body(0, source.size, self.limits),
                    Metadata={MARK: mark},
                    **condition,
                )
            except Exception as error:
                answer = refusal(error)
                if condition and answer.there_already:
                    return number > 1 and self.is_marked(name, mark)
                if condition and answer.knows_no_condition:
                    self._conditional = False  # known from here on; the look before guards well enough
                    raise Setback("at once", answer.error(self.url, name, "write")) from error
                raise
            self.traffic.add(sent=source.size)
            return True

        return self.persist(name, "write", send, source.size)

    def is_marked(self, name: str, mark: str) -> bool:
        """Whether what is there now was written by the write with that mark."""
        found = self._head(name)
        return found is not None and found.get("Metadata", {}).get(MARK) == mark

    def delete(self, names: Sequence[str]) -> None:
        """Delete files, many in a request where the server can."""
        keys = [self.key(name) for name in names]
        for at in range(0, len(keys), BATCH):
            batch = keys[at : at + BATCH]
            if len(batch) == 1 or self._single_deletes or not self._delete_batch(batch):
                finish(self.parts.start([partial(self._delete_one, key) for key in batch]))

    def _delete_one(self, key: str) -> None:
        name = key.removeprefix(self._base)
        try:
            self.persist(name, "delete", lambda _: self.boto.delete_object(Bucket=self.bucket, Key=key))
        except RemoteFileMissing:  # Swift says so
            pass

    def _delete_batch(self, keys: Sequence[str]) -> bool:
        """Delete many; False if the server knows no such request (Google's)."""
        wanted = {"Objects": [{"Key": key} for key in keys], "Quiet": True}

        def delete(_: int) -> Any:
            try:
                return self.boto.delete_objects(Bucket=self.bucket, Delete=wanted)
            except Exception as error:
                if refusal(error).status in (400, 405, 501):
                    return None
                raise

        answer = self.persist("", "delete", delete)
        if answer is None:
            self._single_deletes = True
            return False
        # tried again there, and put into words
        finish(
            self.parts.start(
                [partial(self._delete_one, failed["Key"]) for failed in answer.get("Errors", ())]
            )
        )
        return True

    # --- the rest ----------------------------------------------------------------------------------------

    def probe(self) -> Capabilities:
        """Try what a remote must do."""
        from scalable_cas.remotes.probing import CannotDoError, probe

        def if_absent(name: str, data: bytes) -> bool:
            before, self._conditional = self._conditional, True
            try:
                made = self._put_whole(name, Source(data), exclusive=True)
                if not self._conditional:
                    raise CannotDoError
                return made
            finally:
                self._conditional = before

        found = probe(self, if_absent)
        if found.conditional is not None:
            self._conditional = found.conditional
        return found

    def close(self) -> None:
        """Let go of connections and threads."""
        self.parts.close()
        client = self.client.take()
        if client is not None:
            client.boto.close()

    @property
    def boto(self) -> Any:
        """This process's client."""
        return self.client.get().boto

    def key(self, name: str) -> str:
        """The bucket's name for a file."""
        return self._base + check_name(name)

    def persist(self, name: str, doing: str, action: Callable[[int], T], size: int = 0) -> T:
        """Call ``action`` with the number of the try until it succeeds, see `retry.persist`; ``size`` of its
        body.
        """
        client = self.client.get()

        def once(number: int) -> T:
            with client.translated(name, doing):
                return action(number)

        return retry.persist(once, self.limits, self.traffic, size)


def _whole_size(answer: Any) -> int:
    """The size of the whole file, of which an answer may hold a part."""
    said: str = answer.get("ContentRange", "")
    total = said.rpartition("/")[2]
    return int(total) if total.isdigit() else int(answer["ContentLength"])
