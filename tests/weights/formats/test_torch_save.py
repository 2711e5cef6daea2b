"""PyTorch's files come back bit-equal from both of its formats; one that lies is refused.

The golden files were written by PyTorch 2.15: values count up in halves from -2.5, whatever their
shape and type.
"""

import io
import random
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from natra_jax.types import UserError
from natra_jax.weights import selection
from natra_jax.weights.formats import state_dict, torch_save
from natra_jax.weights.formats.pickle_globals import Instance
from tests.weights import damage, writers
from tests.weights.writers import Call, Global, Storage

READERS = {"zip": torch_save.read_zip, "legacy": torch_save.read_legacy}
WRITERS = {"zip": writers.torch_zip, "legacy": writers.torch_legacy}
VALUES = np.arange(24, dtype=np.float32)


def ramp(*shape, dtype=np.float32):
    return ((np.arange(np.prod(shape)) - 5) / 2).reshape(shape).astype(dtype)


def expected():
    shared = ramp(12)
    numbers = {
        name: ramp(4, dtype=name)
        for name in ("float16", "float64", "int64", "int32", "int16", "int8", "bool")
    }
    return numbers | {
        "bfloat16": ramp(4),
        "uint8": np.arange(250, 254, dtype=np.uint8),
        "conv.weight": ramp(2, 3, 2, 4),
        "conv.bias": ramp(2),
        "scalar": ramp(),
        "empty": np.zeros((0, 3), np.float32),
        "view.odd": shared[1::2],
        "view.block": shared[3:9].reshape(2, 3),
        "view.turned": shared.reshape(3, 4).T,
    }


def golden(kind):
    with (writers.GOLDEN / f"torch_save_{kind}.pth").open("rb") as file:
        return READERS[kind](file, "model.pth")


def read(kind, data):
    return READERS[kind](io.BytesIO(data), "model.pth")


def chosen(found):
    """The tensors of the network that holds a 'w', or that names alone lead to."""
    checkpoint = state_dict.flatten(found, "model.pth")
    return selection.select(checkpoint, lambda names: "w" in names)[0]


def refused(kind, data, match):
    with pytest.raises(UserError, match=match) as error:
        read(kind, data)
    assert (
        str(error.value).startswith("model.pth: ")
        and "\n" not in str(error.value)
        and len(str(error.value)) < 400
    )


@pytest.mark.parametrize("kind", READERS)
def test_what_pytorch_saved_comes_back_bit_equal(kind):
    found = golden(kind)["g_ema"]
    wanted = expected()
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("kind", READERS)
def test_a_training_checkpoint_gives_its_averaged_generator_and_mean_code(kind):
    found = golden(kind)
    assert isinstance(found["args"], Instance) and found["args"].state == {
        "size": 32,
        "path": "/x",
        "betas": (0.0, 0.99),
    }
    assert found["iter"] == 7 and set(found["g_optim"]) == {"state", "param_groups"}
    tensors, notes = selection.select(
        state_dict.flatten(found, "model.pth"), lambda names: "conv.weight" in names
    )
    assert set(tensors) == set(expected()) | {"latent_avg"}
    np.testing.assert_array_equal(tensors["latent_avg"], ramp(5))
    assert len(notes) == 1 and "'g_ema' is read" in notes[0] and "'g_optim'" in notes[0]


@pytest.mark.parametrize(
    ("saved", "name"),
    [
        ({"w": VALUES}, "w"),
        ({"generator": {"a": VALUES}, "generator_smooth": {"w": VALUES}}, "w"),
        ({"step": 3, "generator": {"a": VALUES}, "g_running": {"w": VALUES}}, "w"),
        ({"G": {"a": VALUES}, "G_ema": {"w": VALUES}}, "w"),
        ({"state_dict": {"w": VALUES}, "epoch": 2}, "w"),
        ({"model": {"module.w": VALUES, "module.b": VALUES}}, "w"),
        ({"models": {"discriminator": {"a": VALUES}, "generator_smooth": {"w": VALUES}}}, "w"),
        ({"module.w": VALUES, "n_averaged": VALUES}, "w"),
        ({"_orig_mod.module.w": VALUES, "module._orig_mod.b": VALUES}, "w"),
    ],
)
@pytest.mark.parametrize("kind", READERS)
def test_the_generator_is_found_among_what_training_scripts_save(kind, saved, name):
    tensors = chosen(read(kind, WRITERS[kind](saved)))
    assert name in tensors and "a" not in tensors
    np.testing.assert_array_equal(tensors[name], VALUES)


