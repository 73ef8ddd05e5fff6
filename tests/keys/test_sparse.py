"""Sparse arrays and matrices of scipy, and that scipy's own bookkeeping neither shows nor is disturbed."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scalable_cas.keys.encode import _Deep, encode
from scalable_cas.keys.nodes import Refused, Walk

from .pair_tables import pair_tests

sparse = pytest.importorskip("scipy.sparse")

DENSE = np.array([[0, 1.5, 0, 2], [0, 0, 0, 0], [3, 0, 0, 4]])
FORMATS = ("csr", "csc", "coo", "bsr", "dia", "dok", "lil")
CLASSES = [f"{name}_{suffix}" for name in FORMATS for suffix in ("matrix", "array")]


def made(name, dense=DENSE):
    return getattr(sparse, name)(dense)


def csr(data, indices, indptr, shape=(2, 3)):
    return sparse.csr_array((np.array(data), np.array(indices), np.array(indptr)), shape=shape)


def coo(data, rows, columns, shape=(2, 3)):
    return sparse.coo_array((np.array(data), (np.array(rows), np.array(columns))), shape=shape)


def wide_indices(value):
    value = value.copy()
    value.indices, value.indptr = value.indices.astype(np.int64), value.indptr.astype(np.int64)
    return value


def unsorted():
    """A matrix that believes itself sorted, and is not."""
    value = csr([1.0, 2.0], [0, 2], [0, 2, 2])
    assert value.has_canonical_format
    value.indices[:], value.data[:] = [2, 0], [2.0, 1.0]
    return value


def with_room(value):
    value = value.copy()
    value.data, value.indices = np.append(value.data, 9.0), np.append(value.indices, 0)
    return value


def outside(value):
    value = value.copy()
    value.data[value.offsets == 1, 0] = 77  # above the matrix
    return value


DIFFERENT = {
    "a value": (csr([1.0], [0], [0, 1, 1]), csr([2.0], [0], [0, 1, 1])),
    "a column": (csr([1.0], [0], [0, 1, 1]), csr([1.0], [1], [0, 1, 1])),
    "a row": (csr([1.0], [0], [0, 1, 1]), csr([1.0], [0], [0, 0, 1])),
    "a shape": (csr([1.0], [0], [0, 1, 1]), csr([1.0], [0], [0, 1, 1], (2, 4))),
    "a dtype": (csr([1.0], [0], [0, 1, 1]), csr([1], [0], [0, 1, 1])),
    "a stored zero": (csr([1.0, 0.0], [0, 1], [0, 2, 2]), csr([1.0], [0], [0, 1, 1])),
    "a stored zero in coo": (coo([1.0, 0.0], [0, 0], [0, 1]), coo([1.0], [0], [0])),
    "csr, csc": (made("csr_array", np.eye(3)), made("csc_array", np.eye(3))),
    "matrix, array": (made("csr_array"), made("csr_matrix")),
    "sparse, dense": (made("csr_array"), DENSE),
    "blocks": (sparse.bsr_array(np.eye(4), blocksize=(2, 2)), sparse.bsr_array(np.eye(4), blocksize=(1, 1))),
    "diagonals": (sparse.dia_array(np.eye(4)), sparse.dia_array(np.eye(4, k=1))),
    "empty, by shape": (sparse.csr_array((2, 3)), sparse.csr_array((3, 2))),
}
EQUAL = {
    "summed": (coo([1.0, 2.0, 4.0], [0, 1, 0], [1, 2, 1]), coo([5.0, 2.0], [0, 1], [1, 2])),
    "summed rows": (csr([1.0, 2.0, 4.0], [1, 0, 1], [0, 3, 3]), csr([2.0, 5.0], [0, 1], [0, 2, 2])),
    "the order in coo": (coo([1.0, 2.0], [1, 0], [0, 2]), coo([2.0, 1.0], [0, 1], [2, 0])),
    "the order in a row": (csr([1.0, 2.0], [2, 0], [0, 2, 2]), csr([2.0, 1.0], [0, 2], [0, 2, 2])),
    "wide indices": (made("csr_array"), wide_indices(made("csr_array"))),
    "wide indices in csc": (made("csc_matrix"), wide_indices(made("csc_matrix"))),
    "an order that is remembered wrongly": (unsorted(), csr([1.0, 2.0], [0, 2], [0, 2, 2])),
    "room for more": (made("csr_array"), with_room(made("csr_array"))),
    "outside the matrix": (made("dia_array"), outside(made("dia_array"))),
    "order of diagonals": (
        sparse.dia_array((np.array([[1.0, 2], [3, 4]]), [0, 1]), shape=(2, 2)),
        sparse.dia_array((np.array([[3.0, 4], [1, 2]]), [1, 0]), shape=(2, 2)),
    ),
}


test_two_keys, test_one_key = pair_tests(DIFFERENT, EQUAL)


def test_every_class_has_a_key_of_its_own():
    assert len({encode(made(name)) for name in CLASSES}) == len(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_each_class(name):
    value = made(name)
    expected = encode([value])
    assert expected == _Deep(Walk([])).run([value])
    assert encode([value.copy()]) == encode([pickle.loads(pickle.dumps(value))]) == expected
    assert encode([made(name, DENSE * 2)]) != expected


def parts(value):
    return [np.asarray(item).tolist() for item in vars(value).values() if isinstance(item, np.ndarray)]


@pytest.mark.parametrize("name", [*EQUAL])
def test_the_argument_is_not_altered(name):
    for value in EQUAL[name]:
        before, state = parts(value), {**vars(value)}
        encode(value)
        assert parts(value) == before
        assert vars(value).keys() == state.keys()
        assert all(vars(value)[key] is item for key, item in state.items())


cells = hnp.arrays(np.int8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=4), elements=st.integers(0, 2))


@given(cells, cells, st.sampled_from(CLASSES))
def test_one_key_means_one_matrix(first, second, name):
    same = first.shape == second.shape and (first == second).all()
    if name.startswith("bsr"):
        one, two = (sparse.bsr_array(dense, blocksize=(1, 1)) for dense in (first, second))
    else:
        one, two = made(name, first), made(name, second)
    assert (encode(one) == encode(two)) is bool(same)


def test_an_array_of_one_dimension():
    value = sparse.coo_array(np.array([0, 1.0, 0, 2]))
    assert encode(value) != encode(sparse.coo_array(np.array([0, 2.0, 0, 1])))


class Own(sparse.csr_array):
    pass


def test_refused():
    with pytest.raises(Refused, match="objects"):
        encode(sparse.csr_array((np.array([1, "a"], object), [0, 1], [0, 1, 2])))
    with pytest.raises(Refused):
        encode(Own(DENSE))


def test_an_attribute_that_was_added_counts():
    def named(name):
        value = sparse.csr_matrix(np.eye(2))
        value.called = name
        return value

    plain = sparse.csr_matrix(np.eye(2))
    assert len({encode(value) for value in (plain, named(1), named(2), named(1))}) == 3
    used = sparse.coo_matrix(np.eye(2))
    before = encode(used)
    used.sum_duplicates()
    used.tocsr().sort_indices()
    assert encode(used) == before
