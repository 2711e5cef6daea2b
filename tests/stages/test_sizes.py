"""What the data are too few for is said in one line, before anything is trained, with advice that
suffices.
"""

import itertools
import re

import jax
import numpy as np
import pytest

from experiments import folder
from natra_jax import pipeline
from natra_jax.data import from_arrays
from natra_jax.stages import data, sizes
from natra_jax.stages.task import Limit, Task
from natra_jax.types import UserError
from tests.stages import small

EVERY = ("original", "adv", "mixi", "mixl", "advmix", "natra", "natra_ol", "advbn", "natra+advbn")
ADVICE = re.compile(
    r"config\.([\w.]+)=\d+ is [^:;]+: set it to (?:a multiple of \d+, )?at most (\d+)"
)


class TrainedError(Exception):
    """Something was trained."""


def config(**fields):
    """The folder's experiment for arrays; double underscores stand for dots."""
    c = folder.get_config()
    c.data.update(name="arrays", resolution=8, channels=3)
    c.classifier.update(widths=(4,), norm="batch")
    c.advbn.group_size = 8
    c.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return c


def images(count, classes=2, unlabelled=0):
    made = np.random.default_rng(0).integers(0, 256, (count * classes, 8, 8, 3), np.uint8)
    names = tuple("abcdef"[:classes])
    others = made[:unlabelled] if unlabelled else None
    return from_arrays((made, np.arange(len(made)) % classes), classes=names, unlabelled=others)


@pytest.fixture
def said(tmp_path, monkeypatch):
    """Return (config, source, stages) -> the message; '' where training would have begun."""
    real, number = pipeline.run_task, itertools.count()

    def only_data(task, context):
        if task.stage != data.NAME:
            raise TrainedError(task.name)
        real(task, context)

    monkeypatch.setattr(pipeline, "run_task", only_data)
    # it traces networks, and is tried later
    monkeypatch.setattr(pipeline.train, "check", lambda context: None)

    def say(c, source, stages=pipeline.STAGES, devices=1):
        given = {"devices": jax.devices()[:devices], "stages": stages, "source": source}
        place = tmp_path / str(next(number))
        with pytest.raises((TrainedError, UserError)) as error:
            pipeline.run(c, str(place), log=lambda line: None, **given)
        message = str(error.value)
        assert "\n" not in message
        return "" if isinstance(error.value, TrainedError) else message

    return say


@pytest.mark.parametrize(
    ("count", "judge", "unlabelled"),
    [(4, "none", 0), (4, "cross_fitted", 3), (5, "cross_fitted", 0), (16, "none", 3)],
)
def test_what_is_advised_suffices(said, count, judge, unlabelled):
    source = images(count, unlabelled=unlabelled)
    c = config(methods=EVERY, screening__judge=judge, shift__steps=3, shift__domain="both")
    c.encoder.gamma2 = 0.1
    c.generator.adversarial.group = 4
    first = said(c, source)
    assert first.count("config.encoder.batch_size=") == 1
    for field, most in ADVICE.findall(first):
        c.update_from_flattened_dict({field: int(most)})
    assert said(c, source) == "", first


def test_all_is_said_at_once_and_of_each_field_the_tightest(said):
    c = config(methods=("original", "natra", "advbn"), screening__judge="cross_fitted")
    c.advbn.group_size, c.screening.folds = 32, 40
    assert said(c, images(8)).split("; ") == [
        "config.generator.batch_size=32 is more than the 10 training images: set it to at most 10",
        "config.generator.adversarial.batch_size=16 is more than the 10 training images: "
        "set it to at most 10",
        "config.encoder.batch_size=32 is more than the 10 training images: set it to at most 10",
        "config.screening.folds=40 is more than the 10 training images: set it to at most 10",
        "config.train.batch_size=32 is more than the 9 training images that are left without a "
        "fold: set it to at most 9",
        "config.advbn.group_size=32 is more than a device's share of such a batch, 9: "
        "set it to at most 9, and a divisor",
    ]


