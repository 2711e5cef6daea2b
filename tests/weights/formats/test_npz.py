"""NumPy archives: plain arrays in every layout that NumPy writes.

And nothing that a forged one could do.
"""

import io
import json
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import PurePath

import numpy as np
import pytest

from natra_jax.types import UserError
from natra_jax.weights.formats import npz
from tests.weights import writers

RNG = np.random.default_rng(0)
ARRAYS = {
    "layer.weight": RNG.normal(size=(3, 4, 2)).astype(np.float32),
    "layer.bias": RNG.normal(size=5).astype(np.float64),
    "half": RNG.normal(size=(2, 2)).astype(np.float16),
    "count": np.array(7),
    "flags": np.array([True, False]),
    "bytes": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "none": np.zeros((0, 4), np.float32),
    "names": np.array(["a", "bcd"]),
}


def read(data):
    return npz.read(io.BytesIO(data), PurePath("some/file.npz"))


def refused(data, match):
    with pytest.raises(UserError, match=match) as error:
        read(data)
    assert str(error.value).startswith("some/file.npz: ") and "\n" not in str(error.value)


def npy(header, values=b"", version=1):
    text = header.encode("latin1")
    return (
        b"\x93NUMPY"
        + bytes([version, 0])
        + len(text).to_bytes(2 if version == 1 else 4, "little")
        + text
        + values
    )


def described(descr="'<f4'", shape="(2,)", order="False"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def archive(*members, **fields):
    """Return a zip archive of (name, data) members, any field of which may be a lie.

    It is a lie in all members, or by {name: value} in some.
    """
    body, directory = b"", b""
    for name, data in members:
        given = {
            key: value.get(name) if isinstance(value, dict) else value
            for key, value in fields.items()
        }
        given = {key: value for key, value in given.items() if value is not None}
        method = given.get("method", 0)
        if method == zipfile.ZIP_DEFLATED:
            packer = zlib.compressobj(wbits=-15)
            packed = packer.compress(data) + packer.flush()
        else:
            packed = data
        facts = (
            given.get("flags", 0),
            method,
            0,
            33,
            zlib.crc32(data),
            given.get("packed", len(packed)),
            given.get("size", len(data)),
        )
        at, raw = given.get("at", len(body)), name.encode()
        body += struct.pack("<4s5H3L2H", b"PK\3\4", 20, *facts, len(raw), 0) + raw + packed
        directory += (
            struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, *facts, len(raw), 0, 0, 0, 0, 0, at) + raw
        )
    return (
        body
        + directory
        + struct.pack(
            "<4s4H2LH", b"PK\5\6", 0, 0, len(members), len(members), len(directory), len(body), 0
        )
    )


def test_the_forger_writes_what_numpy_reads():
    data = archive(
        ("a.npy", npy(described(), b"\0" * 8)),
        ("b.npy", npy(described(), b"\0" * 8)),
        method={"b.npy": 8},
    )
    with np.load(io.BytesIO(data)) as found:
        np.testing.assert_array_equal(found["b"], found["a"])
    assert set(read(data).tensors) == {"a", "b"}


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_come_back_as_they_were_saved(compressed):
    found = read(writers.npz(ARRAYS, compressed=compressed))
    assert found.config is None and list(found.tensors) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found.tensors[name], array)
        assert found.tensors[name].dtype == array.dtype and found.tensors[name].shape == array.shape


@pytest.mark.parametrize("layout", ["fortran", "big-endian", "both"])
def test_fortran_order_and_foreign_byte_orders_are_read_as_their_values(layout):
    array = ARRAYS["layer.weight"] if layout == "fortran" else ARRAYS["layer.weight"].astype(">f4")
    array = array if layout == "big-endian" else np.asfortranarray(array)
    found = read(writers.npz({"a": array})).tensors["a"]
    np.testing.assert_array_equal(found, ARRAYS["layer.weight"])
    assert found.dtype == np.float32 and found.dtype.isnative and found.flags.c_contiguous


@pytest.mark.parametrize("version", [1, 2, 3])
def test_headers_that_other_programs_write_are_read(version):
    header = "{'shape': (2L, 1L), 'fortran_order': False, 'descr': '<i2'}"
    np.testing.assert_array_equal(
        read(archive(("a.npy", npy(header, b"\1\0\2\0", version)))).tensors["a"], [[1], [2]]
    )


def test_a_state_dict_with_its_config_is_told_from_plain_arrays():
    data = writers.npz(
        {"a": ARRAYS["half"]},
        {"z_dim": 3},
        **{"in/z": np.array([object()]), "other": ARRAYS["count"]},
    )
    found = read(data)  # the objects beside are not looked at
    assert found.config == {"z_dim": 3} and list(found.tensors) == ["a"]
    np.testing.assert_array_equal(found.tensors["a"], ARRAYS["half"])
    assert set(read(writers.npz({"p/a": ARRAYS["half"]})).tensors) == {"p/a"}
    assert set(read(writers.npz({"config": ARRAYS["half"]})).tensors) == {"config"}