@pytest.mark.parametrize(
    ("saved", "match"),
    [
        ([1, 2], "holds a value of type list, no state dict"),
        ({"epoch": 2, "step": 3}, "no generator's tensors .'epoch', 'step'.*save its state_dict"),
        ({}, "no generator's tensors .nothing"),
        ({"w": VALUES, "size": 3}, "a value of type int as 'size' among its tensors"),
        ({"w": VALUES, 3: VALUES}, "as 3 among its tensors"),
        ({"g_ema": {"w": VALUES, "latent_avg": VALUES}, "latent_avg": VALUES}, "latent_avg twice"),
        ({"state_dict": {"model": {"step": 1}}}, "no generator's tensors"),
    ],
)
def test_what_has_no_generator_is_refused_by_what_is_there(saved, match):
    with pytest.raises(UserError, match=match):
        chosen(saved)


def test_a_dict_within_itself_ends():
    endless = {}
    endless["model"] = endless
    with pytest.raises(UserError, match="no generator's tensors"):
        chosen(endless)


def with_view(kind, size, stride, offset=0, values=VALUES, function="_rebuild_tensor_v2"):
    storage = Storage(values, "0", "cuda:3", (None,) if kind == "legacy" else ())
    arguments = (storage, offset, size, stride) + ((True, {}) if function.endswith("2") else ())
    made = {"w": Call(Global(f"torch._utils.{function}"), arguments)}
    return (
        writers._legacy(made, [storage])
        if kind == "legacy"
        else zipped(writers.dumps(made), {"data/0": values.tobytes()})
    )


def zipped(pickled, members=(), root="archive", compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in {"data.pkl": pickled, **dict(members)}.items():
            archive.writestr(f"{root}/{name}", data)
    return file.getvalue()


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((), (), 23),
        ((24,), (1,), 0),
        ((2, 3, 4), (12, 4, 1), 0),
        ((4, 3, 2), (1, 4, 12), 0),
        ((2, 3, 2, 2), (12, 1, 6, 3), 0),  # channels last
        ((3, 2), (6, 2), 5),
        ((1, 24, 1), (2**60, 1, 0), 0),  # a side of one goes nowhere
        ((6,), (4,), 3),
    ],
)
def test_a_tensor_is_the_view_that_its_strides_say(kind, size, stride, offset):
    for function in ("_rebuild_tensor_v2", "_rebuild_tensor"):
        found = read(kind, with_view(kind, size, stride, offset, function=function))["w"]
        places = offset + sum(
            np.indices(size)[axis] * step for axis, step in enumerate(stride) if size[axis] > 1
        )
        np.testing.assert_array_equal(found, VALUES[places])
        assert found.shape == size


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    ("size", "stride", "offset", "match"),
    [
        ((25,), (1,), 0, "past its storage"),
        ((24,), (1,), 1, "past its storage"),
        ((2,), (24,), 0, "past its storage"),
        ((), (), 24, "past its storage"),
        ((2, 12), (13, 1), 0, "past its storage"),
        ((2,), (2**62,), 0, "past its storage"),
        ((2**62,), (4,), 0, "past its storage"),
        ((1,), (1,), 2**63 - 1, "past its storage"),
        ((2,), (-1,), 1, "a tensor in it"),
        ((-2,), (1,), 0, "a tensor in it"),
        ((2,), (1,), -1, "a tensor in it"),
        ((2, 2), (1,), 0, "a tensor in it"),
        ((2.0,), (1,), 0, "a tensor in it"),
        ([2], [1], 0, "a tensor in it"),
        ((True,), (1,), 0, "a tensor in it"),
        ((1,) * 33, (1,) * 33, 0, "a tensor in it"),
        ((2**40, 0, 2**40), (1, 1, 1), 0, "empty tensor"),
        ((3,), (0,), 0, "share memory"),
        ((2, 2), (1, 1), 0, "share memory"),
        ((3, 3), (2, 1), 0, "share memory"),
        ((2, 3, 2), (3, 2, 1), 0, "share memory"),
    ],
)
def test_a_tensor_that_is_no_view_of_its_storage_is_refused(kind, size, stride, offset, match):
    data = with_view(kind, size, stride, offset)
    if match == "share memory":  # which is no matter beside the network
        with pytest.raises(UserError, match=match):
            chosen(read(kind, data))
    else:
        refused(kind, data, match)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i8", "i4", "i2", "i1", "u1", "?"])
