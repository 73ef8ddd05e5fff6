"""The checks of a remote, one for each promise of the contract. See `testing.remotes` for how to run them."""

from __future__ import annotations

import os
import warnings
from functools import partial
from secrets import token_bytes
from typing import TYPE_CHECKING

from scalable_cas.errors import RemoteError, RemoteFileMissing, StoreReadOnly
from scalable_cas.testing.checking import content_of, expect, in_threads, local_file, place_of_its_own, raises

if TYPE_CHECKING:
    from scalable_cas.testing.checking import Opener

MIB = 1 << 20


def a_file_comes_back_as_it_was(opener: Opener, folder: str) -> None:
    """Of every size, from memory and from a local file."""
    with place_of_its_own(opener) as (remote, prefix):
        for size in (0, 1, 1000, 300_000):
            content = token_bytes(size)
            forms: list[bytes | bytearray | memoryview] = [content, bytearray(content), memoryview(content)]
            for number, form in enumerate(forms):
                name = f"{prefix}{size}-{number}"
                expect(remote.put(name, form) is True, "put of a new file returns True")
                expect(remote.get(name, largest=size) == content, f"{size} bytes came back otherwise")
            expect(remote.size(name) == size, "size says how many bytes there are")
            name = f"{prefix}{size}-file"
            expect(remote.put_file(name, local_file(folder, content)) is True, "put_file returns True")
            target = os.path.join(folder, f"{size}.got")
            expect(remote.get_file(name, target, largest=size) == size, "get_file returns the size")
            expect(content_of(target) == content, f"a file of {size} bytes came back otherwise")


def a_missing_file_is_told(opener: Opener, folder: str) -> None:
    """As an error of its own, and without a local file."""
    with place_of_its_own(opener) as (remote, prefix):
        target = os.path.join(folder, "target")
        name = f"{prefix}nobody"
        error = raises(RemoteFileMissing, lambda: remote.get(name, largest=10))
        expect(error.name == name, "the error names the file")  # type: ignore[attr-defined]
        raises(RemoteFileMissing, lambda: remote.get(name, largest=10, offset=1, length=2))
        raises(RemoteFileMissing, lambda: remote.get_into(name, memoryview(bytearray(2))))
        raises(RemoteFileMissing, lambda: remote.get_file(name, target, largest=10))
        expect(not os.path.lexists(target), "a failed download leaves no local file")
        expect(remote.size(name) is None, "the size of a missing file is None")
        expect(list(remote.list(prefix)) == [], "nothing is listed where nothing is")


def a_part_of_a_file_is_its_part(opener: Opener, folder: str) -> None:  # noqa: ARG001 - as all
    """Also beyond its end."""
    content = token_bytes(1000)
    with place_of_its_own(opener) as (remote, prefix):
        name = f"{prefix}a"
        remote.put(name, content)
        for offset, length in (
            (0, 1),
            (0, 1000),
            (10, 20),
            (999, 1),
            (990, 100),
            (1000, 5),
            (5000, 1),
            (3, 0),
        ):
            wanted = content[offset : offset + length]
            got = remote.get(name, largest=1000, offset=offset, length=length)
            expect(got == wanted, f"{length} bytes from {offset} are others")
            room = memoryview(bytearray(length))
            size = remote.get_into(name, room, offset=offset)
            expect(size == len(wanted), f"get_into says {size} bytes of {len(wanted)} from {offset}")
            expect(room[:size] == wanted, f"get_into of {length} bytes from {offset} gives others")
        for offset in (0, 1, 999, 1000, 2000):
            got = remote.get(name, largest=1000, offset=offset)
            expect(got == content[offset:], f"what follows byte {offset} is something else")


def an_exclusive_put_replaces_nothing(opener: Opener, folder: str) -> None:
    """And says that there is one."""
    with place_of_its_own(opener) as (remote, prefix):
        name = f"{prefix}a"
        remote.put(name, b"first")
        expect(remote.put(name, b"second") is False, "put returns False where a file is")
        expect(remote.put_file(name, local_file(folder, b"third")) is False, "so does put_file")
        expect(opener().put(name, b"fourth") is False, "so does another remote of the same place")
        expect(remote.get(name, largest=10) == b"first", "the first file stays")


