"""The experiments on real data can be run, are as they say, and say how to get what is missing."""

import importlib
import os
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from natra_jax import config as experiment
from natra_jax import generators, main, pipeline
from natra_jax.config import flatten, validate
from natra_jax.data import importing
from natra_jax.experiments import base
from natra_jax.resolve import resolve
from natra_jax.weights import FAMILIES, generator_config
from natra_jax.weights.families import Loaded
from tests.data import photos, prepared_sets

# ml_collections' own, on reading a config file
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

ROOT = Path(__file__).parents[1]
NARROW = {"z_dim": 4, "code_dim": 4, "mapping_layers": 1}
STYLEGAN = {"resolution": 256, "channels": (4,) * 7, "mapping_features": 4, **NARROW}
STYLEGAN2 = {"resolution": 256, "channels": (4,) * 7, **NARROW}
# family and arguments of the generator that each is made for, but narrow
GENERATORS = {
    "celeba": ("stylegan1", STYLEGAN),
    "lsun_cat": ("stylegan2_nv", STYLEGAN2),
    "lsun_car": ("stylegan2_nv", STYLEGAN2 | {"resolution": 512, "channels": (4,) * 8}),
    "face_fewshot": ("stylegan2_nv", STYLEGAN2),
    "imagenet_advbn": None,
}
TABLE_1 = (
    *("original", "adv", "mixi", "mixl", "random", "random_box", "advmix"),
    *("natra_ol", "natra_oa", "natra"),
)
SECTIONS = [name for name, value in base.get_config().items() if hasattr(value, "items")]


def module(name):
    return importlib.import_module(f"natra_jax.experiments.{name}")


@pytest.fixture
def there(tmp_path, monkeypatch):
    """Return there(name) -> the config of an experiment whose data and weights are on the disk.

    Its weights are files that begin as such do.
    """

    def there(name):
        c = module(name).get_config()
        if c.data.name == "folder":
            c.data.path = str(photos.classes(tmp_path / "photos", {"n01": 5, "n02": 5}))
        else:
            features, examples = prepared_sets.tfds.features, [{}] * 6
            if "celeba" in c.data.name:
                prepared_sets.faces(tmp_path / "data" / "celeba" / "1.0.0", {"train": 6})
            else:
                examples = [{"label": i % 2} for i in range(6)]
                label = {"label": features.ClassLabel(names=["car", "cat"])}
                prepared_sets.prepare(
                    tmp_path / "data" / "lsun" / "1.0.0", label, {"train": examples}
                )
            c.data.path = str(tmp_path / "data")
        named = (("generator", "weights"), ("generator", "transfer_from"), ("train", "init_from"))
        for section, field in named:
            if c[section][field]:
                c[section][field] = str(tmp_path / "weights")
                (tmp_path / "weights").write_bytes(b"PK\x03\x04")  # the head of a zip archive
        if GENERATORS[name]:
            family, arguments = GENERATORS[name]
            generator = generators.build(FAMILIES[family].generator, arguments)
            loaded = Loaded(family, generator, arguments, params=None)
            monkeypatch.setattr(generator_config, "read", lambda c: loaded)
        return c

    return there


@pytest.mark.parametrize("name", GENERATORS)
def test_what_it_sets_is_valid_once_data_and_weights_are_there(there, name):
    config = resolve(there(name))
    generator = validate(config, 1)
    work = pipeline.tasks(config)
    assert f"train/{config.methods[-1]}-0" in {task.name for task in work}
    if generator is None:
        assert {task.stage for task in work} == {"data", "train", "evaluate", "report"}
        return
    assert config.data.resolution == generator.resolution
    # the images reach the encoder's dense layer as 4x4 pixels
    assert generator.resolution == 4 * 2 ** (len(config.encoder.widths) - 1)
    assert config.directions.layers[1] == config.advmix.layers[1] == generator.num_layers


@pytest.mark.parametrize("name", ["celeba", "lsun_cat", "lsun_car"])
def test_those_of_the_papers_tables_compare_its_methods_and_move_its_layers(there, name):
    config = resolve(there(name))
    assert config.methods == TABLE_1
    # layer 10 is the first of 128 pixels
    assert (
        config.directions.layers
        == config.advmix.layers
        == (10, 2 * int(np.log2(config.data.resolution)) - 2)
    )
    assert config.natra.num_steps == 7
    # 20 epochs of CelebA's training images, and for the others as many images
    assert 0 <= config.train.steps * config.train.batch_size - 20 * 162_770 < 64


def test_fine_tuning_by_advbn_takes_its_authors_schedule():
    config = module("imagenet_advbn").get_config()
    assert (
        0 <= config.advbn.steps * config.train.batch_size - 20 * 1_281_167 < config.train.batch_size
    )
    c = config.advbn
    assert (c.learning_rate, c.momentum, c.weight_decay) == (1e-3, 0.9, 1e-4)
    assert (c.group_size, c.num_steps, c.step_size, c.epsilon) == (64, 6, 0.2, 1.1)
    assert config.train.steps == 0, "the network that it is compared with is the published one"


def commands(name):
    """Return the lines of a docstring that are typed, split at spaces that stand in no quotes."""
    return [
        shlex.split(line)
        for line in module(name).__doc__.replace("\\\n", " ").splitlines()
        if line.lstrip().startswith(("python ", "--config", '"--config'))
    ]


