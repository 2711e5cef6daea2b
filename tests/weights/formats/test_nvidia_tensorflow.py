"""Networks of NVIDIA's TensorFlow code: the variables and arguments of Gs.

Neither the source in them is run nor anything else.
"""

import io
import pickle
import pickletools
import random
import sys
import types

import numpy as np
import pytest

from natra_jax.types import UserError
from natra_jax.weights.formats import nvidia_tensorflow
from tests.weights import damage, writers
from tests.weights.writers import Call, Global

GOLDEN = {
    "progan": {
        "4x4/Dense/weight": (25, 192),
        "16x16/Conv1/bias": (10,),
        "ToRGB_lod0/weight": (1, 1, 10, 3),
        "lod": (),
    },
    "stylegan1": {
        "mapping/Dense0/weight": (48, 28),
        "synthesis/4x4/Const/const": (1, 12, 4, 4),
        "dlatent_avg": (20,),
        "lod": (),
    },
    "stylegan2": {
        "mapping/Dense0/weight": (36, 20),
        "synthesis/4x4/Conv/mod_weight": (20, 12),
        "dlatent_avg": (20,),
    },
}
W = np.arange(6, dtype=np.float32).reshape(2, 3)


def read(data):
    return nvidia_tensorflow.read(io.BytesIO(data), "network.pkl")


def refused(data, match):
    with pytest.raises(UserError, match=match) as error:
        read(data)
    assert (
        str(error.value).startswith("network.pkl: ")
        and "\n" not in str(error.value)
        and len(str(error.value)) < 400
    )


def network(state, name="dnnlib.tflib.network.Network"):
    return Call(Global(name), (), state, new=True)


def whole(state, protocol=4):
    return writers.dumps((None, None, network(state)), protocol)


def array(values, kind="f4", shape=None):
    values = np.asarray(values)
    dtype = Call(Global("numpy.dtype"), (kind, False, True), (3, "<", None, None, None, -1, -1, 0))
    state = (1, values.shape if shape is None else shape, dtype, False, values.tobytes())
    return Call(
        Global("numpy.core.multiarray._reconstruct"), (Global("numpy.ndarray"), (0,), b"b"), state
    )


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_networks_give_the_variables_of_gs_by_their_names(name):
    path = writers.GOLDEN / f"tfpkl_{name}_16.pkl"
    with path.open("rb") as file:
        found = nvidia_tensorflow.read(file, path)
    for variable, shape in GOLDEN[name].items():
        assert (
            found.tensors[variable].shape == shape and found.tensors[variable].dtype == np.float32
        )
    stored = {
        argument
        for _, argument, _ in pickletools.genops(path.read_bytes())
        if isinstance(argument, bytes) and len(argument) > 8
    }
    assert {array.tobytes() for array in found.tensors.values() if array.size > 2} <= stored
    assert found.config["resolution"] == 16 and found.config["label_size"] == 5


def test_arguments_stand_above_those_of_components():
    found = read((writers.GOLDEN / "tfpkl_stylegan2_16.pkl").read_bytes()).config
    assert (
        found["resample_kernel"] == [1, 2, 4, 3]
        and found["conv_clamp"] == 0.75
        and found["mapping_fmaps"] is None
    )
    state = {
        "variables": [],
        "static_kwargs": {"a": 1, "b": 1},
        "components": {"mapping": network({"variables": [], "static_kwargs": {"b": 2, "c": 2}})},
    }
    assert read(whole(state)).config == {"a": 1, "b": 1, "c": 2}


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_python_and_numpy_pickle_comes_back_bit_equal(protocol, monkeypatch):
    arrays = {
        "w": W,
        "turned": np.asfortranarray(W),
        "half": W.astype(np.float16),
        "lod": np.array(0.5, np.float32),
        "n": np.arange(3),
    }
    for module in ("dnnlib", "dnnlib.tflib", "dnnlib.tflib.network"):
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    kind = sys.modules["dnnlib.tflib.network"].Network = type(
        "Network", (), {"__module__": "dnnlib.tflib.network"}
    )

    def made(state):
        network = kind()
        network.__dict__ = state
        return network

    inner = made({"variables": list(arrays.items()), "static_kwargs": {"k": np.float32(0.5)}})
    outer = made(
        {
            "version": 4,
            "variables": [("x", np.float32(2))],
            "components": {"synthesis": inner},
            "static_kwargs": {"n": (1, 2)},
        }
    )
    found = read(pickle.dumps((inner, inner, outer), protocol))
    assert found.config == {"k": 0.5, "n": [1, 2]} and type(found.config["k"]) is float
    assert set(found.tensors) == {"x"} | {f"synthesis/{name}" for name in arrays}
    for name, array_ in arrays.items():
        np.testing.assert_array_equal(found.tensors[f"synthesis/{name}"], array_)
        assert found.tensors[f"synthesis/{name}"].dtype == array_.dtype


