"""Uploading a large file to a bucket in parts, some at a time.

All or nothing: the file appears when the last request, which names all parts, was answered; after a failure
the parts are thrown away. What a killed process leaves of them is seen by nobody, but is paid for: a
lifecycle rule of the bucket aborts such uploads (docs/reference/remotes.md).
"""

from __future__ import annotations

from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from scalable_cas.errors import RemoteError
from scalable_cas.remotes.parallel import finish
from scalable_cas.remotes.retry import Setback
from scalable_cas.remotes.s3_client import refusal

if TYPE_CHECKING:
    from scalable_cas.remotes.bodies import Source
    from scalable_cas.remotes.s3 import S3Remote

PART = 8 << 20  # bytes; boto3's own size. The service allows 5 MiB to 5 GiB
MOST_PARTS = 10_000  # of the service
MARK = "scalable-cas-write"  # name of our metadata, see `s3`


class Upload:
    """One upload in parts."""

    def __init__(self, remote: S3Remote, name: str, source: Source) -> None:
        self._remote = remote
        self._name = name
        self._source = source
        self._mark = token_hex(8)
        self._place = {"Bucket": remote.bucket, "Key": remote.key(name)}
        self._sums = {"ChecksumAlgorithm": "CRC32"} if remote.client.get().sums else {}
        self._step = max(PART, -(-source.size // MOST_PARTS))

    def run(self) -> None:
        """Do it.

        Raises:
            RemoteError: it failed. The file is not there, unless only the last answer was lost.
        """
        made = self._remote.persist(self._name, "write", self._create)
        self._place["UploadId"] = made["UploadId"]
        count = -(-self._source.size // self._step)
        try:
            parts = finish(
                self._remote.parts.start([partial(self._part, number) for number in range(1, count + 1)])
            )
            self._remote.persist(self._name, "write", lambda number: self._complete(number, parts))
        except BaseException:
            self._abort()
            raise

    def _create(self, _: int) -> Any:
        metadata = {MARK: self._mark}
        return self._remote.boto.create_multipart_upload(**self._place, **self._sums, Metadata=metadata)

    def _part(self, number: int) -> dict[str, Any]:
        at = (number - 1) * self._step
        length = min(self._step, self._source.size - at)

        def send(_: int) -> Any:
            body = self._source.body(at, length, self._remote.limits)
            return self._remote.boto.upload_part(**self._place, **self._sums, PartNumber=number, Body=body)

        answer = self._remote.persist(self._name, "write", send)
        self._remote.traffic.add(sent=length)
        part = {"PartNumber": number, "ETag": answer["ETag"]}
        if "ChecksumCRC32" in answer:
            part["ChecksumCRC32"] = answer["ChecksumCRC32"]
        return part

    def _complete(self, number: int, parts: list[Any]) -> None:
        try:
            self._remote.boto.complete_multipart_upload(**self._place, MultipartUpload={"Parts": parts})
        except Exception as error:
            # Broad with reason: only what `refusal` recognises is taken, the rest is raised as it is.
            lost = number > 1 and refusal(error).no_such_upload
            if not (lost and self._remote.is_marked(self._name, self._mark)):
                raise

    def _abort(self) -> None:
        try:
            with self._remote.client.get().translated(self._name, "write"):
                self._remote.boto.abort_multipart_upload(**self._place)
        except (Setback, RemoteError):  # the first error is the one to tell; the bucket's rule does the rest
            pass
