"""Trees: one form for each folder, and nothing else is taken for one."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scalable_cas.errors import MalformedObject
from scalable_cas.format import tree
from scalable_cas.format.kinds import BLOB, TREE, object_id
from tests.conftest import ROOT

VECTORS = json.loads((ROOT / "fixtures/trees-v1.json").read_text())

names = (
    st.binary(min_size=1, max_size=12)
    .map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"0"))
    .filter(lambda name: name not in (b".", b".."))
)
entries = st.builds(
    tree.TreeEntry,
    names,
    st.sampled_from([tree.FILE, tree.EXECUTABLE, tree.LINK, tree.FOLDER]),
    st.binary(min_size=32, max_size=32),
    st.integers(1, tree.LONGEST_TARGET),
)
folders = st.lists(entries, max_size=8, unique_by=lambda entry: entry.name)


@pytest.mark.parametrize("case", VECTORS["trees"], ids=lambda case: case["what"])
def test_golden_trees_are_written_and_read(case):
    found = [
        tree.TreeEntry(bytes.fromhex(e["name"]), int(e["mode"], 8), bytes.fromhex(e["oid"]), e["size"])
        for e in case["entries"]
    ]
    content = bytes.fromhex(case["content"])
    assert tree.pack(reversed(found)) == content
    assert list(tree.unpack(content)) == found
    assert object_id(TREE, content).hex() == case["oid"]


@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda case: case["what"])
def test_whatever_else_is_refused(case):
    with pytest.raises(MalformedObject):
        tree.unpack(bytes.fromhex(case["content"]))


@given(folders)
def test_every_folder_comes_back_whatever_the_order_of_its_entries(found):
    content = tree.pack(found)
    back = tree.unpack(memoryview(content))
    assert sorted(back) == sorted(found)
    assert tree.pack(back[::-1]) == content
    assert [tree.kind_of(e.mode) for e in back] == [TREE if e.mode == tree.FOLDER else BLOB for e in back]


@given(folders, st.data())
def test_a_changed_byte_gives_another_tree_or_none(found, data):
    """There is no second form of a folder: what is read gives the very bytes again."""
    content = bytearray(tree.pack(found))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        back = tree.unpack(bytes(content))
    except MalformedObject:
        return
    assert tree.pack(back) == bytes(content)


@given(st.binary(max_size=300))
@example(b"\1\0\0\0" + b"\xff" * 4)
def test_noise_is_refused_or_is_a_tree(noise):
    try:
        back = tree.unpack(noise)
    except MalformedObject:
        return
    assert tree.pack(back) == noise


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/a", b"a\0", b"x" * 1025])
def test_a_name_that_leads_elsewhere_is_not_written(name):
    with pytest.raises(MalformedObject):
        tree.pack([tree.TreeEntry(name, tree.FILE, bytes(32), 1)])


def test_a_name_is_not_written_twice():
    with pytest.raises(MalformedObject, match="twice"):
        tree.pack([tree.TreeEntry(b"a", tree.FILE, bytes(32), size) for size in (1, 2)])


FOLDERS = {(b"a",), (b"a", b"b"), (b"a", b"b", b"c"), (b"d",)}


@pytest.mark.parametrize(
    "target, folder",
    [
        (b"x", ()),
        (b"./x//y/", ()),
        (b"../x", (b"a",)),
        (b"../../d", (b"a", b"b")),
        (b"..", (b"a",)),
        (b"a/../d", ()),
        (b"../a/b/../../d/x", (b"d",)),
        (b"...", ()),
        (b"..x/y", ()),
    ],
)
def test_a_link_that_stays_inside_is_fine(target, folder):
    assert tree.link_fault(target, folder, lambda parts: tuple(parts) in FOLDERS) is None


@pytest.mark.parametrize(
    "target, folder",
    [
        (b"", ()),
        (b"/etc/passwd", ()),
        (b"//x", (b"a",)),
        (b"..", ()),
        (b"../x", ()),
        (b"../../x", (b"a",)),
        (b"a/../../x", ()),
        (b"a/b/../../../x", ()),
        (b"link/../x", ()),  # link is no folder of the tree: it may lead to one that is deeper, or higher
        (b"a/file/../x", ()),
        (b"a\0b", ()),
        (b"x" * 4096, ()),
    ],
)
def test_a_link_that_may_lead_out_is_refused(target, folder):
    assert tree.link_fault(target, folder, lambda parts: tuple(parts) in FOLDERS) is not None
