"""Safetensors files: every type, and each of the format's rules broken."""

import io
import json
import struct
import tracemalloc
from pathlib import PurePath

import numpy as np
import pytest

from natra_jax.types import UserError
from natra_jax.weights.formats import safetensors
from tests.weights import writers

RNG = np.random.default_rng(0)


def read(data):
    return safetensors.read(io.BytesIO(data), PurePath("some/model.safetensors")).tensors


def refused(data, match):
    with pytest.raises(UserError, match=match) as error:
        read(data)
    assert str(error.value).startswith("some/model.safetensors: ") and "\n" not in str(error.value)


def entry(dtype="F32", shape=(2,), begin=0, end=8):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def file(header, size=8):
    return writers.with_header(json.dumps(header), bytes(size))


@pytest.mark.parametrize("dtype", writers.SAFETENSORS)
def test_every_type_comes_back_as_it_was_saved(dtype):
    arrays = {
        "a.weight": (RNG.normal(size=(2, 3, 1, 2)) * 50).astype(dtype),
        "scalar": np.array(1, dtype),
        "empty": np.zeros((3, 0), dtype),
        "z": RNG.normal(size=5).astype(dtype),
    }
    found = read(writers.safetensors(arrays, metadata={"format": "pt"}))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert (
            found[name].dtype == array.dtype
            and found[name].shape == array.shape
            and found[name].flags.writeable
        )


def test_bfloat16_comes_as_the_float32_of_the_same_value():
    exact = np.array([1, -2.5, 0, np.inf, 2.0**-130, 3.3895314e38], np.float32)
    arrays = {"matrix": exact.reshape(2, 3), "scalar": exact[1]}
    found = read(writers.safetensors(arrays, bfloat16=("matrix", "scalar")))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert (
            isinstance(found[name], np.ndarray)
            and found[name].dtype == np.float32
            and found[name].shape == array.shape
        )


def test_tensors_may_lie_in_another_order_than_the_header_names_them():
    found = read(
        writers.with_header(
            json.dumps({"b": entry(begin=8, end=16), "a": entry()}),
            np.arange(4, dtype="<f4").tobytes(),
        )
    )
    np.testing.assert_array_equal(found["a"], [0, 1])
    np.testing.assert_array_equal(found["b"], [2, 3])


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "cut off or damaged"),
        (b"\1\0\0", "cut off or damaged"),
        (struct.pack("<Q", 100) + b"{}", "cut off or damaged"),
        (struct.pack("<Q", 2**64 - 1) + b"{}", "cut off or damaged"),
        (writers.with_header("{"), "no JSON"),
        (writers.with_header("[]"), "no JSON object"),
        (writers.with_header(b'{"\xff": 1}'), "no text in UTF-8 from byte 2"),
        (writers.with_header('{"a":' + "[" * 100_000), "nested more than 32 levels"),
        (writers.with_header('{"a": ' + "9" * 5000 + "}"), "a whole number of more than 300"),
        (
            writers.with_header(
                f'{{"a": {json.dumps(entry())}, "a": {json.dumps(entry())}}}', bytes(8)
            ),
            "'a' twice",
        ),
        (
            writers.with_header(
                '{"a": {"dtype": "F32", "dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',
                bytes(8),
            ),
            "twice",
        ),
        (file({"a": 1}), "needs a dtype"),
        (file({"a": entry() | {"more": 1}}), "needs a dtype"),
        (file({"a": {"dtype": "F32", "shape": [2]}}), "needs a dtype"),
        (file({"a": entry("F8_E4M3", (8,))}), "of type 'F8_E4M3'"),
        (file({"a": entry(["F32"])}), "of type"),
        (file({"a": entry() | {"shape": "2"}}), "no whole numbers"),
        (file({"a": entry() | {"shape": [2.0]}}), "no whole numbers"),
        (file({"a": entry("U8", (True,), 0, 1)}, 1), "no whole numbers"),
        (file({"a": entry() | {"data_offsets": [0, 8, 8]}}), "no whole numbers"),
        (file({"a": entry() | {"data_offsets": [False, 8]}}), "no whole numbers"),
        (file({"a": entry(shape=(-2,))}), "not the size"),
        (file({"a": entry(shape=(-1, -2))}), "not the size"),
        (file({"a": entry(shape=(3,))}), "not the size"),
        (file({"a": entry(shape=(2**62, 2**62, 4))}), "not the size"),
        (file({"a": entry(shape=(0, 2**62), end=0)}, 0), "not the size"),
        (file({"a": entry(shape=[1] * 40 + [2])}), "not the size"),
        (file({"a": entry(begin=8, end=0)}), "not the size"),
        (file({"a": entry(begin=-8, end=0)}), "not the size"),
        (file({"a": entry(), "b": entry(begin=4, end=12)}, 12), "'b' overlaps"),
        (file({"a": entry(), "b": entry()}), "overlaps"),
        (file({"a": entry(begin=4, end=12)}, 12), "follows a gap"),
        (file({"a": entry(), "b": entry(begin=12, end=20)}, 20), "follows a gap"),
        (file({"a": entry()}, 7), "1 bytes are missing"),
        (file({"a": entry(shape=(2**40,), end=2**42)}), "bytes are missing"),
        (file({"a": entry()}, 9), "1 bytes follow"),
    ],
)
def test_a_file_that_breaks_a_rule_of_the_format_is_refused(data, match):
    refused(data, match)


def test_a_name_that_is_last_and_twice_among_very_many_is_found_soon():
    refused(
        writers.with_header("{" + "".join(f'"{i}":1,' for i in range(50_000)) + '"49999":1}'),
        "'49999' twice",
    )


def test_a_header_beyond_the_formats_bound_is_refused_unread(monkeypatch):
    monkeypatch.setattr(safetensors, "MAX_HEADER", 64)
    assert set(read(file({"a": entry()}))) == {"a"}
    refused(file({"a": entry(), "b": entry(begin=8, end=16)}, 16), "over 64 bytes")


def test_a_header_of_more_tensors_than_any_network_has_costs_no_memory():
    one = '"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},'
    data = writers.with_header("{" + "".join(one % i for i in range(300_000))[:-1] + "}")
    tracemalloc.start()
    refused(data, "more entries than that of any network")
    assert tracemalloc.get_traced_memory()[1] < 3 * len(data)
    tracemalloc.stop()
