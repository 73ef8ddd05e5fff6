"""The only reader of time, so that tests and other layers have one place to look.

Wall-clock time is for people and for ages; it may jump. Waiting and measuring use the monotonic clock.
"""

from __future__ import annotations

import time

now_ns = time.time_ns  # nanoseconds since 1970, UTC; may jump either way
monotonic = time.monotonic  # seconds; never goes back; for deadlines
perf_counter = time.perf_counter  # seconds; the finest clock; for durations
sleep = time.sleep


def iso(ns: int) -> str:
    """``2026-11-22T20:15:03Z`` for a time in nanoseconds since 1970; ``?`` where the calendar has no such
    year.
    """
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ns / 1e9))
    except (OverflowError, ValueError, OSError):  # a record with a wild time must not break a listing
        return "?"
