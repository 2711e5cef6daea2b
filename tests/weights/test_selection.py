"""The network that is meant is found by its names in every format, whatever lies beside it."""

import collections
import os
import pathlib
import pickle

import numpy as np
import pytest

from natra_jax import weights
from natra_jax.types import UserError
from natra_jax.weights import classifiers, selection
from natra_jax.weights.converters import resnet18
from natra_jax.weights.loading import find
from natra_jax.weights.tensors import Checkpoint
from tests.weights import made, writers
from tests.weights.converters.test_resnet18_weights import STATE as RESNET18
from tests.weights.writers import Call, Global

WRITERS = {
    "torch zip": writers.torch_zip,
    "torch legacy": writers.torch_legacy,
    "npz": writers.npz,
    "safetensors": writers.safetensors,
}
PREFIXES = (
    "module.",
    "_orig_mod.",
    "_fsdp_wrapped_module.",
    "module._orig_mod.",
    "_orig_mod.module.",
    "module.module.",
    "_fsdp_wrapped_module._checkpoint_wrapped_module.",
    "generator.",
    "generator.module.",
    "netG.",
    "G.",
    "ema_model.",
    "state_dict.generator.",
    "whatever.",
)
DISCRIMINATOR = {"discriminator.main.0.weight": np.zeros((4, 3, 4, 4), np.float32)}
BESIDE = {
    "a NumPy number": Call(
        Global("numpy.core.multiarray.scalar"),
        (Call(Global("numpy.dtype"), ("f8", False, True)), b"\0" * 8),
    ),
    "a text of NumPy": Call(
        Global("numpy.core.multiarray.scalar"),
        (Call(Global("numpy.dtype"), ("U3", False, True)), b"\0" * 12),
    ),
    "a counter": Call(Global("collections.Counter"), ({3: 1},)),
    "a defaultdict": Call(
        Global("collections.defaultdict"), (Global("builtins.dict"),), items={"a": 1}
    ),
    "a path": Call(Global("pathlib.PosixPath"), ("x",)),
    "a slice": Call(Global("builtins.slice"), (0, 3, None)),
    "a device": Call(Global("torch.device"), ("cuda", 0)),
    "a size": Call(Global("torch.Size"), ((3, 4),)),
    "a type": Global("torch.float32"),
    "a date": Call(Global("datetime.datetime"), (b"\7\xe8\1\1\0\0\0\0\0\0",)),
    "an optimizer": {"state": {0: {"exp_avg": 1}}, "param_groups": [{"betas": (0.0, 0.9)}]},
    "a discriminator": Call(Global("models.Discriminator"), (), {"_modules": {}}, new=True),
    "keys of any kind": {1.5: 1, (1, 2): 2},
    "complex numbers": Call(
        Global("torch._utils._rebuild_tensor_v2"),
        (Global("torch.ComplexFloatStorage"), 0, (1,), (1,), False, {}),
    ),
}


def read(path, data):
    path.write_bytes(data)
    return find(path)


@pytest.mark.parametrize("format", WRITERS)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_is_left_out_in_every_format(tmp_path, format, prefix):
    state = {prefix + name: array for name, array in made.dcgan().items()}
    found = read(tmp_path / "file", WRITERS[format](state))
    assert found.family == "dcgan" and found.notes == ()
    if prefix != "whatever.":  # which does not say whose it is
        beside = read(tmp_path / "file", WRITERS[format](state | DISCRIMINATOR))
        assert len(beside.notes) == 1 and "'discriminator'" in beside.notes[0]


@pytest.mark.parametrize("format", WRITERS)
@pytest.mark.parametrize("prefix", ("module.", "_orig_mod.", "model.module.", "ema."))
def test_a_prefix_is_left_out_of_a_classifiers_names_too(tmp_path, format, prefix):
    state = {prefix + name: array for name, array in RESNET18.items()}
    (tmp_path / "file").write_bytes(WRITERS[format](state | {"n_averaged": np.array(3)}))
    options, _, notes = classifiers.load(tmp_path / "file", "resnet18")
    assert options["num_classes"] == len(RESNET18["fc.bias"])
    assert len(notes) == 1 and "'n_averaged'" in notes[0]


@pytest.mark.parametrize(
    "name",
    [
        *("G", "G_state_dict", "netG_state_dict", "generator_state_dict", "gen_state_dict", "gen"),
        *("G_net", "params_ema", "ema", "modelG", "weights", "generator_ema", "G_ema", "g_running"),
        *("state_dict", "model_state_dict", "net_g", "model", "shadow_params"),
    ],
)
def test_the_generator_is_found_under_the_names_that_scripts_use(tmp_path, name):
    saved = {"epoch": 1, name: made.dcgan(), "D": {}, "optimizer": {"lr": 0.1}}
    (note,) = read(tmp_path / "w.pth", writers.torch_zip(saved)).notes
    assert "\n" not in note and "'epoch'" in note and repr(name) in note


