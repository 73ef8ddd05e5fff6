"""The contract of `scalable_cas.remotes.base.Remote` as checks that anything can be run through.

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_my_remote(check, tmp_path):
        check(lambda: MyRemote("my://place"), str(tmp_path))

Each check takes a function that opens the remote anew, always at the same place, and an empty local folder.
It works below a random prefix of its own and leaves nothing. `CHECKS` are what every remote must do; `ATOMIC`
is for places where of simultaneous writers exactly one wins.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from scalable_cas.storage.fs import make_folder
from scalable_cas.testing import remote_checks as checks

if TYPE_CHECKING:
    from collections.abc import Callable

    from scalable_cas.testing.checking import Opener

__all__ = ["ATOMIC", "CHECKS", "check_remote"]

CHECKS: tuple[Callable[[Opener, str], None], ...] = (
    checks.a_file_comes_back_as_it_was,
    checks.a_missing_file_is_told,
    checks.a_part_of_a_file_is_its_part,
    checks.an_exclusive_put_replaces_nothing,
    checks.a_put_that_is_not_exclusive_replaces,
    checks.simultaneous_writers_leave_a_whole_file,
    checks.what_is_too_large_is_refused,
    checks.every_name_is_kept,
    checks.a_listing_is_in_order_and_complete,
    checks.deleting_is_complete_and_repeatable,
    checks.a_large_file_moves_whole,
    checks.local_files_are_safe,
    checks.what_one_does_another_sees,
    checks.threads_share_it,
    checks.a_forked_child_uses_it_too,
    checks.traffic_is_counted,
    checks.a_probe_leaves_nothing,
    checks.it_can_be_closed_and_used_again,
)
ATOMIC: tuple[Callable[[Opener, str], None], ...] = (checks.of_simultaneous_writers_exactly_one_wins,)


def check_remote(opener: Opener, folder: str) -> None:
    """Run all of `CHECKS`, each in a folder of its own below ``folder``.

    Raises:
        AssertionError: the remote does not keep the contract. The message begins with the name of the check.
    """
    for check in CHECKS:
        place = os.path.join(folder, check.__name__)
        make_folder(place)
        try:
            check(opener, place)
        except AssertionError as error:
            raise AssertionError(f"{check.__name__}: {error}") from error
