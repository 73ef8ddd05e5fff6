"""What an S3 server's refusal means: whether to try again, and the line that tells a person what to do.

Pure: status, code and message in, meaning out. Servers differ in codes more than in statuses, so the status
decides where the code is unknown.
"""

from __future__ import annotations

from typing import NamedTuple

from scalable_cas.errors import RemoteDenied, RemoteError, RemoteFileMissing

#: Codes that mean "later", whatever their status. RequestTimeout is a 400 of AWS: the body came too slowly.
_BUSY = frozenset(
    (
        *("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "RequestLimitExceeded"),
        *(
            "Throttling",
            "ThrottlingException",
            "RequestThrottled",
            "TooManyRequests",
            "BandwidthLimitExceeded",
        ),
        *("ConditionalRequestConflict", "OperationAborted"),
    )
)
_KEYS = "check AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
#: code -> what to do, in words
_REMEDIES = {
    "NoSuchBucket": "the bucket does not exist; create it, or check its name and AWS_ENDPOINT_URL",
    "InvalidBucketName": "the server does not accept this name of a bucket",
    "InvalidAccessKeyId": f"the server does not know this access key; {_KEYS}",
    "SignatureDoesNotMatch": f"the secret key is wrong; {_KEYS}",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set AWS_REGION to it",
    "IllegalLocationConstraintException": "the bucket is in another region; set AWS_REGION to it",
    "PermanentRedirect": "the bucket is in another region; set AWS_REGION to it",
    "ExpiredToken": "the credentials have expired; log in again (for example `aws sso login`)",
    "ExpiredTokenException": "the credentials have expired; log in again (for example `aws sso login`)",
    "TokenRefreshRequired": "the credentials have expired; log in again (for example `aws sso login`)",
    "InvalidToken": f"the session token is not valid; {_KEYS} and AWS_SESSION_TOKEN",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it, then try again",
    "AccountProblem": "there is a problem with the account of these credentials; ask its owner",
    "AllAccessDisabled": "access to this bucket is disabled; ask its owner",
    "QuotaExceeded": "the quota is used up; free some space there, then run the same again",
    "EntityTooLarge": "the server does not accept so large a file",
    "MethodNotAllowed": "the server does not support this operation",
}
_DENIED = frozenset(("InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled", "AccountProblem"))


class Answer(NamedTuple):
    """A refusal: HTTP status, the server's code (the status again where there was no body), its message."""

    status: int
    code: str
    message: str

    @property
    def missing(self) -> bool:
        """The file is not there."""
        return self.code in ("NoSuchKey", "NoSuchVersion") or (
            self.status == 404 and self.code in ("404", "NotFound")
        )

    @property
    def there_already(self) -> bool:
        """A conditional write found a file. MinIO once said 304 (minio/minio#19442)."""
        return self.status in (412, 304) or self.code == "PreconditionFailed"

    @property
    def knows_no_condition(self) -> bool:
        """Perhaps the server refused because of a header that it does not know, not because of the rest."""
        return self.status == 501 or (
            self.status == 400
            and self.code in ("NotImplemented", "InvalidArgument", "InvalidRequest", "BadRequest", "400")
        )

    @property
    def no_such_range(self) -> bool:
        """The file ends before the range begins."""
        return self.status == 416

    @property
    def no_such_upload(self) -> bool:
        """The parts are gone: the upload was completed, or aborted."""
        return self.code == "NoSuchUpload"

    @property
    def kind(self) -> str:
        """Which of `retry.TRIES` it is. 409 in general: AWS documents it as "try again" for conditional
        writes; libraries that read it as "exists" lost mutual exclusion (apache/opendal#6741).
        """
        busy = self.code in _BUSY or self.status in (409, 429, 500, 502, 503, 504)
        return "busy" if busy else "final"

    def error(self, url: str, name: str, doing: str) -> RemoteError:
        """Our error for it. ``doing``: what was tried, as in "may not read"."""
        if self.missing:
            return RemoteFileMissing(url, name)
        remedy = _REMEDIES.get(self.code)
        if remedy is not None:
            about = "" if self.code in ("NoSuchBucket", "InvalidBucketName") else name
            kind = RemoteDenied if self.code in _DENIED else RemoteError
            return kind(url, about, remedy)
        if self.status in (401, 403):
            return RemoteDenied(
                url,
                name,
                f"access denied: these credentials may not {doing} here; ask the bucket's owner, or {_KEYS}",
            )
        if self.status in (301, 302, 307, 308):
            return RemoteError(
                url,
                name,
                "the server sends us elsewhere; check AWS_ENDPOINT_URL (http or https?) and AWS_REGION",
            )
        said = " ".join(self.message.split())[:200]
        said = f" ({said})" if said else ""
        if self.kind == "busy":
            return RemoteError(
                url,
                name,
                f"the server kept answering {self.status} {self.code}{said}; try again later",
                retryable=True,
            )
        return RemoteError(url, name, f"the server refused to {doing}: {self.status} {self.code}{said}")