def test_averaged_weights_are_taken_before_others(tmp_path):
    first, averaged = made.dcgan(seed=1), made.dcgan(seed=2)
    for names in (("netG", "netG_ema"), ("params", "params_ema"), ("generator", "ema_model")):
        saved = dict(zip(names, (first, averaged), strict=True))
        found = read(tmp_path / "w.pth", writers.torch_zip(saved))
        _, params = weights.from_state_dict(averaged)
        np.testing.assert_array_equal(
            found.params["synthesis"]["kernels"][0], params["synthesis"]["kernels"][0]
        )


@pytest.mark.parametrize("writer", [writers.torch_zip, writers.torch_legacy])
@pytest.mark.parametrize("what", BESIDE)
def test_what_lies_beside_is_no_reason_to_refuse(tmp_path, writer, what):
    saved = {"netG": made.dcgan(), "best": BESIDE[what]}
    (note,) = read(tmp_path / "w.pth", writer(saved)).notes
    assert "'best" in note
    if not isinstance(BESIDE[what], dict):
        with pytest.raises(UserError, match="among its tensors"):
            read(tmp_path / "w.pth", writer({"netG": made.dcgan() | {"best": BESIDE[what]}}))


def test_what_python_itself_pickles_is_no_reason_to_refuse(tmp_path):
    for value in (np.arange(3), collections.Counter("ab"), pathlib.PurePosixPath("x"), range(3)):
        found = read(tmp_path / "w.pth", writers.torch_zip({"netG": made.dcgan(), "best": [value]}))
        assert found.family == "dcgan"


def test_a_name_twice_within_a_wrapper_and_beside_it_is_refused():
    array = np.zeros(3)
    with pytest.raises(UserError, match="'w' twice"):
        selection.select(Checkpoint({"w": array, "_orig_mod.w": array}), lambda names: True)


def test_names_of_any_depth_end():
    name = ".".join(["module"] * 200)
    tensors, _ = selection.select(Checkpoint({name: np.zeros(3)}), resnet18.recognises)
    assert len(tensors) == 1


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_dicts_of_arrays_that_numpy_or_pickle_saved_are_read(tmp_path, protocol):
    state = made.dcgan()
    np.save(tmp_path / "g.npy", state, allow_pickle=True)
    (tmp_path / "g.pkl").write_bytes(pickle.dumps(state, protocol))
    (tmp_path / "h.pkl").write_bytes(pickle.dumps({"netG": state, "D": np.ones(3)}, protocol))
    for name in ("g.npy", "g.pkl", "h.pkl"):
        found = find(tmp_path / name)
        np.testing.assert_array_equal(
            found.params["synthesis"]["norms"][0]["scale"], state["main.1.weight"]
        )


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (np.ones(3), "a single NumPy array without a name"),
        (np.array([{"a": 1}, {"b": 2}], object), "a single NumPy array without a name"),
        (np.array(3, object), "holds a value of type int, no state dict"),
        (np.array({"a": np.array(["x"])}, object), "holds no generator's tensors"),
    ],
)
def test_other_arrays_of_numpy_are_told_what_they_are(tmp_path, value, match):
    np.save(tmp_path / "g.npy", value, allow_pickle=True)
    with pytest.raises(UserError, match=match):
        find(tmp_path / "g.npy")


def test_a_dict_of_numpys_that_asks_to_be_run_is_refused(tmp_path):
    class Runs:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/was_run",)

    np.save(tmp_path / "g.npy", np.array({"w": np.ones(3), "a": Runs()}, object), allow_pickle=True)
    with pytest.raises(UserError, match="system'.*not run"):
        find(tmp_path / "g.npy")
    assert not (tmp_path / "was_run").exists()


def test_sound_networks_of_other_kinds_are_not_called_damaged():
    square = made.rosinality()
    oblong = np.zeros((1, square["input.input"].shape[1], 4, 8), np.float32)
    older = {"synthesis.layer0.const": oblong, "synthesis.layer0.epilogue.bias": np.zeros(3)}
    digits = made.dcgan() | {"main.0.weight": np.zeros((5, 6, 7, 7), np.float32)}
    for state, match in [
        (square | {"input.input": oblong}, "only those of square images"),
        (older, "idinvert_pytorch's names"),
        (digits, "a kernel of 7x7: DCGANs are read with kernels of 4x4"),
    ]:
        with pytest.raises(UserError, match=match) as error:
            weights.from_state_dict(state)
        assert "damaged" not in str(error.value)


@pytest.mark.parametrize(
    ("saved", "name"),
    [
        ({"netG_A": made.dcgan(), "netG_B": made.dcgan()}, "netG_A.main.0.weight"),
        ({"student": made.dcgan(), "teacher": made.dcgan()}, "student.main.0.weight"),
        ({"decoder": made.dcgan(), "encoder": {"w": np.ones(3)}}, "decoder.main.0.weight"),
    ],
)
def test_where_names_do_not_say_which_network_is_meant_they_are_shown(tmp_path, saved, name):
    with pytest.raises(UserError, match=f"{name}.*of no generator known here"):
        read(tmp_path / "w.pth", writers.torch_zip(saved))
