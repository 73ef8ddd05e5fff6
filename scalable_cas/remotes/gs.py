"""`gs://`: a bucket of Google Cloud Storage, through the interoperability of its XML interface with S3.

Credentials are an HMAC key of a service account, given as boto3 wants them. What differs from S3: it deletes
one file a request, and a condition on a write is what the probe finds (Google's own is another header, which
may not be mixed with Amazon's). docs/reference/remotes.md has the whole list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scalable_cas.remotes.s3 import S3Remote

if TYPE_CHECKING:
    from scalable_cas.remotes.base import Address, Settings

ENDPOINT = "https://storage.googleapis.com"


def open_gs(address: Address, settings: Settings) -> S3Remote:
    """Open a bucket of Google; AWS_ENDPOINT_URL_S3 or a profile may lead to an emulator instead."""
    return S3Remote(address, settings, endpoint=ENDPOINT)
