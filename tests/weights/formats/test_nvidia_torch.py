"""Snapshots of NVIDIA's PyTorch code: G_ema's tensors and arguments.

Neither the source in them is run nor anything else. The golden files were pickled by PyTorch 2.15,
as torch_utils.persistence does it; each tensor counts up in halves from -2.5.
"""

import io
import random

import numpy as np
import pytest

from natra_jax.types import UserError
from natra_jax.weights.formats import nvidia_torch
from tests.weights import damage, writers
from tests.weights.writers import Call, Global

SHAPES = {
    "mapping.w_avg": (4,),
    "mapping.fc0.weight": (4, 3),
    "mapping.fc0.bias": (4,),
    "mapping.fc1.weight": (4, 4),
    "synthesis.const": (3, 2, 2),
    "synthesis.weight": (2, 3, 3, 3),  # channels last
}
TENSORS = {
    "mapping.fc0.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "synthesis.b4.const": np.ones((2, 4, 4), np.float32),
}


def read(data):
    return nvidia_torch.read(io.BytesIO(data), "network.pkl")


def refused(data, match):
    with pytest.raises(UserError, match=match) as error:
        read(data)
    assert (
        str(error.value).startswith("network.pkl: ")
        and "\n" not in str(error.value)
        and len(str(error.value)) < 400
    )


def persistent(state, **others):
    meta = {
        "type": "class",
        "version": 6,
        "module_src": "raise SystemExit('run')",
        "class_name": "Generator",
        "state": state,
    }
    return Call(Global("torch_utils.persistence._reconstruct_persistent_obj"), (meta | others,))


def snapshot(state, protocol=4):
    return writers.dumps({"G": None, "D": None, "G_ema": persistent(state)}, protocol)


def tensor(storage=None, size=(2,), stride=(1,)):
    storage = writers.storage_bytes(np.arange(2, dtype=np.float32)) if storage is None else storage
    loaded = Call(Global("torch.storage._load_from_bytes"), (storage,))
    return Call(Global("torch._utils._rebuild_tensor_v2"), (loaded, 0, size, stride, False, {}))


@pytest.mark.parametrize("protocol", [2, 4])
def test_what_pytorch_pickled_comes_back_bit_equal(protocol):
    with (writers.GOLDEN / f"nvidia_protocol{protocol}.pkl").open("rb") as file:
        found = nvidia_torch.read(file, "network.pkl")
    assert {name: array.shape for name, array in found.tensors.items()} == SHAPES
    for array in found.tensors.values():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, ((np.arange(array.size) - 5) / 2).reshape(array.shape))
    assert found.config == {"w_dim": 4, "synthesis_kwargs": {"channels": 3}, "img_resolution": 16}
    assert [type(value) for value in found.config.values()] == [int, dict, int]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_averaged_generator_is_taken_in_every_protocol(protocol, channels_last):
    config = {
        "z_dim": 512,
        "synthesis_kwargs": {"conv_clamp": None, "filter": [1, 3, 3, 1]},
        "lr": 0.5,
    }
    found = read(
        writers.nvidia(TENSORS, config, protocol, channels_last=channels_last, location="cuda:0")
    )
    assert found.config == config and set(found.tensors) == set(TENSORS)
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(found.tensors[name], array)


def test_parameters_and_buffers_that_are_none_are_left_out():
    inner = persistent(
        {
            "_parameters": {"weight": tensor(), "bias": None},
            "_buffers": {"noise": None},
            "_modules": {"empty": None},
        }
    )
    assert set(read(snapshot({"_modules": {"a": inner}, "_init_kwargs": {}})).tensors) == {
        "a.weight"
    }


def test_the_clamps_of_the_layers_are_read_each_once():
    layers = {
        str(i): persistent({"_parameters": {"w": tensor()}, "conv_clamp": clamp})
        for i, clamp in enumerate((0.5, None, 0.5))
    }
    found = read(snapshot({"_modules": layers, "_init_kwargs": {"z_dim": 3}}))
    assert found.config == {"z_dim": 3, "layers": {"conv_clamp": [0.5, None]}}
    layers["3"] = persistent({"conv_clamp": tensor()})
    refused(snapshot({"_modules": layers, "_init_kwargs": {}}), "ndarray in conv_clamp of the part")


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_discriminator_of_other_classes_is_no_reason_to_refuse(protocol):
    foreign = Call(
        Global("torch.nn.modules.container.Sequential"),
        (),
        {"_modules": {"0": Call(Global("training.diffusion.Diffusion"), (), {}, new=True)}},
        new=True,
    )
    good = persistent({"_parameters": {"w": tensor()}, "_init_kwargs": {}})
    found = read(writers.dumps({"G": None, "D": foreign, "G_ema": good}, protocol))
    assert set(found.tensors) == {"w"}


