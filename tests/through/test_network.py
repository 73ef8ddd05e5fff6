"""What a remote costs: requests, and seconds where it is slow, dead or wrong."""

from __future__ import annotations

import time

import pytest

from scalable_cas.testing.faults import Fault, FaultProxy


@pytest.fixture
def wire(moto):
    """A proxy in front of the server, and the URL of a remote behind it."""
    server, url = moto
    with FaultProxy(server.url) as proxy:
        yield proxy, url


@pytest.fixture
def people(person, wire):
    """Ada, who has computed `square(0)` to `square(9)`, and Bob, who has not."""
    proxy, url = wire
    found = person("ada", url), person("bob", url)
    for who in found:
        who.extra["AWS_ENDPOINT_URL_S3"] = proxy.url
    found[0].run("[square(n) for n in range(10)]")
    assert len(found[0].ran()) == 10
    return found


def requests(proxy, process, code):
    """Run lines in a program that runs, and count the requests of each."""
    counts = []
    for line in code:
        before = len(proxy.exchanges)
        process.stdin.write(line + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        counts.append(len(proxy.exchanges) - before)
    return counts


def test_a_hit_there_is_one_request_and_a_key_that_nobody_has_is_none(people, wire):
    proxy, bob = wire[0], people[1]
    lines = ["square(0)", "square(1)", "square(2)", "square(100)", "square(101)", "square(1)"]
    code = "import sys\n" + "".join(
        f"before = sys.stdin.readline(); {line}; print('done', flush=True)\n" for line in lines
    )
    process = bob.start(code)
    proxy.use([])
    counts = requests(proxy, process, lines)
    process.communicate(timeout=60)
    assert counts[0] <= 4  # its format, what there is, the segment, the result
    assert counts[1:] == [1, 1, 0, 0, 0]
    assert bob.ran() == ["square 100", "square 101"]


@pytest.mark.parametrize(
    "kind", ["hang", "drop", *(pytest.param(kind, marks=pytest.mark.deep) for kind in ("slow", "drip"))]
)
def test_a_remote_that_is_slow_or_dead_costs_a_bounded_time_once(people, wire, kind):
    proxy, (ada, bob) = wire[0], people
    proxy.use([Fault(kind, times=None, seconds=30)])
    # the real patience once; a shorter one takes the same way
    patience = 8 if kind == "hang" else 2
    since = time.monotonic()
    out, err = bob.run(
        f"import scalable_cas.ops.through as through; through.SILENCE = {patience}\n"
        "times = [time.monotonic()]\n"
        "for n in range(10): square(n); times.append(time.monotonic())\n"
        "print(times[1] - times[0], times[-1] - times[1])"
    )
    first, others = map(float, out.split())
    assert first < patience + (
        2 if kind == "hang" else 4
    )  # the contract has 10; loading boto3 takes its time too
    assert others < 0.5
    assert time.monotonic() - since < patience + 10  # its end does not wait again
    assert err.count("CacheWarning") == 1
    assert "calls go on without the remote" in err
    assert len(bob.ran()) == 10
    proxy.use([])
    bob.run("square(1000)")  # the next program sends what waits
    ada.run("square(1000)")
    assert ada.ran() == []


def test_a_remote_whose_hits_take_longer_than_the_functions_is_given_up(people, wire):
    proxy, bob = wire[0], people[1]
    bob.run("square(1000)")  # knows what is there
    proxy.use([Fault("slow", method="GET", path="*/packs/*", times=None, seconds=0.4)])
    out, err = bob.run(
        "import scalable_cas.ops.through as through; through.SILENCE = 1; through.TARDY = 0.1\n"
        "since = time.monotonic()\n"
        "for n in range(10): square(n)\n"
        "print(time.monotonic() - since)"
    )
    assert float(out) < 4  # ten hits of 0.4 s, and the first looks what is there
    assert err.count("CacheWarning") == 1
    assert "its answers take longer than the functions" in err
    assert bob.ran()[1:] == [f"square {n}" for n in range(3, 10)]


def test_the_end_of_a_program_does_not_wait_for_a_transfer_that_hangs(people, wire):
    proxy, bob = wire[0], people[1]
    proxy.use([Fault("hang", method="PUT", times=None)])
    since = time.monotonic()
    _, err = bob.run("import scalable_cas.ops.through as through; through.SILENCE = 1\nsquare(500)")
    assert time.monotonic() - since < 7  # the first try of a PUT alone would take 10
    assert "no answer for 1 seconds" in err


@pytest.mark.parametrize("kind", ["corrupt", "truncate"])
def test_a_wrong_answer_is_never_a_value(people, wire, kind):
    proxy, bob = wire[0], people[1]
    proxy.use([Fault(kind, method="GET", path="*/packs/*", times=None)])
    out, err = bob.run("print(square(3)['square'])")
    assert (out, bob.ran()) == ("9\n", ["square 3"])
    assert err.count("CacheWarning") == 1


def test_a_remote_that_comes_back_is_used_again(people, wire):
    proxy, bob = wire[0], people[1]
    proxy.use([Fault("drop", times=40)])
    code = """
import scalable_cas.ops.through as through
through.RETRY = 0.5
square(0)
while square.is_cached(5) is False:
    time.sleep(0.1)
print(square(5)["square"])
"""
    out, _ = bob.run(code)
    assert (out, bob.ran()) == ("25\n", ["square 0"])


def test_a_long_function_looks_again_before_it_runs(people):
    ada, bob = people
    process = bob.start(
        "import scalable_cas.ops.through as through; through.LONG = through.OFTEN = 0.0; through.SLOW = 60\n"
        "square(50); print('ready', flush=True); sys.stdin.readline(); square(51)"
    )
    assert process.stdout.readline() == "ready\n"
    ada.run("square(51)")
    process.communicate("now\n", timeout=60)
    assert bob.ran() == ["square 50"]


AHEAD = """
import asyncio
import scalable_cas.ops.ahead as ahead

def step(what):
    sys.stdin.readline()
    what()
    print("done", flush=True)

def read_ahead():
    from scalable_cas.store import lifecycle
    (store,) = lifecycle._open
    (through,) = store.attached.values()
    while through._ahead.is_waiting or through._ahead._working.locked():
        time.sleep(0.01)

"""


@pytest.fixture
def many(person, wire):
    """Ada, who has computed 2,000 small results, and how to make others."""
    proxy, url = wire

    def make(name):
        made = person(name, url)
        made.extra["AWS_ENDPOINT_URL_S3"] = proxy.url
        return made

    make("ada").run("import asyncio\nfor n in range(2000): square(n)\nasyncio.run(later(0))")
    proxy.use([])
    return make


def test_after_some_results_of_a_function_the_others_come_together(many, wire):
    bob = many("bob")
    process = bob.start(
        AHEAD
        + "step(lambda: [square(n) for n in range(20)])\nstep(read_ahead)\n"
        + "step(lambda: [square(n) for n in range(2000)])\nstep(lambda: asyncio.run(later(0)))"
    )
    counts = requests(wire[0], process, ["20 of them", "what comes by itself", "all", "another function"])
    process.communicate(timeout=60)
    assert bob.ran() == []
    assert 16 <= counts[0] + counts[1] <= 20 + 4 + 10
    assert counts[2:] == [0, 1]


def test_a_loop_does_not_run_what_came_between_two_looks(many, wire):
    bob = many("bob")
    bob.run("for n in range(2000): assert square(n)['square'] == n * n")
    assert bob.ran() == []
    assert len(wire[0].exchanges) < 1000


@pytest.mark.parametrize("limit", ["MOST_BYTES = 10_000", "MOST_ENTRIES = 1999"])
def test_what_is_much_comes_one_by_one(many, wire, limit):
    bob = many("bob")
    process = bob.start(
        AHEAD
        + f"ahead.{limit}\nstep(lambda: [square(n) for n in range(20)])\nstep(read_ahead)\n"
        + "step(lambda: [square(n) for n in range(30)])"
    )
    counts = requests(wire[0], process, ["20 of them", "nothing", "10 more"])
    process.communicate(timeout=60)
    assert bob.ran() == []
    assert counts[0] + counts[1] <= 20 + 4
    assert counts[2] == 10


def test_reading_ahead_that_fails_is_given_up_without_a_word(many, wire):
    bob = many("bob")
    process = bob.start(
        AHEAD
        + "step(lambda: [square(n) for n in range(15)])\nstep(lambda: square(15))\nstep(read_ahead)\n"
        + "step(lambda: [square(n) for n in range(20)])"
    )
    requests(wire[0], process, ["15 of them"])
    wire[0].use([Fault("status", status=403, method="GET", path="*/format.json", times=None)])
    counts = requests(wire[0], process, ["the 16th", "a refusal", "4 more"])
    _, err = process.communicate(timeout=60)
    assert (bob.ran(), err) == ([], "")
    assert counts[2] == 4
