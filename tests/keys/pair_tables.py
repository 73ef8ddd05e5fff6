"""What every table of pairs is asked: `DIFFERENT` pairs have two keys, `EQUAL` ones have one, also inside others."""

from __future__ import annotations

import pytest

from scalable_cas.keys.encode import encode


def pair_tests(different, equal):
    """The two tests of a module; each table is name -> two values."""

    @pytest.mark.parametrize("name", different)
    def two_keys(name):
        first, second = different[name]
        assert encode(first) != encode(second)
        assert encode([first]) != encode([second])

    @pytest.mark.parametrize("name", equal)
    def one_key(name):
        first, second = equal[name]
        assert encode(first) == encode(second)
        assert encode({"k": first}) == encode({"k": second})

    return two_keys, one_key