@pytest.mark.parametrize("text", [str, str.encode], ids=["text", "bytes"])
def test_a_config_beside_tensors_of_their_own_names_is_none_of_them(text):
    config = np.array(text('{"z_dim": 3}'))
    found = read(writers.npz({"a": ARRAYS["half"], "config": config}))
    assert found.config == {"z_dim": 3} and list(found.tensors) == ["a"]
    np.testing.assert_array_equal(found.tensors["a"], ARRAYS["half"])
    refused(writers.npz({"a": ARRAYS["half"], "config": np.array("[1]")}), "config")


def test_a_golden_file_gives_its_state_dict_and_config():
    expected = writers.golden("stylegan2_nv_16_fp16")
    found = read((writers.GOLDEN / "stylegan2_nv_16_fp16.npz").read_bytes())
    assert (
        found.config == expected.config
        and set(found.tensors) == set(expected.tensors)
        and len(found.tensors) > 30
    )
    for name, array in expected.tensors.items():
        np.testing.assert_array_equal(found.tensors[name], array)


@pytest.mark.parametrize(
    "config",
    [
        np.array("no json"),
        np.array("[1]"),
        np.array(3.0),
        np.array(["{}"]),
        np.array('{"a": 1, "a": 2}'),
    ],
)
def test_a_config_that_is_no_json_object_is_refused(config):
    refused(writers.npz({"p/a": ARRAYS["half"], "config": config}), "config")


class Bomb:
    """What a pickle would run when read."""

    def __reduce__(self):
        return (pytest.fail, ("the file was unpickled",))


def test_objects_and_structured_types_are_refused_and_never_unpickled():
    refused(writers.npz({"a": np.array([Bomb()], object)}), "no Python objects")
    refused(writers.npz({"a": np.zeros(2, [("x", "<f4"), ("y", "<i4")])}), "structured")
    refused(writers.npz({"a": np.zeros(2, "datetime64[s]")}), "only numbers")


@pytest.mark.parametrize(
    ("header", "match"),
    [
        (described(shape="(3,)"), "not the size"),
        (described(shape="(-2,)"), "no header"),
        (described(shape="(4611686018427387904, 4)"), "not the size"),
        (described(shape="(0, 9223372036854775807, 9223372036854775807)"), "not the size"),
        (described(shape=f"({'1, ' * 33})"), "not the size"),
        (described(shape="(2.0,)"), "no header"),
        (described(shape="2"), "no header"),
        (described(descr="'<U0'", shape="(1000000000,)"), "only numbers"),
        (described(descr="'<f16'", shape="(0,)"), "only numbers"),
        (described(descr="[('a', '<f4')]"), "structured"),
        (described(order="1"), "no header"),
        (described(descr="__import__('os').abort()"), "no header"),
        ("{'descr': '<f4', 'descr': '<f4', 'shape': (2,), }", "no header"),
        ("", "no header"),
        ("(" * 60000, "no header"),
        (described(shape=f"({'1' * 5000}"), "no header"),
        (described(shape=f"({'1, ' * 5000}x)"), "no header"),
        (described(shape=f"({'1' * 15},)"), "not the size"),
    ],
)
def test_a_header_that_does_not_describe_its_values_is_refused(header, match):
    refused(archive(("a.npy", npy(header, b"\0" * 8))), match)


def test_a_member_that_is_no_array_is_refused():
    refused(archive(("readme.txt", b"hello")), "no NumPy array")
    refused(archive(("a.npy", npy(described(), b"\0" * 8, version=9))), "no NumPy array")
    refused(archive(("a.npy", b"")), "no NumPy array")


@pytest.mark.parametrize(
    "beside",
    [
        ("readme.txt", b"hello"),
        ("meta.npy", npy(described(descr="|O"), b"cos\nsystem\n(S'false'\ntR.")),
        ("rows.npy", npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }")),
        ("dates.npy", npy(described(descr="<M8[s]"), bytes(16))),
    ],
)
def test_what_lies_beside_plain_arrays_is_left_unread_and_told(beside):
    found = read(archive(("a.npy", npy(described(), b"\0" * 8)), beside))
    assert list(found.tensors) == ["a"]
    (said,) = found.unread.values()
    assert said == f"{beside[0]!r}, which is no array of numbers or text,"


MEMBER = npy(described(), b"\0" * 8)