@pytest.mark.parametrize(
    ("saved", "match"),
    [
        ({"G": 1}, "the three networks"),
        ((1, 2, 3), "the three networks"),
        ((network({}), network({})), "the three networks"),
        ((1, 2, network({})), "the network ''"),
        ((1, 2, Call(Global("tfutil.Network"), (), new=True)), "the network ''"),
        ((1, 2, Call(Global("tfutil.Network"), (), [1], new=True)), "tfutil.Network"),
        ((1, 2, network({"variables": {"a": 1}})), "the network ''"),
        ((1, 2, network({"variables": [], "components": [1]})), "the network ''"),
        ((1, 2, network({"variables": [], "static_kwargs": array(W)})), "the network ''"),
        ((1, 2, network({"variables": [], "components": {"a": 1}})), "the network 'a/'"),
        (
            (1, 2, network({"variables": [], "components": {1: network({"variables": []})}})),
            "the network ''",
        ),
        (
            (1, 2, network({"variables": [], "static_kwargs": {"a": array(W)}})),
            "a value of type PickledArray in what Gs was built with",
        ),
        ((1, 2, network({"variables": [("a", 1)]})), "a variable in it"),
        ((1, 2, network({"variables": [(1, array(W))]})), "a variable in it"),
        ((1, 2, network({"variables": [("a",)]})), "a variable in it"),
        ((1, 2, network({"variables": ["ab"]})), "a variable in it"),
        ((1, 2, network({"variables": [("a", array(W)), ("a", array(W))]})), "the tensor 'a'"),
        ((1, 2, network({"variables": [("a" * 5000, array(W))]})), "the tensor 'aaa"),
        ((1, 2, network({"variables": [("a", array(W, shape=(2, 4)))]})), "a NumPy array"),
        ((1, 2, network({"variables": [("a", array(W, shape=(2, -3)))]})), "a NumPy array"),
        (
            (1, 2, network({"variables": [("a", array(W, kind="O8"))]})),
            "a NumPy type other than of numbers",
        ),
        (
            (1, 2, network({"variables": [("a", array(W, kind="O"))]})),
            "a NumPy type other than of numbers",
        ),
        ((1, 2, network({}, name="network.Network")), "ProGAN's first version, for Theano"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_is_no_network_is_refused(saved, match, protocol):
    refused(writers.dumps(saved, protocol), match)


@pytest.mark.parametrize("depth", [18, 60])
def test_components_within_one_another_end(depth):
    state = {"variables": []}
    for _ in range(depth):  # 2^depth ways through it
        state = {"variables": [], "components": {"a": (inner := network(state)), "b": inner}}
    refused(whole(state), "more networks within networks")


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_nothing_in_a_network_is_run(protocol, tmp_path):
    sentinel = tmp_path / "was_run"
    source = f"open({str(sentinel)!r}, 'w')"
    good = whole(
        {"variables": [("w", array(W))], "build_module_src": source, "build_func_name": "G_main"},
        protocol,
    )
    assert set(read(good).tensors) == {"w"}
    for attack in [
        Call(Global("os.system"), (f"touch {sentinel}",)),
        Call(Global("builtins.exec"), (source,)),
        Call(Global("numpy.load"), (str(sentinel),)),
        Call(Global("numpy.frombuffer"), (b"1234",)),
        Call(Global("numpy.core.multiarray.fromfile"), (str(sentinel),)),
        Call(Global("dnnlib.tflib.tfutil.run"), ()),
    ]:
        said = f"'{attack.function.module}.{attack.function.name}'.*not run"
        for state in (
            {"variables": [("w", attack)]},
            {"variables": [], "static_kwargs": {"a": [attack]}},
        ):
            refused(whole(state, protocol), said)
        beside = (
            whole({"a": attack, "variables": [("w", array(W))]}, protocol),
            writers.dumps((attack, None, network({"variables": [("w", array(W))]})), protocol),
        )
        for data in beside:
            if attack.function.module in ("os", "builtins"):
                refused(data, said)
            else:  # it stands for nothing, and is not needed
                assert set(read(data).tensors) == {"w"}
    assert not sentinel.exists()


def test_damaged_networks_raise_nothing_else():
    rng, said = random.Random(0), 0
    for protocol in (2, 4):
        good = writers.tensorflow(
            {"lod": np.array(1.0, np.float32)},
            {"a": 1},
            {"mapping": {"w": W}, "synthesis": {"w": W}},
            protocol,
        )
        said += damage.count_refused(read, good, rng, 300, "network.pkl")
    assert said > 300