def test_a_big_endian_archive_is_swapped(dtype):
    values = np.arange(-3, 3).astype(dtype)
    data = zipped(
        writers.dumps({"w": writers.tensor(values, Storage(values, "0"), (1,))}),
        {"data/0": values.astype(values.dtype.newbyteorder(">")).tobytes(), "byteorder": "big"},
    )
    found = read("zip", data)["w"]
    np.testing.assert_array_equal(found, values)
    assert found.dtype == values.dtype and found.dtype.isnative
    refused("zip", data.replace(b"big", b"odd"), "the byte order")


def bfloat16(pickled):
    return pickled.replace(b"torch\nFloatStorage", b"torch\nBFloat16Storage")


def test_bfloat16_comes_as_the_same_float32():
    values = (
        np.array([1.0, -2.5, 3e38, np.inf, 1e-40, np.nan, -0.0], np.float32).view(np.uint32) >> 16
    )
    pickled = bfloat16(
        writers.dumps({"w": writers.tensor(VALUES[:7], Storage(VALUES[:7], "0"), (1,))})
    )
    for order, kind in (("little", "<u2"), ("big", ">u2")):
        found = read(
            "zip", zipped(pickled, {"data/0": values.astype(kind).tobytes(), "byteorder": order})
        )["w"]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found.view(np.uint32), values << 16)


def test_a_view_of_a_storage_in_very_old_streams_is_read():
    whole = np.arange(10, dtype=np.float32)
    part = Storage(whole, "0", tail=(("5", 3, 4),))
    data = writers._legacy({"w": writers.tensor(whole[:4], part, (1,))}, [Storage(whole, "0")])
    np.testing.assert_array_equal(read("legacy", data)["w"], whole[3:7])
    for view in (("5", 3, 8), ("5", -1, 4), ("5", 3, -1), ("5", 3), ("5", 3, 1.0), 5):
        made = {"w": writers.tensor(whole[:1], Storage(whole, "0", tail=(view,)), (1,))}
        refused("legacy", writers._legacy(made, [Storage(whole, "0")]), "a view of a storage")


def saved(kind, wrong=b"K\x18", tensors=1):
    """A file of 24 values that says that there are `wrong`."""
    storage = Storage(VALUES, "0", tail=(None,) if kind == "legacy" else ())
    made = {f"w{i}": writers.tensor(VALUES, storage, (1,)) for i in range(tensors)}
    data = writers._legacy(made, [storage]) if kind == "legacy" else writers.dumps(made)
    changed = data.replace(b"X\3\0\0\0cpuq\6K\x18", b"X\3\0\0\0cpuq\6" + wrong, 1)
    assert (changed == data) == (wrong == b"K\x18")
    return changed if kind == "legacy" else zipped(changed, {"data/0": VALUES.tobytes()})


@pytest.mark.parametrize("kind", READERS)
def test_a_storage_that_lies_about_its_size_is_refused_before_it_is_made(kind):
    np.testing.assert_array_equal(read(kind, saved(kind))["w0"], VALUES)
    wrong = [
        b"K\x17",
        b"K\x19",
        b"K\0",
        b"N",
        b"\x88",  # True
        b"J\xff\xff\xff\xff",
        b"J\xff\xff\xff\x7f",
        b"\x8a\x09" + bytes(8) + b"\1",
        b"G" + bytes(8),
    ]
    for number in wrong:
        tracemalloc.start()
        refused(kind, saved(kind, number), "storage|cut off")
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.stop()