def a_put_that_is_not_exclusive_replaces(opener: Opener, folder: str) -> None:
    """Whatever was there."""
    with place_of_its_own(opener) as (remote, prefix):
        name = f"{prefix}a"
        expect(remote.put(name, b"first", exclusive=False) is True, "put returns True")
        expect(remote.put(name, b"2nd", exclusive=False) is True, "also where a file is")
        expect(remote.get(name, largest=10) == b"2nd", "the second put counts")
        expect(remote.put_file(name, local_file(folder, b"third"), exclusive=False) is True, "put_file too")
        expect(remote.get(name, largest=10) == b"third", "the third put counts")


def simultaneous_writers_leave_a_whole_file(opener: Opener, folder: str) -> None:  # noqa: ARG001 - as all
    """It is that of one who was told that it made it."""
    _race(opener, exactly_one=False)


def of_simultaneous_writers_exactly_one_wins(opener: Opener, folder: str) -> None:  # noqa: ARG001 - as all
    """Not of `CHECKS`: OpenStack Swift lets two win."""
    _race(opener, exactly_one=True)


def _race(opener: Opener, *, exactly_one: bool) -> None:
    with place_of_its_own(opener) as (remote, prefix):
        for number in range(10):
            name = f"{prefix}{number}"
            contents = [bytes([writer]) * 5000 for writer in range(6)]
            made = in_threads([partial(remote.put, name, content) for content in contents])
            found = remote.get(name, largest=5000)
            winners = [content for content, mine in zip(contents, made, strict=True) if mine is True]
            expect(found in winners, f"what is there is of none of the {len(winners)} winners")
            expect(not exactly_one or len(winners) == 1, f"{len(winners)} writers were told that they won")


def what_is_too_large_is_refused(opener: Opener, folder: str) -> None:
    """Before it is read."""
    with place_of_its_own(opener) as (remote, prefix):
        name = f"{prefix}a"
        remote.put(name, bytes(1001))
        target = os.path.join(folder, "target")
        error = raises(RemoteError, lambda: remote.get(name, largest=1000))
        expect(not isinstance(error, RemoteFileMissing), "it is not missing")
        expect(not error.retryable, "asking again does not help")  # type: ignore[attr-defined]
        raises(RemoteError, lambda: remote.get_file(name, target, largest=1000))
        expect(not os.path.lexists(target), "a failed download leaves no local file")
        expect(len(remote.get(name, largest=1000, length=1000)) == 1000, "a part is judged by its own size")


def every_name_is_kept(opener: Opener, folder: str) -> None:  # noqa: ARG001 - as all
    """Whatever letters it has; what cannot be a name is refused."""
    odd = (
        "a b",
        "é/ü",
        "日本",
        "a+b",
        "a%20b",
        "a=b&c",
        "q?x#y",
        "it's",
        "(x)",
        "~*!",
        "a..b",
        ".hidden",
        "x" * 200,
    )
    with place_of_its_own(opener) as (remote, prefix):
        for name in odd:
            remote.put(prefix + name, name.encode())
        for name in odd:
            expect(remote.get(prefix + name, largest=1000) == name.encode(), f"{name!r} has other content")
        listed = [file.name.removeprefix(prefix) for file in remote.list(prefix)]
        expect(listed == sorted(odd), f"other names are listed: {listed}")
        for name in ("", "/a", "a/", "a//b", "../a", "a/./b", "a\0b", "a\nb", "a\\b", "x" * 901, "\ud800"):
            raises(ValueError, partial(remote.put, name, b""))
            raises(ValueError, partial(remote.get, name, largest=1))