def of_directory(data, at, width, more, record=b"PK\5\6"):
    """The archive whose end record says more by so much."""
    place = data.rfind(record) + at
    value = int.from_bytes(data[place : place + width], "little") + more
    return data[:place] + value.to_bytes(width, "little") + data[place + width :]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (archive(("a.npy", MEMBER), ("a.npy", MEMBER)), "'a.npy' twice"),
        (archive(("a.npy", MEMBER), ("a", MEMBER)), "twice, with .npy and without"),
        (archive(("../a.npy", MEMBER)), "leads out"),
        (archive(("x/../../a.npy", MEMBER)), "leads out"),
        (archive(("..\\a.npy", MEMBER)), "leads out"),
        (archive(("/etc/a.npy", MEMBER)), "leads out"),
        (archive(("a.npy", MEMBER), flags=1), "encrypted"),
        (archive(("a.npy", MEMBER), method=zipfile.ZIP_LZMA), "packed in a way"),
        (archive(("a.npy", MEMBER), method=zipfile.ZIP_BZIP2), "packed in a way"),
        (archive(("a.npy", MEMBER), size=10**9), "cannot have the size"),
        (archive(("a.npy", MEMBER), method=8, size=4 * 10**9), "cannot have the size"),
        (archive(("a.npy", MEMBER), ("b.npy", MEMBER), at=0), "overlaps"),
        (archive(("a.npy", MEMBER), packed=len(MEMBER) + 9, size=len(MEMBER) + 9), "overlaps"),
        (archive(("a.npy", MEMBER), at=2**31), "overlaps|damaged"),
        (archive(("a.npy", MEMBER))[:-30], "damaged or cut off"),
        (b"PK\3\4" + b"\0" * 100, "damaged or cut off"),
        (
            of_directory(archive(("a.npy", MEMBER)), 16, 4, 9),
            "begins before the archive|damaged",
        ),  # where the directory is: 9 too far
        (
            of_directory(archive(("a.npy", MEMBER)), 12, 4, 2**26),
            "its directory of members takes 67,1",
        ),
        (
            of_directory(
                archive(("a.npy", MEMBER)) + b"PK\6\6" + b"\0" * 60, 40, 8, 2**40, b"PK\6\6"
            ),
            "its directory of members takes 1,0",
        ),
    ],
)
def test_a_forged_archive_is_refused(data, match):
    refused(data, match)


def test_more_than_weights_can_unpack_to_is_refused_before_anything_is_read():
    noise = RNG.bytes(400_000)
    refused(
        archive(("a.npy", noise), method=8, size=400_000_000),
        "more than the 268435456 that are plausible",
    )


def test_what_unpacks_to_more_or_less_than_it_declares_costs_no_more_memory_than_it_declares():
    member = npy(described(shape="(10000000,)"), bytes(40_000_000))
    data = {
        size: archive(("a.npy", member), method=8, size=size)
        for size in (len(npy(described())) + 8, 30_000_000)
    }
    tracemalloc.start()
    try:
        for size in data:
            refused(data[size], "not the size|cannot be read")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    refused(
        archive(
            ("a.npy", npy(described(), bytes(10**6))), method=8, size=len(npy(described())) + 8
        ),
        "cannot be read",
    )


def test_values_that_were_altered_fail_their_checksum():
    data = bytearray(writers.npz({"a": np.arange(1000.0)}))
    data[1000] ^= 1
    refused(bytes(data), "cannot be read")


def test_text_that_is_no_unicode_is_refused():
    refused(
        archive(("a.npy", npy(described(descr="'<U1'", shape="(1,)"), b"\xff\xff\xff\xff"))),
        "no Unicode",
    )
    refused(
        archive(("a.npy", npy(described(descr="'>U1'", shape="(1,)"), b"\x41\0\0\0"))), "no Unicode"
    )


def test_names_are_shown_so_that_they_stay_one_short_line():
    refused(archive(("a\n" + "b" * 5000 + ".npy", b"x")), r"a\\nb")
    config = json.dumps({"a" * 5000: 1}).replace("}", ', "' + "a" * 5000 + '": 2}')
    with pytest.raises(UserError) as error:
        read(writers.npz({"p/a": ARRAYS["half"], "config": np.array(config)}))
    assert len(str(error.value)) < 300


def test_a_large_directory_is_found_behind_a_second_record():
    good = archive(("a.npy", MEMBER))
    at = good.rindex(b"PK\5\6")
    # the archive's comment holds a record that is small, and looks like the last one
    hidden = bytearray(good[:-2] + struct.pack("<H", 22) + good[at:])
    struct.pack_into("<I", hidden, at + 12, 2**26)
    refused(bytes(hidden), "its directory of members takes 67,1")
    # the size that stands for the one in a 64-bit record, where there is none
    alone = bytearray(good)
    struct.pack_into("<I", alone, at + 12, 2**32 - 1)
    refused(bytes(alone), "its directory of members takes 4,29")