@pytest.mark.parametrize("kind", READERS)
def test_a_storage_of_another_kind_the_second_time_is_refused(kind):
    tail = (None,) if kind == "legacy" else ()
    twice = {"a": writers.tensor(VALUES, Storage(VALUES, "0", tail=tail), (1,))}
    for other in (VALUES.astype(np.int32), VALUES[:12]):
        made = twice | {"b": writers.tensor(other, Storage(other, "0", tail=tail), (1,))}
        data = (
            writers._legacy(made, [Storage(VALUES, "0")])
            if kind == "legacy"
            else zipped(writers.dumps(made), {"data/0": VALUES.tobytes()})
        )
        refused(kind, data, "a storage that is named twice")


def test_an_archive_is_read_whatever_its_folder_and_its_checksums():
    found = writers.torch_zip({"w": VALUES}, root="G_ema.old")
    with zipfile.ZipFile(io.BytesIO(found)) as archive:
        checksum = struct.pack("<I", archive.getinfo("G_ema.old/data/0").CRC)
    np.testing.assert_array_equal(read("zip", found)["w"], VALUES)
    np.testing.assert_array_equal(
        read("zip", found.replace(checksum, bytes(4)))["w"], VALUES
    )  # torch can be told to leave it out


PICKLED = writers.dumps({"w": writers.tensor(VALUES, Storage(VALUES, "0"), (1,))})
DATA = {"data/0": VALUES.tobytes()}
ARCHIVES = {
    "packed": (
        zipped(PICKLED, DATA, compression=zipfile.ZIP_DEFLATED),
        "compressed, as torch.save does not",
    ),
    "TorchScript": (
        zipped(PICKLED, DATA | {"constants.pkl": b"\x80\2)."}),
        "TorchScript archive, which holds a program",
    ),
    "code": (
        zipped(PICKLED, DATA | {"code/__torch__.py": "raise SystemExit"}),
        "TorchScript archive, which holds a program",
    ),
    "no values": (zipped(PICKLED), "lacks 'archive/data/0'"),
    "too few values": (
        zipped(PICKLED, {"data/0": bytes(92)}),
        "a storage of 24 values in 92 bytes",
    ),
    "too many values": (
        zipped(PICKLED, {"data/0": bytes(100)}),
        "a storage of 24 values in 100 bytes",
    ),
    "no pickle": (zipped(PICKLED, root="a/b"), "without the one data.pkl"),
    "climbing out": (zipped(PICKLED, DATA | {"../../x": b""}), "leads out of the archive"),
    "encrypted": (
        zipped(PICKLED, DATA).replace(b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"),
        "encrypted",
    ),
    "larger than it is": (
        zipped(PICKLED, DATA).replace(struct.pack("<II", 96, 96), struct.pack("<II", 9996, 9996)),
        "overlaps|damaged|cut off",
    ),
    "sizes that differ": (
        zipped(PICKLED, DATA).replace(struct.pack("<II", 96, 96), struct.pack("<II", 96, 92)),
        "cannot have the size",
    ),
    "no member where one should be": (
        zipped(PICKLED, DATA).replace(b"PK\3\4", b"PK\3\5"),
        "what the archive has in the place of",
    ),
    "shifted": (zipped(PICKLED, DATA)[9:], "damaged"),
    "no archive": (b"PK\3\4" + bytes(90), "damaged or cut off"),
}


@pytest.mark.parametrize("what", ARCHIVES)
def test_an_archive_that_torch_save_did_not_write_is_refused(what):
    refused("zip", *ARCHIVES[what])


def test_archives_with_two_pickles_or_a_name_twice_are_refused():
    file = io.BytesIO(zipped(PICKLED, DATA))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("other/data.pkl", PICKLED)
    refused("zip", file.getvalue(), "without the one data.pkl")
    refused(
        "zip",
        zipped(PICKLED, DATA | {"data/1": bytes(96)}).replace(b"data/1", b"data/0"),
        "'archive/data/0' twice",
    )


STREAM = saved("legacy")
MAGIC, PROTOCOL = writers.dumps(writers.MAGIC), writers.dumps(writers.PROTOCOL_VERSION)
STREAMS = {
    "other number": (
        STREAM.replace(MAGIC, writers.dumps(writers.MAGIC + 1)),
        "no file that torch.save wrote",
    ),
    "other protocol": (
        STREAM.replace(PROTOCOL, writers.dumps(1002)),
        "no file that torch.save wrote",
    ),
    "a dict for the number": (b"\x80\2}.", "no file that torch.save wrote"),
    "tar": (b"\0" * 257 + b"ustar" + b"\0" * 250, "a tar archive, as PyTorch saved before 0.2"),
    "cut in the values": (STREAM[:-1], "ends in the middle"),
    "cut in the list": (STREAM[:-110], "ends in the middle"),
    "another size": (STREAM[:-104] + struct.pack("<q", 23) + STREAM[-96:], "a storage's size"),
    "a negative size": (STREAM[:-104] + struct.pack("<q", -24) + STREAM[-96:], "a storage's size"),
    "empty": (b"", "ends in the middle"),
}
STREAMS |= {
    f"a list of {keys}": (
        STREAM.replace(writers.dumps(["0"]), writers.dumps(keys)),
        "list of storages",
    )
    for keys in ([], ["1"], ["0", "0"], ["0", "1"], [0], {"0": 1}, [["0"]], "0")
}


@pytest.mark.parametrize("what", STREAMS)
def test_a_stream_that_torch_save_did_not_write_is_refused(what):
    refused("legacy", *STREAMS[what])


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    "made",
    [
        Call(Global("torch._utils._rebuild_tensor_v2"), ("0", 0, (1,), (1,), False, {})),
        Call(Global("torch._utils._rebuild_tensor_v2"), ()),
        Call(
            Global("torch._utils._rebuild_tensor_v2"),
            (Global("torch.FloatStorage"), 0, (1,), (1,), False, {}),
        ),
        Call(Global("torch._utils._rebuild_parameter"), ([1.0], True, {})),
        Call(Global("torch._utils._rebuild_parameter"), ()),
        Call(Global("torch.FloatStorage"), (10**12,)),
        Call(Global("argparse.Namespace"), ("a",), new=True),
        Call(Global("argparse.Namespace"), (), [1], new=True),
    ],
)
def test_calls_with_other_arguments_than_pytorchs_are_refused(kind, made):
    refused(kind, WRITERS[kind]({"a": made}), "is not as it should be")


