"""Object kinds and how each is named (format-v1, section 1).

A blob is named by plain BLAKE3, so that ``b3sum FILE`` prints its name. Every structured kind is hashed in
keyed mode with a public key of its
own: a blob whose bytes happen to equal a tree can then never be taken for that tree, and no length has to be
known before hashing starts.
"""

from __future__ import annotations

from blake3 import blake3

BLOB = 1
TREE = 2
LIST = 3
VALUE = 4

KIND_NAMES = {BLOB: "blob", TREE: "tree", LIST: "list", VALUE: "value"}
KIND_CODES = {name: code for code, name in KIND_NAMES.items()}

#: Public keys, derived from constants: part of the format, printed in format-v1.
KIND_KEYS = {
    kind: blake3(derive_key_context=f"scalable_cas 2026-11 object v1 {KIND_NAMES[kind]}").digest()
    for kind in (TREE, LIST, VALUE)
}
VALUE_KEY = KIND_KEYS[VALUE]

#: Below this a second thread costs more than it gives (measured: break-even at 256 KiB, 1.9 times at 1 MiB on
#: two cores).
PARALLEL_BYTES = 1 << 20


def object_id(kind: int, content: bytes | bytearray | memoryview, threads: int = 1) -> bytes:
    """Return the 32-byte name of an object of ``kind`` (a code of this module) with this uncompressed
    ``content``.

    ``threads`` is always explicit: BLAKE3's automatic pool hangs for ever in a child forked after its first
    use.
    """
    if len(content) < PARALLEL_BYTES or threads == 1:  # one thread is the default of the library
        if kind == BLOB:
            return blake3(content).digest()
        return blake3(content, key=KIND_KEYS[kind]).digest()
    if kind == BLOB:
        return blake3(content, max_threads=threads).digest()
    return blake3(content, key=KIND_KEYS[kind], max_threads=threads).digest()


def hasher(kind: int, threads: int = 1) -> blake3:
    """A running hash for content of ``kind`` that arrives in pieces; ``threads`` as in `object_id`."""
    if kind == BLOB:
        return blake3(max_threads=threads)
    return blake3(key=KIND_KEYS[kind], max_threads=threads)
