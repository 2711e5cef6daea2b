"""Pickles are read as Python would, as far as they hold plain values.

Whatever else they hold is refused, and nothing in them is run.
"""

import collections
import io
import os
import pickle
import random
import struct
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from natra_jax.types import UserError
from natra_jax.weights.formats import pickle_globals, restricted_unpickler
from natra_jax.weights.formats.bounded import Bounded
from natra_jax.weights.formats.restricted_unpickler import Global, Unreadable, load, naming

NAMES = {
    **pickle_globals.containers(),
    **pickle_globals.numpy_arrays(),
    ("dnnlib.util", "EasyDict"): pickle_globals.empty_dict("dnnlib.util.EasyDict"),
    ("tfutil", "Network"): pickle_globals.instance("tfutil.Network"),
}
ORDERED = b"ccollections\nOrderedDict\n"


def read(data, names=NAMES, persistent=None):
    return load(Bounded(io.BytesIO(data)), names, persistent)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**127), 2**127 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(min_size=1),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(
            st.text() | st.integers(-(2**62), 2**62) | st.binary(min_size=1) | st.none(), inner
        )
    ),
    max_leaves=30,
)


@given(PLAIN, st.sampled_from([2, 3, 4, 5]))
@settings(max_examples=150)
def test_plain_values_come_back_as_python_reads_them(value, protocol):
    assert read(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_is_shared_stays_shared_and_circles_stay_circles(protocol):
    inner = ["x" * 300, b"y" * 300]
    circle = [inner, inner, {"inner": inner}]
    circle.append(circle)
    found = read(pickle.dumps(circle, protocol))
    assert found[0] is found[1] is found[2]["inner"] and found[3] is found and found[0] == inner


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_ordered_dicts_become_dicts_in_their_order_and_sets_lists(protocol):
    ordered = collections.OrderedDict([("b", {3}), ("a", set()), ("c", {"x", "y"})])
    ordered._metadata = {"": {"version": 1}}  # as a module's state_dict() has
    found = read(pickle.dumps(ordered, protocol))
    assert (
        list(found.items())[:2] == [("b", [3]), ("a", [])]
        and sorted(found["c"]) == ["x", "y"]
        and type(found) is dict
    )


def test_python_2s_strings_and_ordered_dicts_are_read():
    data = b"\x80\2" + ORDERED + b"](](U\1aK\1e](T\1\0\0\0\xe4K\2ee\x85R."
    assert read(data) == {"a": 1, "ä": 2}


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize(
    "dtype",
    ["<f2", "<f4", ">f4", "<f8", "|i1", "<i2", "<i4", ">i8", "|u1", "<u2", "<u4", "<u8", "|b1"],
)
def test_numpy_arrays_and_numbers_come_back(dtype, protocol):
    arrays = [
        np.arange(6).reshape(2, 3).astype(dtype),
        np.asfortranarray(np.arange(12).reshape(3, 4).astype(dtype)),
        np.array(1, dtype),
    ]
    found = read(pickle.dumps([arrays, arrays[0][1, 1]], protocol))
    for array, again in zip(arrays, found[0], strict=True):
        np.testing.assert_array_equal(again.array, array)
        assert again.array.dtype == array.dtype and again.array.shape == array.shape
    assert found[1] == arrays[0][1, 1] and found[1].dtype == np.dtype(dtype).newbyteorder("=")


def test_the_file_stands_behind_the_pickle():
    file = Bounded(io.BytesIO(pickle.dumps("one") + pickle.dumps("two") + b"rest"))
    assert [load(file, {}), load(file, {}), file.read()] == ["one", "two", b"rest"]


class Runs:
    """What is pickled as a call of function(*arguments)."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_nothing_that_a_pickle_names_is_run(protocol, tmp_path):
    sentinel = tmp_path / "was_run"
    np.save(tmp_path / "array.npy", np.ones(2))
    opens = f"open({str(sentinel)!r}, 'w')"
    attacks = [
        Runs(os.system, f"touch {sentinel}"),
        Runs(eval, opens),
        Runs(exec, opens),
        Runs(open, str(sentinel), "w"),
        Runs(np.load, str(tmp_path / "array.npy")),
        Runs(np.frombuffer, b"12345678"),
        Runs(np.zeros, 3),
        Runs(bytearray, 10**12),
        Runs(collections.defaultdict, list),
        Runs(__import__, "this"),
    ]
    for attack in attacks:
        for value in (attack, {"a": [(attack,)]}, [Global("x"), attack]):
            with pytest.raises(Unreadable, match="which is not run|no checkpoint has it"):
                read(pickle.dumps(value, protocol))
    assert not sentinel.exists()


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


REFUSED = {
    "module that is another's name": b"cos\nsystem\n.",
    "attribute of an attribute": b"\x80\4"
    + text("collections")
    + text("OrderedDict.fromkeys")
    + b"\x93.",
    "global with a number as its name": b"K\1K\2\x93.",
    "global without an end": b"ccollections",
    "global without an end of lines": b"c" + b"a" * 10**5,
    "global that is no text": b"c\xff\xfe\n\xff\n.",
    "class that is no class": b"K\1)\x81.",
    "call of a text": text("os.system") + b")R.",
    "call with a list": ORDERED + b"]R.",
    "call of what is not called": b"cnumpy\nndarray\n)R.",
    "call of a class's object": b"ctfutil\nNetwork\n)\x81)R.",
    "keyword arguments": ORDERED + b")}\x92.",
    "arguments for a class without": b"ctfutil\nNetwork\nK\1\x85\x81.",
    "arguments for a dict": b"cdnnlib.util\nEasyDict\n](K\1K\2ea\x85\x81.",
    "pairs that are no pairs": ORDERED + b"](K\1K\2e\x85R.",
    "state of a number": b"K\1}b.",
    "state of a list": b"]}b.",
    "state of a global": ORDERED + b"}b.",
    "state that is no dict": b"ctfutil\nNetwork\n)\x81](K\1eb.",
    "slots": b"ctfutil\nNetwork\n)\x81N}\x86b.",
    "state of a dict that is none": b"}K\1b.",
    "extension": b"\x82\1.",
    "two-byte extension": b"\x83\1\0.",
    "four-byte extension": b"\x84\1\0\0\0.",
    "INST": b"(ios\nsystem\n.",
    "OBJ": b"(" + ORDERED + b"o.",
    "DUP": b"]2.",
    "POP": b"]0.",
    "text persistent id": b"P1\n.",
    "persistent id": b"K\1Q.",
    "protocol 0 text": b"Va\n.",
    "protocol 0 number": b"I1\n.",
    "protocol 6": b"\x80\6N.",
    "frozenset without a mark": b"K\1\x91.",
    "more of a bytearray than there is": b"\x96" + struct.pack("<Q", 2**62) + b"a.",
    "buffer out of band": b"\x97.",
    "unknown instruction": b"\xff.",
    "nothing": b"",
    "no end": b"N",
    "no value": b".",
    "no value above the mark": b"K\1(.",
    "mark that is not there": b"K\1t.",
    "one value for two": b"K\1\x86.",
    "values below the mark": b"K\1K\2(\x86.",
    "unknown reference": b"h\1.",
    "reference to nothing": b"q\1.",
    "append to a tuple": b")K\1a.",
    "append to a global": ORDERED + b"K\1a.",
    "append to an object": b"ctfutil\nNetwork\n)\x81K\1a.",
    "items of a list": b"]K\1K\2s.",
    "items of an object": b"ctfutil\nNetwork\n)\x81K\1K\2s.",
    "odd items": b"}(K\1u.",
    "list as a key": b"}]Ns.",
    "tuple as a key": b"})Ns.",
    "dict as a key": b"}}Ns.",
    "global as a key": b"}" + ORDERED + b"Ns.",
    "float as a key": b"}G" + bytes(8) + b"Ns.",
    "large number as a key": b"}\x8a\x0a" + b"\1" * 10 + b"Ns.",
    "key of a pair": ORDERED + b"](]K\2\x86e\x85R.",
    "text that is no text": b"X\1\0\0\0\xff.",
    "number of many digits": b"\x8a\x11" + b"\1" * 17 + b".",
    "number of very many digits": b"\x8b\xff\0\0\0" + b"\1" * 255 + b".",
    "more bytes than there are": b"B\xff\xff\xff\xffabc",
    "far more bytes than there are": b"\x8e" + struct.pack("<Q", 2**62) + b"abc",
    "more text than there is": b"X\xff\xff\xff\x7fabc",
    "far more text than there is": b"\x8d" + struct.pack("<Q", 2**64 - 1) + b"abc",
    "more of Python 2's text than there is": b"T\xff\xff\xff\xffabc",
    "latin1 that is none": b"c_codecs\nencode\n" + text("\u20ac") + text("latin1") + b"\x86R.",
    "another encoding": b"c_codecs\nencode\n" + text("a") + text("rot13") + b"\x86R.",
    "set of a dict": b"cbuiltins\nset\n}\x85R.",
    "type of objects": b"cnumpy\ndtype\n" + text("O") + b"\x85R.",
    "type of records": b"cnumpy\ndtype\n" + text("f4,f4") + b"\x85R.",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_checkpoint_holds_is_refused_in_one_line(what):
    with pytest.raises(UserError) as error, naming("file.pkl"):
        read(REFUSED[what])
    assert (
        str(error.value).startswith("file.pkl: ")
        and "\n" not in str(error.value)
        and len(str(error.value)) < 400
    )


def numpy_array(shape, data, kind=b"f4", state=b"K\3U\1<NNN\x8a\1\xff\x8a\1\xffK\0t"):
    dtype = b"cnumpy\ndtype\nU\2" + kind + b"\x85R(" + state + b"b"
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\1b\x87R"
    return made + b"(K\1" + shape + dtype + b"\x89C" + bytes([len(data)]) + data + b"tb."


def test_an_array_whose_bytes_are_not_its_shape_is_refused():
    assert read(numpy_array(b"K\2\x85", bytes(8))).array.tolist() == [0, 0]
    for shape, data in [
        (b"K\3\x85", bytes(8)),
        (b"K\1\x85", bytes(8)),
        (b"J\xff\xff\xff\xffJ\xfe\xff\xff\xff\x86", bytes(8)),  # -1 * -2 * 4
        (b"\x8a\1\xff\x85", bytes(8)),
        (b"K\0\x8a\x08" + b"\xff" * 7 + b"\x7f\x86", b""),
        (b"\x8a\x09" + bytes(8) + b"\1K\4\x86", bytes(8)),  # 2^64 * 4 * 4 = 0 in 64 bits
        (b"]", bytes(8)),
        (b"\x88\x85", bytes(4)),
        (b"(" + b"K\1" * 40 + b"t", bytes(4)),
    ]:
        with pytest.raises(Unreadable):
            read(numpy_array(shape, data))
    for state in (b"K\3U\1<t", b"K\3U\1|NNNK\0K\0K\0t"):
        assert read(numpy_array(b"K\2\x85", bytes(8), state=state)).array.dtype == np.float32
    for state in (b"K\3U\1xt", b"K\3t", b"t", b"K\3NK\1t"):
        with pytest.raises(Unreadable):
            read(numpy_array(b"K\2\x85", bytes(8), state=state))


@pytest.mark.parametrize(
    "endless", [b"]" * 2000, ORDERED + b"q\0" + b"h\0)R" * 700, (b"\x95" + bytes(8)) * 2000]
)
def test_a_pickle_without_end_is_given_up(endless, monkeypatch):
    monkeypatch.setattr(restricted_unpickler, "MAX_OPCODES", 2000)
    assert read(b"N" * 1999 + b".") is None
    with pytest.raises(Unreadable, match="more than 2000 instructions, which no checkpoint needs"):
        read(endless)


def test_a_small_file_takes_little_memory_and_time():
    reused = text("x" * 10**6) + b"q\0"
    latin1 = b"c_codecs\nencode\nq\1" + text("latin1") + b"q\2"
    pairs = (
        b"]("
        + b"".join(b"X\4\0\0\0" + struct.pack("<I", i)[:2] + b"ab\x88\x86" for i in range(100))
        + b"eq\0"
    )
    bombs = {
        "a place far off": b"Nr\xff\xff\xff\xff.",
        "tuples of themselves, as a key": b"}N" + b"q\0h\0\x86" * 80 + b"Ns.",
        "tuples of themselves, in a set": b"\x8f(N" + b"q\0h\0\x86" * 80 + b"\x90.",
        "bytes made over and over": b"](" + reused + latin1 + b"h\1h\0h\2\x86R" * 2000 + b"e.",
        "dicts made over and over": pairs
        + ORDERED
        + b"q\1"
        + b"]("
        + b"h\1h\0\x85R" * 5000
        + b"e.",
        "nested deep": b")" + b"\x85" * 20000 + b".",
        "length": b"\x8e" + struct.pack("<Q", 2**40) + b"a",
    }
    for what, data in bombs.items():
        start = time.monotonic()
        tracemalloc.start()
        try:
            read(data)
        except Unreadable:
            pass
        finally:
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert most < 8e6 and time.monotonic() - start < 10, what


def test_damaged_pickles_raise_nothing_else():
    whole = {
        "a": np.ones((2, 3), np.float32),
        "b": [np.float32(1), {"x": {1}}, ("y", b"z")],
        "c": collections.OrderedDict(d=1),
    }
    rng, said = random.Random(0), 0
    for protocol in (2, 4):
        good = pickle.dumps(whole, protocol)
        for _ in range(1500):
            data = bytearray(good)
            for _ in range(rng.choice((1, 2, 5))):
                at = rng.randrange(len(data))
                data[at : at + rng.choice((0, 1, 3))] = bytes(
                    rng.choice(b"\x80}])(.0QRbcetus\x85\x86\x87\x81\x93\x94KMqhX\xff") for _ in "ab"
                )
            try:
                read(bytes(data))
            except Unreadable as error:
                said += 1
                assert len(str(error)) < 400 and str(error).isprintable()
    assert said > 1000