def a_listing_is_in_order_and_complete(opener: Opener, folder: str) -> None:  # noqa: ARG001 - as all
    """Over many pages, from any place on."""
    with place_of_its_own(opener) as (remote, prefix):
        few = [f"{prefix}few/{name}" for name in ("a/1", "a/2", "a-1", "a.1", "ab", "B", "b/c/d", "é")]
        for name in few:
            remote.put(name, b"12345")
        found = list(remote.list(f"{prefix}few/"))
        expect([file.name for file in found] == sorted(few), "a listing is in the order of names")
        expect({file.size for file in found} == {5}, "a listing tells sizes")
        for after in (*few, f"{prefix}few/a/", f"{prefix}few/zz"):
            listed = [file.name for file in remote.list(f"{prefix}few/", after=after)]
            expect(listed == sorted(name for name in few if name > after), f"after {after!r}: {listed}")
        for part in ("a", "a/", "b/c", "x"):
            listed = [file.name for file in remote.list(f"{prefix}few/{part}")]
            wanted = sorted(name for name in few if name.startswith(f"{prefix}few/{part}"))
            expect(listed == wanted, f"a prefix may end within a name: {part!r} gave {listed}")
        many = [f"{prefix}many/{number:04}" for number in range(1003)]

        def put(names: list[str]) -> None:
            for name in names:
                remote.put(name, b"", exclusive=False)

        in_threads([partial(put, many[start::8]) for start in range(8)])
        listed = [file.name for file in remote.list(f"{prefix}many/")]
        expect(listed == many, f"{len(listed)} of {len(many)} files are listed")
        remote.delete(many)
        expect(list(remote.list(f"{prefix}many/")) == [], "many files can be deleted in one call")


def deleting_is_complete_and_repeatable(opener: Opener, folder: str) -> None:  # noqa: ARG001 - as all
    """What is not there is no error."""
    with place_of_its_own(opener) as (remote, prefix):
        names = [f"{prefix}{name}" for name in "abc"]
        for name in names:
            remote.put(name, b"x")
        remote.delete(names[:1])
        expect(remote.size(names[0]) is None, "a deleted file is gone")
        expect(remote.size(names[1]) == 1, "others stay")
        remote.delete(names)
        remote.delete(names)
        remote.delete(names[:1])
        remote.delete([])
        expect(list(remote.list(prefix)) == [], "all are gone")
        expect(remote.put(names[0], b"new") is True, "a deleted name can be used again")


def a_large_file_moves_whole(opener: Opener, folder: str) -> None:
    """In parts where the remote does so."""
    content = token_bytes(MIB) * 41 + b"end"
    with place_of_its_own(opener) as (remote, prefix):
        name = f"{prefix}large"
        source = local_file(folder, content)
        expect(remote.put_file(name, source) is True, "put_file returns True")
        expect(remote.put_file(name, source) is False, "and False the second time")
        expect(remote.size(name) == len(content), "it has its size")
        target = os.path.join(folder, "target")
        expect(remote.get_file(name, target, largest=len(content)) == len(content), "get_file says its size")
        expect(content_of(target) == content, "a large file came back otherwise")
        expect(
            remote.get(name, largest=5, offset=41 * MIB - 1, length=5) == content[41 * MIB - 1 :][:5],
            "a part",
        )
        expect(remote.put(f"{name}-2", content) is True, "put takes as much")
        expect(remote.get(f"{name}-2", largest=len(content)) == content, "and get gives it back")


def local_files_are_safe(opener: Opener, folder: str) -> None:
    """A download replaces none, and an upload of none makes nothing."""
    with place_of_its_own(opener) as (remote, prefix):
        name = f"{prefix}a"
        remote.put(name, b"remote")
        mine = local_file(folder, b"mine")
        raises((StoreReadOnly, OSError), lambda: remote.get_file(name, mine, largest=100))
        expect(content_of(mine) == b"mine", "a local file that was there is left alone")
        raises(FileNotFoundError, lambda: remote.put_file(f"{prefix}b", os.path.join(folder, "none")))
        expect(remote.size(f"{prefix}b") is None, "nothing comes of a local file that is not there")