@pytest.mark.parametrize("name", GENERATORS)
def test_its_docstring_names_commands_and_fields_that_there_are(name):
    doc, fields = module(name).__doc__, flatten(module(name).get_config())
    typed = commands(name)
    runs = [words for words in typed if words[:3] == ["python", "-m", "natra_jax.main"]]
    assert (
        len(runs) == 1
        and f"--config=experiments/{name}.py" in runs[0]
        and any(word.startswith("--workdir=") for word in runs[0])
    )
    for words in typed:
        if words[:3] == ["python", "-m", "natra_jax.data"]:
            assert words[3] == "import" and words[4] in importing.IMPORTERS
            assert [word.split("=")[0] for word in words[5:]] == ["--source", "--dest"]
    given = re.findall(r"--config\.([\w.]+)=", doc)
    spoken = re.findall(rf"\b((?:{'|'.join(SECTIONS)})\.\w[\w.]*\w)", doc)
    assert given + spoken
    for field in {*given, *spoken} - {
        word for word in spoken if word.endswith((".py", ".pkl", ".mdb"))
    }:
        assert field in fields, field


@pytest.mark.parametrize("name", GENERATORS)
def test_the_fields_of_its_docstring_take_the_values_that_they_are_given_there(name):
    config = module(name).get_config()
    for words in commands(name):
        for word in words:
            if found := re.fullmatch(r"--config\.([\w.]+)=(.*)", word):
                field, value = found.groups()
                wanted = type(flatten(config)[field])
                read = {bool: lambda v: {"True": True, "False": False}[v], tuple: eval}.get(
                    wanted, wanted
                )(value)
                config.update_from_flattened_dict({field: read})
    assert config.name == name


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Return refused(arguments) -> the line that the command says, in an empty directory."""

    def refused(name, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        line = [
            f"--config={ROOT / 'experiments' / name}.py",
            f"--workdir={tmp_path / 'work'}",
            *arguments,
        ]
        monkeypatch.setattr(sys, "argv", ["natra_jax", *line])
        with pytest.raises(SystemExit) as exit_:
            main.run()
        out, err = capsys.readouterr()
        assert (
            exit_.value.code == 2
            and out == ""
            and err.count("\n") == 1
            and not (tmp_path / "work").exists()
        ), err
        return err

    return refused


# what the line has to say, in this order: the field, from whom, how
MISSING_DATA = {
    "celeba": [
        "data.path is 'data'",
        "Chinese University of Hong Kong",
        "python -m natra_jax.data import celeba --source=DOWNLOADS",
    ],
    "lsun_cat": [
        "data.path is 'data'",
        "www.yf.io/p/lsun",
        "python -m natra_jax.data import lsun --source=DOWNLOADS --dest=data",
    ],
    "lsun_car": [
        "data.path is 'data'",
        "bus",
        "www.yf.io/p/lsun",
        "python -m natra_jax.data import lsun",
    ],
    "face_fewshot": ["data.path is ''", "a folder of yours", "person"],
    "imagenet_advbn": ["data.path is ''", "image-net.org", "--config.data.path=IMAGENET"],
}
MISSING_WEIGHTS = {
    "celeba": [
        "generator.weights is 'weights/stylegan_celeba_partial256.pth'",
        "genforce",
        "python -m natra_jax.weights FILE",
    ],
    "lsun_cat": [
        "generator.weights is 'weights/stylegan2-cat-config-f.pkl'",
        "NVIDIA",
        "python -m natra_jax.weights FILE",
    ],
    "lsun_car": [
        "generator.weights is 'weights/stylegan2-car-config-f.pkl'",
        "NVIDIA",
        "python -m natra_jax.weights FILE",
    ],
    "face_fewshot": [
        "generator.transfer_from is 'weights/stylegan2-ffhq-256x256.pkl'",
        "NVIDIA",
        "python -m natra_jax.weights FILE",
    ],
    "imagenet_advbn": ["train.init_from", "torchvision", "IMAGENET1K_V1"],
}


def says(line, parts):
    for part in parts:
        assert part in line, (part, line)
        line = line[line.index(part) + len(part) :]


@pytest.mark.parametrize("name", GENERATORS)
def test_without_its_data_one_line_says_from_whom_they_are_had_and_how(refused, name):
    says(refused(name), MISSING_DATA[name])


@pytest.mark.parametrize("name", GENERATORS)
def test_without_its_weights_one_line_says_from_whom_they_are_had_and_how(refused, tmp_path, name):
    prepared = module(name).get_config().data.name.removeprefix("tfds:")
    os.makedirs(tmp_path / "data" / prepared)
    says(refused(name, f"--config.data.path={tmp_path / 'data'}"), MISSING_WEIGHTS[name])


def test_a_directory_of_other_data_sets_is_not_taken_for_one_of_these(refused, tmp_path):
    os.makedirs(tmp_path / "data" / "mnist")
    says(refused("celeba"), MISSING_DATA["celeba"])


def test_weights_named_by_a_method_are_not_looked_for_on_the_disk(there):
    config = there("imagenet_advbn")
    config.methods, config.train.init_from = ("original", "augment"), "original"
    assert resolve(config).train.init_from == "original"


def test_every_experiment_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in GENERATORS:
        assert experiment.load(experiment.find(f"experiments/{name}.py")).name == name