@pytest.mark.parametrize(
    ("saved", "match"),
    [
        ({"G": persistent({}), "D": None}, "has no G_ema, the generator to use"),
        ({"G": persistent({}), "G_ema": None}, "has an empty G_ema"),
        ([persistent({})], "has no G_ema"),
        ({"G_ema": {"a": 1}}, "has an empty G_ema"),
        ({"G_ema": persistent({"_init_args": (512, 0)})}, "arguments without names"),
        ({"G_ema": persistent({"_init_args": tensor()})}, "what G_ema was made with"),
        ({"G_ema": persistent({"_init_kwargs": tensor()})}, "what G_ema was made with"),
        (
            {"G_ema": persistent({"_init_kwargs": {"a": [tensor()]}})},
            "a value of type ndarray in what G_ema was made with",
        ),
        ({"G_ema": persistent({"_init_kwargs": {"a": {1: 2}}})}, "a value of type dict in what"),
        (
            {"G_ema": persistent({"_init_kwargs": {"a": persistent({})}})},
            "an object of Generator in what",
        ),
        ({"G_ema": persistent({"_parameters": [tensor()]})}, "_parameters"),
        ({"G_ema": persistent({"_parameters": {"a": 3}})}, "a tensor of the network's part ''"),
        (
            {"G_ema": persistent({"_parameters": {3: tensor()}})},
            "a tensor of the network's part ''",
        ),
        ({"G_ema": persistent({"_modules": {"a": tensor()}})}, "network's part 'a.'"),
        ({"G_ema": persistent({"_modules": {"a\nb": tensor()}})}, r"network's part 'a\\nb.'"),
        ({"G_ema": persistent({"_modules": {3: persistent({})}})}, "network's part ''"),
        (
            {"G_ema": persistent({"_parameters": {"a": tensor()}, "_buffers": {"a": tensor()}})},
            "the tensor 'a'",
        ),
        ({"G_ema": persistent({"_parameters": {"a" * 2000: tensor()}})}, "the tensor 'aaa"),
        ({"G_ema": persistent(3)}, "a network in it"),
        ({"G_ema": persistent({}, class_name=3)}, "a network in it"),
        (
            {
                "G_ema": Call(
                    Global("torch_utils.persistence._reconstruct_persistent_obj"), ({}, {})
                )
            },
            "a network in it",
        ),
        ({"a": tensor(writers.storage_bytes(np.ones(2))[:-1])}, "ends in the middle"),
        ({"a": tensor("text")}, "a storage in it"),
        ({"a": tensor(writers.torch_zip({"w": np.ones(2)}))}, "instruction 50"),
        (
            {"a": tensor(writers.torch_legacy({"w": np.ones(2)}))},
            "asks for 'torch._utils._rebuild_tensor_v2'",
        ),
        ({"a": tensor(writers._legacy([1], []))}, "a storage in it"),
        ({"a": tensor(size=(3,))}, "past its storage"),
        ({"G_ema": persistent({"_buffers": {"a": tensor(stride=(0,))}})}, "share memory"),
        (
            {"G_ema": persistent({"_buffers": {"a": Call(Global("torch.FloatStorage"), ())}})},
            "an object of 'torch.FloatStorage', which is not run, in the part",
        ),
        (
            {"G_ema": persistent({"_modules": {"a": Call(Global("torch.nn.Linear"), ())}})},
            "an object of 'torch.nn.Linear', which is not run, as the part 'a.' of G_ema",
        ),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_is_no_snapshot_is_refused(saved, match, protocol):
    refused(writers.dumps(saved, protocol), match)


@pytest.mark.parametrize("depth", [18, 60])
def test_modules_within_themselves_end(depth):
    state = {"_parameters": {}, "_buffers": {}}
    for _ in range(depth):  # 2^depth ways through it
        state = {"_modules": {"a": (inner := persistent(state)), "b": inner}}
    refused(snapshot(state), "more networks within networks")
    arguments: list = []
    arguments.append(arguments)
    refused(snapshot({"_init_kwargs": {"a": arguments}}), "more in what G_ema was made with")


def test_long_names_of_modules_do_not_pile_up():
    state = {"_parameters": {"w": tensor()}}
    for _ in range(20):
        state = {"_modules": {"a" * 1000: persistent(state)}}
    refused(snapshot(state), "more networks within networks")


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_nothing_in_a_snapshot_is_run_not_even_within_the_bytes_of_its_storages(protocol, tmp_path):
    sentinel = tmp_path / "was_run"
    opens = f"open({str(sentinel)!r}, 'w')"
    attacks = [
        Call(Global("os.system"), (f"touch {sentinel}",)),
        Call(Global("posix.system"), (f"touch {sentinel}",)),
        Call(Global("builtins.eval"), (opens,)),
        Call(Global("builtins.exec"), (opens,)),
        Call(Global("numpy.load"), (str(sentinel),)),
        Call(Global("numpy.frombuffer"), (b"1234",)),
        Call(Global("torch.load"), (str(sentinel),)),
        Call(Global("torch_utils.persistence.import_hook"), ()),
    ]
    source = f"{opens}\nraise SystemExit"
    whole = writers.dumps(
        {
            "G_ema": persistent(
                {"_parameters": {"w": tensor()}, "_init_kwargs": {}}, module_src=source
            )
        },
        protocol,
    )
    assert set(read(whole).tensors) == {"w"}
    for attack in attacks:
        said = f"'{attack.function.module}.{attack.function.name}'.*not run"
        refused(writers.dumps(attack, protocol), said)
        refused(snapshot({"_init_kwargs": {"a": attack}}, protocol), said)
        refused(snapshot({"_parameters": {"a": tensor(attack)}}, protocol), said)
        refused(
            snapshot({"_parameters": {"a": tensor(writers._legacy([attack], []))}}, protocol), said
        )  # within the bytes
    assert not sentinel.exists()


def test_damaged_snapshots_raise_nothing_else():
    rng, said = random.Random(0), 0
    for protocol in (2, 4):
        good = (writers.GOLDEN / f"nvidia_protocol{protocol}.pkl").read_bytes()
        said += damage.count_refused(read, good, rng, 300, "network.pkl")
    assert said > 300