def what_one_does_another_sees(opener: Opener, folder: str) -> None:  # noqa: ARG001 - as all
    """At once."""
    with place_of_its_own(opener) as (one, prefix):
        other = opener()
        for number in range(8):
            name = f"{prefix}{number}"
            one.put(name, b"x")
            expect(other.size(name) == 1, "a put is seen by others when it returns")
            expect(name in {file.name for file in other.list(prefix)}, "and listed")
            other.delete([name])
            expect(one.size(name) is None, "a delete is seen by others when it returns")
        other.close()


def threads_share_it(opener: Opener, folder: str) -> None:
    """One object, many threads, each with its own files."""
    with place_of_its_own(opener) as (remote, prefix):

        def work(number: int) -> None:
            for turn in range(5):
                content = bytes([number, turn]) * 3000
                name = f"{prefix}{number}/{turn}"
                remote.put(name, content)
                expect(remote.get(name, largest=6000) == content, "threads mix their files up")
                target = os.path.join(folder, f"{number}-{turn}")
                remote.get_file(name, target, largest=6000)
                expect(content_of(target) == content, "threads mix their files up")

        in_threads([partial(work, number) for number in range(8)])
        expect(len(list(remote.list(prefix))) == 40, "all files of all threads are there")


def a_forked_child_uses_it_too(opener: Opener, folder: str) -> None:
    """While the parent goes on."""
    with place_of_its_own(opener) as (remote, prefix):
        remote.put(f"{prefix}before", b"parent")
        remote.put_file(f"{prefix}large", local_file(folder, bytes(41 * MIB)))  # threads are running now
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: a fork beside threads
            child = os.fork()
        if not child:
            status = 1
            try:
                if remote.get(f"{prefix}before", largest=10) == b"parent":
                    remote.put(f"{prefix}child", b"child")
                    remote.get_file(f"{prefix}large", os.path.join(folder, "child"), largest=41 * MIB)
                    status = 0
            finally:
                os._exit(status)  # nothing of the parent's may be cleaned up here
        remote.put(f"{prefix}after", b"parent")
        expect(os.waitpid(child, 0)[1] == 0, "the child could not use it")
        expect(remote.get(f"{prefix}child", largest=10) == b"child", "what the child wrote is there")


def traffic_is_counted(opener: Opener, folder: str) -> None:  # noqa: ARG001 - as all
    """Requests, and bytes either way."""
    with place_of_its_own(opener) as (remote, prefix):
        start = remote.traffic.requests, remote.traffic.bytes_sent, remote.traffic.bytes_received
        remote.put(f"{prefix}a", bytes(5000))
        expect(remote.traffic.bytes_sent == start[1] + 5000, "what was sent is counted")
        remote.get(f"{prefix}a", largest=5000)
        expect(remote.traffic.bytes_received == start[2] + 5000, "what was received is counted")
        expect(start[0] + 2 <= remote.traffic.requests <= start[0] + 4, "requests are counted")


def a_probe_leaves_nothing(opener: Opener, folder: str) -> None:  # noqa: ARG001 - as all
    """And finds that everything works that must."""
    with place_of_its_own(opener) as (remote, _):
        before = list(remote.list("probe/"))
        found = remote.probe()
        for what in ("list", "read", "write", "ranges", "delete"):
            expect(getattr(found, what) is True, f"the probe says that it cannot {what}: {found.notes}")
        expect(list(remote.list("probe/")) == before, "the probe's files are gone")


def it_can_be_closed_and_used_again(opener: Opener, folder: str) -> None:  # noqa: ARG001 - as all
    """Any number of times."""
    with place_of_its_own(opener) as (remote, prefix):
        remote.close()
        remote.close()
        remote.put(f"{prefix}a", b"x")
        remote.close()
        expect(remote.get(f"{prefix}a", largest=1) == b"x", "it works after it was closed")
        expect("://" in remote.url, "it has a URL")
