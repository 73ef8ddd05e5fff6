"""Functions of a program that two users run."""

from __future__ import annotations

from scalable_cas import cacheable


class Point:
    def __init__(self, n):
        self.n = n


@cacheable
def plain(n):
    return {"n": n, "large": "x" * 3000}


@cacheable
def point(n):
    return Point(n)