def test_what_is_not_run_does_not_count(said):
    c = config(methods=("original", "natra"), shift__batch_size=10**6)
    c.generator.update(batch_size=4)
    c.generator.adversarial.batch_size = 4
    source = images(8)
    assert said(c, source, stages=("data", "generator")) == ""
    assert "shift" not in said(c, source), "shift.steps is 0"
    without = config(methods=("original",), generator__family="none")
    assert said(without, source) == (
        "config.train.batch_size=32 is more than the 10 training images: set it to at most 10"
    )


MISSING = {
    "one image a class": (
        images(3),
        {},
        "config.directions.codes=within_classes, but no class has two training images: set it to "
        "encoded, or add images",
    ),
    "two codes for umap": (
        images(3),
        {"directions__codes": "encoded"},
        "config.directions.method=umap needs 3 codes, and there are 2 images: add some, or set it "
        "to pca",
    ),
    "one code of the prior": (
        images(8),
        {"directions__codes": "prior", "directions__num_codes": 1, "directions__method": "pca"},
        "config.directions.num_codes=1 is fewer than the 2 that pca needs: set it to at least 2",
    ),
    "a class that has one": (
        images(3),
        {"data__covers": ("b",), "directions__codes": "encoded", "directions__method": "pca"},
        "config.directions.method=pca needs 2 codes, and there are 1 images: add some",
    ),
    "objects that nobody tells apart": (
        images(8),
        {"directions__codes": "within_objects"},
        "config.directions.codes=within_objects, but the data do not say which images show the "
        "same object: set it to encoded",
    ),
    "each object once": (
        images(8)._replace(domain_object=np.arange(10)),
        {"directions__codes": "within_objects"},
        "config.directions.codes=within_objects, but no two of the 10 images drawn show the same "
        "object: set it to encoded, or raise config.directions.num_codes",
    ),
    "one object twice": (
        images(8)._replace(domain_object=np.maximum(np.arange(10) - 1, 0)),
        {"directions__codes": "within_objects"},
        "config.directions.method=umap needs 3 codes, and there are 2 images: add some, or set it "
        "to pca",
    ),
    "half of one": (
        images(3),
        {"data__covers": ("b",), "encoder__domain": "both", "encoder__batch_size": 1},
        "config.encoder.batch_size=1 is less than 2: set it to 2..2",
    ),
}


@pytest.mark.parametrize("case", MISSING)
def test_what_cannot_be_found_in_so_few_images_is_said_before(said, case):
    source, fields, sentence = MISSING[case]
    assert sentence in said(config(**fields), source).split("; ")


def test_a_split_without_images_of_the_generators_classes_is_said(said):
    whole = images(8, classes=3)
    pictures, labels = whole.splits["train"]
    others = np.flatnonzero(labels < 2)
    val = (pictures[others], labels[others])
    source = from_arrays((pictures[:], labels), val_iid=val, classes=("a", "b", "c"))
    found = said(config(data__covers=("c",)), source)
    advice = "name others in config.data.covers, or add images"
    assert f"val_iid has no images of the classes in config.data.covers: {advice}" in found
    assert "training images of the classes in config.data.covers: set it to at most" in found


def require(tmp_path, *findings, devices=1):
    """Require findings of the experiment `small`, whose train.batch_size is 4."""
    made = small.context(tmp_path, small.config())
    tasks = [Task("a", "a", lambda *_: None, {}, sizes=lambda context: findings)]
    sizes.require(made, [*tasks, Task("b", "b", lambda *_: None, {})])


def test_devices_and_groups_divide_what_is_advised(tmp_path):
    limit = Limit("train.batch_size", 3, "images")
    require(tmp_path, limit._replace(most=4), limit._replace(most=4, parts=4))
    with pytest.raises(UserError, match=": set it to a multiple of 2, at most 2$"):
        require(tmp_path, limit, limit._replace(most=9, parts=2))
    with pytest.raises(UserError, match="more than the 3 images: there must be 8 at least$"):
        require(tmp_path, limit._replace(parts=8))
    with pytest.raises(
        UserError, match="^config.train.batch_size=4 is less than 5: set it to 5..7"
    ):
        require(tmp_path, limit._replace(most=7, least=5))
    with pytest.raises(UserError, match="^no images; config.train.batch_size=4 is more"):
        require(tmp_path, limit, "no images", limit)
