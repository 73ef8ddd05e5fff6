"""The programs about files that the benchmark times, a process each: `python files.py WHAT PEER FOLDER` prints
JSON.

Peers have no argument type for files: what their users do is to hash the content themselves, and that is timed.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time

from timing import best


def file_of(folder, name, size):
    path = f"{folder}/{name}"
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        block = os.urandom(1 << 20)
        with open(path, "wb") as file:
            file.writelines(block[: size - at] for at in range(0, size, 1 << 20))
        time.sleep(2.5)  # a file that was written just now is not taken for known
    return path


def tree_of(folder, count):
    root = f"{folder}/tree{count}"
    for number in range(count):
        if number % 100 == 0:
            os.makedirs(f"{root}/{number // 100}")
        with open(f"{root}/{number // 100}/file{number}", "wb") as file:
            file.write(b"%d" % number * 200)
    return root


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record(path):
    return {"id": 1, "name": "sample", "value": 0.5, "ok": True, "note": None}


def hit(peer, folder):
    """A call whose argument is an unchanged file of 100 MB."""
    path = file_of(folder, "hundred", 100_000_000)
    if peer == "scalable-cas":
        from scalable_cas import FileType, cacheable

        os.environ["SCALABLE_CACHE_DIR"] = f"{folder}/store"
        call = cacheable(path=FileType)(record)
        many = 2000
    elif peer == "joblib":
        import joblib

        function = joblib.Memory(f"{folder}/joblib", verbose=0).cache(record)

        def call(path):
            with open(path, "rb") as file:
                return function(joblib.hash(file.read()))

        many = 1
    else:
        import diskcache

        function = diskcache.Cache(f"{folder}/diskcache").memoize()(record)

        def call(path):
            return function(sha256(path))

        many = 1
    expected = call(path)
    assert call(path) == expected

    def work():
        for _ in range(many):
            call(path)

    return {"us": best(5, work) / many * 1e6}


def large(peer, folder):
    """The digest of 1 GiB in the page cache."""
    path = file_of(folder, "gigabyte", 1 << 30)
    if peer == "scalable-cas":
        from scalable_cas.keys.files import file_digest as digest
    elif peer == "sha256":
        digest = sha256
    else:
        import joblib

        def digest(path):
            with open(path, "rb") as file:
                return joblib.hash(file.read())

    digest(path)
    import resource

    seconds = best(3 if peer == "joblib" else 5, lambda: digest(path))
    return {
        "gb_per_second": (1 << 30) / 1e9 / seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def folders(peer, folder):
    """The digest of folders of small files, in the page cache."""
    found = {}
    for count in (10_000, 100_000):
        root = tree_of(folder, count)
        if peer == "scalable-cas":
            from scalable_cas.keys.files import directory_digest as digest
        else:

            def digest(root):
                for place, _, names in os.walk(root):
                    for name in names:
                        sha256(f"{place}/{name}")

        digest(root)
        found[str(count)] = best(3, lambda digest=digest, root=root: digest(root))
    return found


if __name__ == "__main__":
    what, peer, folder = sys.argv[1:]
    print(json.dumps({"hit": hit, "large": large, "folders": folders}[what](peer, folder)))
