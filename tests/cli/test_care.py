"""`verify`, `doctor`, `report`."""

from __future__ import annotations

import os
from html.parser import HTMLParser

import pytest

from scalable_cas import Store

from .filling import count, put


@pytest.fixture
def damaged(path, objects):
    """One object with a flipped byte at its end, one that is missing."""
    for call in ("text", "large"):
        file = path / "objects" / objects[call][:2] / objects[call][2:]
        if call == "large":
            file.unlink()
        else:
            content = bytearray(file.read_bytes())
            content[-1] ^= 1
            file.chmod(0o600)
            file.write_bytes(content)
    return objects


def test_verify_of_a_whole_store_is_0(cas, filled):
    done = cas("verify")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("nothing is wrong: checked 4 objects")
    assert cas("-q", "verify") == (0, b"", "")
    assert cas("verify", "--json").json["ok"] is True


def test_verify_names_what_is_wrong_and_what_it_affects(cas, filled, damaged):
    done = cas("verify")
    assert done.code == 1
    assert len(done.lines) == 2
    corrupt = next(line for line in done.lines if line.startswith(f"corrupt {damaged['text']}: "))
    assert corrupt.endswith(f"; affects model.run {filled['text']}")
    assert any(line.startswith(f"missing {damaged['large']}: ") for line in done.lines)
    found = cas("verify", "--json").json
    assert found["ok"] is False
    assert {item["subject"] for item in found["findings"]} == {damaged["text"], damaged["large"]}
    assert found["repaired"] == []


def test_verify_quick_reads_no_content(cas, damaged):
    found = cas("verify", "--quick", "--json").json
    assert [item["subject"] for item in found["findings"]] == [damaged["large"]]


def test_verify_repair(cas, path, filled, damaged):
    done = cas("verify", "--repair", "--json")
    assert done.code == 1  # something was wrong
    assert done.json["left"] == []
    assert len(done.json["repaired"]) > 0
    assert cas("verify")[:2] == (0, b"")
    assert cas("show", filled["small"]).code == 0
    assert os.listdir(path / "quarantine") == [damaged["text"]]


def test_verify_repair_forgets_a_value_whose_parts_are_lost_with_it(cas, path):
    """Its root can be had from the index, but its buffer cannot: one run is enough to see that."""
    with Store.init(path) as store:
        key = put(store, "model.run", "parts", {"small": 1, "large": bytes(range(256)) * 1000})
    for file in path.glob("objects/??/*"):
        file.chmod(0o600)
        file.write_bytes(b"garbage")
    found = cas("verify", "--repair", "--json").json
    assert (found["ok"], found["left"]) == (True, [])
    assert f"{key}: forgotten, because its value is lost" in found["repaired"]
    assert cas("verify").code == 0


def test_doctor_of_a_healthy_store(cas, path):
    cas("init")
    done = cas("doctor")
    assert done.code == 0, done.out
    assert f"ok     store: {path} (the nearest .scalable)" in done.lines
    rows = {row["check"]: row for row in cas("doctor", "--json").json}
    assert {"python", "packages", "user key", "writing", "free space", "clock", "index"} <= set(rows)
    assert all(row["state"] in ("ok", "note") for row in rows.values())


def test_doctor_without_a_store(cas, path):
    done = cas("doctor")
    assert done.code == 1
    assert any(line.startswith(f"WRONG  store: none at {path}") for line in done.lines)
    assert not path.exists()


def states(done):
    return {row["check"]: row["state"] for row in done.json}


def test_doctor_finds_a_damaged_index(cas, path, filled):
    (path / "index" / "data.mdb").write_bytes(b"\xff" * 40_000)
    done = cas("doctor", "--json")
    assert done.code == 1
    assert states(done)["index"] == "wrong"
    assert "scalable-cas reindex" in [row["remedy"] for row in done.json]


def test_doctor_finds_broken_yaml(cas, workdir):
    (workdir / "scalable.yaml").write_text("project: 3\n")
    done = cas("doctor", "--json")
    assert done.code == 1
    assert states(done)["scalable.yaml"] == "wrong"


