"""Variables, arrays, datasets and trees of xarray, and what of them is still in a file."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest

from scalable_cas.keys.call import CallKeyer
from scalable_cas.keys.encode import _Deep, encode
from scalable_cas.keys.nodes import Refused, Walk
from scalable_cas.keys.wrappers import UtilityType

from .pair_tables import pair_tests

xr = pytest.importorskip("xarray")


def array(values=((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)), **options):
    options = {
        "dims": ("x", "y"),
        "coords": {"x": [10, 20], "z": 7},
        "name": "t",
        "attrs": {"unit": "m"},
        **options,
    }
    return xr.DataArray(np.array(values), **options)


def dataset(*names, **attrs):
    return xr.Dataset({name: array(name=name) for name in names}, attrs=attrs)


def coordinates_first():
    value = xr.Dataset(coords={"y": [1]})
    value["t"] = ("time", [1, 2])
    return value


def data_first():
    return xr.Dataset({"t": ("time", [1, 2])}, coords={"y": [1]})


def with_encoding():
    value = array()
    value.encoding["dtype"] = "float32"
    value.coords["x"].encoding["_FillValue"] = 1
    return value


DIFFERENT = {
    "a value": (array(), array(((1.0, 2.0, 3.0), (4.0, 5.0, 7.0)))),
    "a dtype": (array(), array(((1, 2, 3), (4, 5, 6)))),
    "dims": (array(coords={}), array(dims=("x", "z"), coords={})),
    "a coordinate": (array(), array(coords={"x": [10, 30], "z": 7})),
    "a scalar coordinate": (array(), array(coords={"x": [10, 20], "z": 8})),
    "no coordinate": (array(), array(coords={"x": [10, 20]})),
    "a name": (array(), array(name="u")),
    "no name": (array(), array(name=None)),
    "attrs": (array(), array(attrs={"unit": "s"})),
    "no attrs": (array(), array(attrs={})),
    "attrs of a coordinate": (array(), array(coords={"x": ("x", [10, 20], {"a": 1}), "z": 7})),
    "an index": (array(), array().drop_indexes("x")),
    "two of one name": (array(), array().to_dataset()),
    "an array, its variable": (array(), array().variable),
    "an array, its values": (array(), array().values),
    "variables": (array().variable, (array() + 1).variable),
    "an index variable": (array().coords["x"].variable, xr.Variable("x", [10, 20])),
    "names in a dataset": (dataset("a"), dataset("b")),
    "order in a dataset": (dataset("a", "b"), dataset("b", "a")),
    "data before coordinates": (data_first(), coordinates_first()),
    "attrs of a dataset": (dataset("a", k=1), dataset("a", k=2)),
    "variables, coordinates": (dataset("a"), dataset("a").reset_coords("z")),
    "two dimensions, an index over both": (
        array().stack(s=("x", "y")),
        array().stack(s=("y", "x")),
    ),
}
EQUAL = {
    "a copy": (array(), array().copy(deep=True)),
    "transposed twice": (array(), array().T.copy(deep=True).T),
    "encoding": (array(), with_encoding()),
    "order of attrs": (array(attrs={"a": 1, "b": 2}), array(attrs={"b": 2, "a": 1})),
    "coordinates first": (coordinates_first(), coordinates_first().copy(deep=True)),
    "a dataset": (dataset("a", "b"), dataset("a", "b").copy(deep=True)),
    "stacked": (array().stack(s=("x", "y")), array().stack(s=("x", "y")).copy()),
}
if hasattr(xr, "DataTree"):

    def tree(**nodes):
        return xr.DataTree.from_dict({f"/{name}": node for name, node in nodes.items()}, name="root")

    DIFFERENT |= {
        "trees": (tree(a=dataset("u")), tree(b=dataset("u"))),
        "trees, deep": (tree(**{"a/b": dataset("u")}), tree(**{"a/b": dataset("v")})),
    }
    EQUAL |= {"trees": (tree(a=dataset("u")), tree(a=dataset("u")).copy(deep=True))}

    def test_a_part_of_a_tree_is_refused():
        with pytest.raises(Refused, match="root"):
            encode(tree(a=dataset("u"))["a"])


test_two_keys, test_one_key = pair_tests(DIFFERENT, EQUAL)


@pytest.mark.parametrize("name", [*DIFFERENT, *EQUAL])
def test_engines_and_pickles_agree(name):
    value = {**DIFFERENT, **EQUAL}[name][0]
    assert encode(value) == _Deep(Walk([])).run(value) == encode(pickle.loads(pickle.dumps(value)))


def test_the_path_to_what_is_refused():
    value = {"in": dataset("a").assign(b=array(attrs={"lock": threading.Lock()}))}
    with pytest.raises(Refused) as refused:
        encode(value)
    assert refused.value.path == '["in"]["b"]["lock"]'


class Own(xr.Dataset):
    __slots__ = ()


def test_a_subclass_is_refused():
    with pytest.raises(Refused):
        encode(Own())


# --- lazy data ---------------------------------------------------------------------------------------------


def takes(data):
    return data


def key(value, **declared):
    return CallKeyer(takes, arg_types=declared).bind((value,), {}, None)[0]


@pytest.fixture
def opened(tmp_path):
    """A dataset whose values are still in a file."""
    pytest.importorskip("scipy")
    dataset("a", "b").to_netcdf(tmp_path / "d.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "d.nc", engine="scipy") as found:
        yield found


def test_lazy_data_is_refused_unless_declared(opened):
    with pytest.raises(TypeError, match="UtilityType"):
        key(opened)
    lazy = key(opened, data=UtilityType)
    nested = key(UtilityType(opened))
    opened.load()
    assert lazy == key(opened) == key(opened, data=UtilityType)
    assert nested == key(UtilityType(opened)) != lazy


def test_a_declared_value_is_still_told_from_another(opened):
    assert key(opened, data=UtilityType) != key(opened + 1, data=UtilityType)
