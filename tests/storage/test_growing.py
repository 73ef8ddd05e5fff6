"""An index that another process is filling is never taken for a damaged one."""

from __future__ import annotations

import subprocess
import sys

from scalable_cas import Store
from scalable_cas.storage.environment_files import check

FILL = """
import sys
from scalable_cas import Store
with Store.open(sys.argv[1]) as store:
    print("ready", flush=True)
    for n in range(400):
        store.index.write(lambda changes: changes.put_run(b"%d" % n, {"filler": bytes(200_000)}))
"""


def test_a_file_that_grows_while_it_is_checked_is_whole(tmp_path):
    Store.init(tmp_path / "s").close()
    filler = subprocess.Popen([sys.executable, "-c", FILL, tmp_path / "s"], stdout=subprocess.PIPE, text=True)
    filler.stdout.readline()
    checks = 0
    while filler.poll() is None:
        check(str(tmp_path / "s/index"), alone=False)
        checks += 1
    assert filler.wait() == 0
    filler.stdout.close()
    assert checks > 10