def test_doctor_finds_a_user_key_that_others_can_read(cas, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    cas("init")
    (tmp_path / "scalable-cas" / "local.key").chmod(0o644)
    done = cas("doctor", "--json")
    assert done.code == 1
    assert states(done)["user key"] == "wrong"


def test_doctor_finds_a_clock_that_is_behind(cas, path):
    cas("init")
    os.utime(path / "format", ns=(10**18 * 5, 10**18 * 5))
    done = cas("doctor", "--json")
    assert done.code == 1
    assert states(done)["clock"] == "wrong"


def test_doctor_notes_what_is_worth_knowing(cas, path, monkeypatch):
    cas("init")
    monkeypatch.setenv("SCALABLE_CACHE", "off")
    monkeypatch.setenv("SCALABLE_CASH_DIR", "/there")
    (path / "tmp" / "1.2.3").write_bytes(b"x")
    (path / "quarantine").mkdir()
    (path / "quarantine" / ("ab" * 32)).write_bytes(b"x")
    done = cas("doctor", "--json")
    assert done.code == 0
    found = states(done)
    for check in ("SCALABLE_CACHE", "SCALABLE_CASH_DIR", "unfinished files", "quarantine"):
        assert found[check] == "note"


@pytest.fixture
def runs(path):
    with Store.init(path) as store:
        count(store, "one", "1.1", 10**18, a=(1, 20, 5.0, 30.0))
        count(store, "two", "2.1", 2 * 10**18, a=(100, 0, 400.0, 0.0))
        count(store, "two", "2.2", 2 * 10**18 - 5, a=(50, 20, 100.0, 6.0), **{"m.<b>": (30, 0, 400.0, 0.0)})
        count(store, "idle", "3.1", 3 * 10**18)


def test_report_of_the_last_run_is_the_contract_s_text(cas, runs):
    done = cas("report", "--last")
    assert done.code == 0
    assert done.out == (
        "Cache Performance:\n"
        "  Total lookups: 200\n"
        "  Hits: 180 (90%)\n"
        "  Misses: 20 (10%)\n"
        "  Time saved: ~15 minutes\n"
    )


def test_report_sums_over_all_runs(cas, runs):
    found = cas("report", "--json").json
    assert (found["runs"], found["lookups"], found["hits"], found["misses"]) == (2, 221, 181, 40)
    assert found["hit_rate"] == pytest.approx(181 / 221)
    assert found["time_saved_seconds"] == pytest.approx(905)
    assert found["functions"]["a"]["misses"] == 40
    assert cas("report", "--last", "--json").json["functions"]["m.<b>"]["hits"] == 30
    assert cas("-v", "report").lines[-1].split()[:3] == ["m.<b>", "30", "0"]


def test_report_of_nothing_is_1(cas):
    cas("init")
    for arguments in ((), ("--last",), ("--json",), ("--html", "page.html")):
        done = cas("report", *arguments)
        assert (done.code, done.out) == (1, "")
        assert "nothing has been recorded" in done.err


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not {"src", "href"} & {name for name, _ in attrs}  # self-contained

    def handle_data(self, data):
        self.text += data


def test_report_as_a_page(cas, runs, workdir):
    done = cas("report", "--html", "page.html")
    assert (done.code, done.out, done.err) == (0, "", "wrote page.html\n")
    page = Page()
    page.feed((workdir / "page.html").read_text())
    assert "b" not in page.tags
    assert "script" not in page.tags
    assert "m.<b>" in page.text
    assert "181 hits" in page.text
    assert [file.name for file in workdir.iterdir() if file.name != ".scalable"] == ["page.html"]


def test_report_does_not_replace_what_is_no_file(cas, runs, workdir):
    (workdir / "folder").mkdir()
    (workdir / "target.html").write_text("old")
    (workdir / "link.html").symlink_to("target.html")
    assert cas("report", "--html", "folder").code == 1
    assert cas("report", "--html", "absent/page.html").code == 1
    assert not (workdir / "absent").exists()
    assert cas("report", "--html", "/dev/null").code == 1
    assert cas("report", "--html", "link.html").code == 0
    assert (workdir / "link.html").is_symlink()
    assert (workdir / "target.html").read_text().startswith("<!doctype html>")
