"""A script's own classes come back as its own, however it was run when they were stored and is run now."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import dataclasses, enum, functools, multiprocessing, pickle, sys
from collections import namedtuple
from scalable_cas.codecs import decode, encode

print("body")

class Model:
    class Inner(enum.Enum):
        A = 1
    def __init__(self, x):
        self.x = x

class Colour(enum.Enum):
    RED = 1

@dataclasses.dataclass
class Row:
    n: int

Pair = namedtuple("Pair", "a b")

def helper(x):
    return x + 1

@functools.lru_cache
def cached(x):
    return x + 2

def write():
    values = [Colour.RED, Row(1), Pair(1, Row(2)), Model.Inner.A]
    partial = functools.partial(helper, 1)
    objects = [Model(1), Row, helper, cached, Model.Inner, partial, [values[1]] * 2, Model(Colour.RED)]
    return [(found.codec, found.head) for found in map(encode, [values, objects])]

def read(stored):
    assert [codec for codec, _ in stored] == ["plain", "pickle"], stored
    values, objects = (decode(codec, head, [], trusted=True) for codec, head in stored)
    assert values[0] is Colour.RED
    assert type(values[1]) is Row and values[1] == Row(1)
    assert type(values[2]) is Pair and type(values[2].b) is Row
    assert values[3] is Model.Inner.A
    assert type(objects[0]) is Model and objects[0].x == 1
    assert objects[1] is Row and objects[2] is helper and objects[3] is cached and objects[4] is Model.Inner
    assert objects[5]() == 2 and objects[5].func is helper
    assert type(objects[6][0]) is Row and objects[6][0] is objects[6][1]
    assert objects[7].x is Colour.RED
    assert decode(*stored[0], [], trusted=False)[0] is Colour.RED

def main(action, file):
    if action == "write":
        with open(file, "wb") as out:
            pickle.dump(write(), out)
    elif action == "read":
        with open(file, "rb") as source:
            read(pickle.load(source))
    elif action == "write in worker":
        with multiprocessing.get_context("spawn").Pool(1) as pool, open(file, "wb") as out:
            pickle.dump(pool.apply(write), out)
    elif action == "read in worker":
        with multiprocessing.get_context("spawn").Pool(1) as pool, open(file, "rb") as source:
            pool.apply(read, [pickle.load(source)])
    print("done")

if __name__ == "__main__":
    main(*sys.argv[1:])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    package = folder / "pkg" / "sub"
    package.mkdir(parents=True)
    (folder / "pkg" / "__init__.py").touch()
    (package / "__init__.py").touch()
    for path in (folder / "my_script.py", package / "mod.py"):
        path.write_text(SCRIPT)
    return folder


WAYS = {
    "my_script": {
        "script": ["my_script.py"],
        "module": ["-m", "my_script"],
        "import": ["-c", "import sys, my_script; my_script.main(*sys.argv[1:])"],
    },
    "pkg.sub.mod": {
        "script": ["pkg/sub/mod.py"],
        "module": ["-m", "pkg.sub.mod"],
        "import": ["-c", "import sys, pkg.sub.mod; pkg.sub.mod.main(*sys.argv[1:])"],
    },
}


def start(folder, way, action, file):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}"}
    done = subprocess.run(
        [sys.executable, *way, action, str(file)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("name", WAYS)
def test_every_way_reads_what_every_way_wrote(folder, tmp_path, name):
    for number, (written, found) in enumerate(product(WAYS[name], WAYS[name])):
        file = tmp_path / f"{number}"
        assert start(folder, WAYS[name][written], "write", file) == ["body", "done"]
        # Its body runs once: the running script is not imported a second time under its own name.
        assert start(folder, WAYS[name][found], "read", file) == ["body", "done"], (written, found)


@pytest.mark.parametrize("way", ["script", "module"])
def test_workers_read_and_write_the_same(folder, tmp_path, way):
    command = WAYS["my_script"][way]
    assert start(folder, command, "write in worker", tmp_path / "a") == ["body", "body", "done"]
    assert start(folder, WAYS["my_script"]["import"], "read", tmp_path / "a") == ["body", "done"]
    start(folder, WAYS["my_script"]["import"], "write", tmp_path / "b")
    assert start(folder, command, "read in worker", tmp_path / "b") == ["body", "body", "done"]


def test_without_a_file_classes_travel_by_value(tmp_path):
    program = """
import sys
from scalable_cas.codecs import decode, encode
class Model:
    x = 1
found = encode([Model()])
assert found.codec == "pickle"
sys.stdout.buffer.write(found.head)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, cwd=ROOT)
    reader = (
        "import sys; from scalable_cas.codecs import decode; "
        "print(decode('pickle', sys.stdin.buffer.read(), [], trusted=True)[0].x)"
    )
    again = subprocess.run(
        [sys.executable, "-c", reader], input=done.stdout, capture_output=True, check=True, cwd=ROOT
    )
    assert again.stdout == b"1\n"


def test_without_a_file_plain_classes_are_those_of_the_process():
    definition = "import enum\nclass Colour(enum.Enum):\n    RED = 1\n"
    writer = definition + (
        "import sys\nfrom scalable_cas.codecs import encode\nsys.stdout.buffer.write(encode(Colour.RED).head)"
    )
    reader = (
        "import sys\nfrom scalable_cas.codecs import plain\n"
        "try:\n    print(plain.unpack(sys.stdin.buffer.read()) is Colour.RED)\n"
        "except Exception as error:\n    print(type(error).__name__)"
    )
    head = subprocess.run([sys.executable, "-c", writer], capture_output=True, check=True, cwd=ROOT).stdout
    miss = b"MalformedObject\n"
    for before, said in ((definition, b"True\n"), ("", miss), (definition.replace("1", "2"), miss)):
        command = [sys.executable, "-c", before + reader]
        assert subprocess.run(command, input=head, capture_output=True, check=True, cwd=ROOT).stdout == said


def test_a_script_that_is_still_defining_its_classes_is_not_run_again(folder, tmp_path):
    stored = tmp_path / "stored"
    start(folder, WAYS["my_script"]["import"], "write", stored)
    early = """
import pickle, sys
print("body")
from scalable_cas.codecs import decode
from scalable_cas.errors import MalformedObject
for codec, head in pickle.load(open(sys.argv[2], "rb")):
    try:
        decode(codec, head, [], trusted=True)
    except MalformedObject:
        print("miss")
"""
    other = tmp_path / "my_script.py"
    other.write_text(early)
    assert start(tmp_path, ["-W", "ignore", str(other)], "read", stored) == ["body", "miss", "miss"]


def test_a_script_that_ends_when_imported_is_a_miss(folder, tmp_path):
    stored = tmp_path / "stored"
    start(folder, WAYS["my_script"]["import"], "write", stored)
    (tmp_path / "my_script.py").write_text("import sys; sys.exit(3)")
    program = """
import pickle, sys
from scalable_cas.codecs import decode
from scalable_cas.errors import MalformedObject
for codec, head in pickle.load(open(sys.argv[2], "rb")):
    try:
        decode(codec, head, [], trusted=True)
    except MalformedObject:
        print("miss")
"""
    (tmp_path / "reader.py").write_text(program)
    assert start(tmp_path, ["-W", "ignore", "reader.py"], "read", stored) == ["miss", "miss"]
