"""What arrives, and is not yet named by a record: beside others who store the same, and after what went wrong."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from blake3 import blake3

from scalable_cas.format import header
from scalable_cas.format.chunking import ChunkList
from scalable_cas.format.kinds import BLOB
from scalable_cas.format.segment import ObjectPlace
from scalable_cas.ops import verify
from scalable_cas.ops.transfer import pull as pulling
from scalable_cas.ops.transfer.fetching import Fetcher, _checked, _Span
from scalable_cas.ops.transfer.parallel import Crew
from scalable_cas.ops.transfer.repository import open_repository
from scalable_cas.ops.transfer.restoring import restoring
from scalable_cas.storage import incoming
from scalable_cas.storage.incoming import alone
from scalable_cas.store.arrivals import Arrivals
from tests.support.stores import object_files, pack_files

from .people import fill, noise, read


def encoded(content):
    """A raw blob as it is stored: name, bytes."""
    oid = blake3(content).digest()
    return oid, header.Header(BLOB, header.RAW, 0, len(content), len(content), oid).pack() + content


def listed(oid, chunks):
    """A blob in chunks: name, bytes of its list."""
    size = sum(length for _, length in chunks)
    packed = ChunkList(1, size, chunks).pack()
    return oid, header.Header(BLOB, header.CHUNKED, 0, size, len(packed), oid).pack() + packed


def test_what_somebody_stored_while_it_came_is_kept(ada):
    oid, data = encoded(noise(5000))
    found = incoming.check(oid, data)
    ada.put_bytes(noise(5000))  # since the pull looked, and found none
    before = ada.objects.loose.stat(oid).st_ino
    incoming.place_all(ada.objects, [(found.head, alone(data))], absent=True)
    assert ada.objects.loose.stat(oid).st_ino == before
    assert not os.path.exists(f"{ada.root}/quarantine")


@pytest.mark.parametrize("wanted, kept", [(1, 1), (50, 100)])
def test_of_a_large_piece_of_which_little_is_wanted_the_rest_is_not_kept(ada, place, wanted, kept):
    ada.push(place.url)
    oids = [encoded(noise(1000, number)) for number in range(100)]
    length = len(oids[0][1])
    span = _Span(b"", 0, 100 * length, ())
    memory = memoryview(b"".join(data for _, data in oids))
    with open_repository(ada, place.url) as repository:
        fetcher = Fetcher(repository)
        fetcher._take(
            [
                _checked(ObjectPlace(oid, BLOB, header.RAW, 1000, b"", n * length, length), memory, span)
                for n, (oid, _) in enumerate(oids[:wanted])
            ]
        )
        assert {len(piece.memory) for _, piece in fetcher._pending} == {kept * length}
        fetcher._put()
    assert all(ada.objects.place(oid) for oid, _ in oids[:wanted])


def test_when_one_transfer_fails_the_others_are_over_too():
    begun, ended = threading.Event(), threading.Event()

    def work(number):
        if number:
            begun.set()
            time.sleep(0.3)
            ended.set()
        else:
            begun.wait(10)
            raise LookupError(number)

    with Crew(2) as crew:
        with pytest.raises(LookupError):
            list(crew.map(work, range(2)))
        assert ended.is_set()


def test_what_was_proved_of_one_list_does_not_hold_for_another(ada):
    parts = [encoded(noise(600_000, number)) for number in (1, 2)]
    whole = blake3(noise(600_000, 1) + noise(600_000, 2)).digest()
    arrivals = Arrivals(ada)
    with ThreadPoolExecutor(1) as pool:
        arrivals.put([listed(whole, [(oid, 600_000) for oid, _ in parts]), *parts])
        arrivals.prove_behind(pool.submit)
        arrivals.put([listed(whole, [(b"x" * 32, 600_000), (b"y" * 32, 600_000)])])
        assert arrivals.settle() == {b"x" * 32, b"y" * 32}
    assert ada.objects.place(whole) is None


def test_repair_brings_a_blob_in_chunks_back(ada, place):
    fill(ada, "m.f", 1, value=noise(3 << 20))
    ada.push(place.url)
    for path in (*object_files(ada.root), *pack_files(ada.root)):
        path.unlink()
    with open_repository(ada, place.url) as repository:
        repository.refresh()
        done = verify.repair(ada, ada.verify(), restoring(repository))
    assert all(line.endswith("fetched") for line in done)
    assert ada.verify().findings == []
    assert read(ada, "m.f", 1) == noise(3 << 20)


def test_a_file_that_a_power_cut_left_empty_is_pulled_again(ada, place, bob, monkeypatch):
    fill(ada, "m.f", 1, value=noise(300_000))
    ada.push(place.url)

    def cut(*_):
        raise InterruptedError

    with monkeypatch.context() as patched:
        patched.setattr(pulling, "ingest", cut)
        with pytest.raises(InterruptedError):
            bob.pull(place.url)
    for path in object_files(bob.root):
        path.chmod(0o600)
        os.truncate(path, 0)
    assert bob.pull(place.url).entries == 1
    assert bob.verify().findings == []
    assert read(bob, "m.f", 1) == noise(300_000)