@pytest.mark.parametrize("kind", READERS)
def test_nothing_in_a_file_is_run(kind, tmp_path):
    sentinel = tmp_path / "was_run"
    attacks = [
        Call(Global("os.system"), (f"touch {sentinel}",)),
        Call(Global("builtins.eval"), (f"open({str(sentinel)!r}, 'w')",)),
        Call(Global("torch.load"), (str(sentinel),)),
        Call(
            Global("torch.storage._load_from_bytes"), (writers.storage_bytes(VALUES),)
        ),  # NVIDIA's pickles have it, torch.save not
        Call(Global("torch.nn.modules.linear.Linear"), (), {}, new=True),
        Call(Global("numpy.load"), (str(sentinel),)),
        Call(Global("torch._utils._rebuild_device_tensor_from_numpy"), ()),
        Call(Global("torch.hub.load"), ("a", "b")),
    ]
    for attack in attacks:
        said = f"'{attack.function.module}.{attack.function.name}'.* not run"
        for tree in ({"a": attack}, {"w": VALUES, "g_ema": {"w": VALUES, "a": attack}}):
            with pytest.raises(UserError, match=said):
                chosen(read(kind, WRITERS[kind](tree)))
        beside = WRITERS[kind]({"g_ema": {"w": VALUES}, "a": attack})
        if attack.function.module in ("os", "builtins"):
            refused(kind, beside, said)
        else:  # it stands for nothing, and is not needed
            assert set(chosen(read(kind, beside))) == {"w"}
    assert not sentinel.exists()


def test_pickles_beside_the_object_of_a_stream_may_name_nothing():
    for place in (MAGIC, PROTOCOL, writers.dumps(["0"])):
        refused(
            "legacy",
            STREAM.replace(place, writers.dumps(Call(Global("collections.OrderedDict"), ()))),
            "asks for 'collections.Ordered",
        )


@pytest.mark.parametrize("kind", READERS)
def test_damaged_files_raise_nothing_else(kind):
    good = (writers.GOLDEN / f"torch_save_{kind}.pth").read_bytes()

    def flattened(data):
        return state_dict.flatten(read(kind, data), "model.pth")

    said = damage.count_refused(flattened, good, random.Random(0), 400, "model.pth")
    assert said > 70
