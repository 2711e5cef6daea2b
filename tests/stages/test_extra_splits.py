"""Further test sets in folders: how they are named, and what is found in them."""

from functools import partial

import jax
import numpy as np
import pytest
from jax.tree_util import Partial

from natra_jax import report
from natra_jax.evaluation.comparisons import mcnemar
from natra_jax.evaluation.records import read_records
from natra_jax.stages import evaluate, extra_splits
from natra_jax.types import UserError
from tests.data import photos
from tests.stages import small

CLASSES = ("a", "b", "c")  # of small


def run(tmp_path, *entries):
    """Run the task and return (context, lines logged)."""
    said = []
    context = small.context(tmp_path / "work", small.config(eval__extra_splits=entries))
    context = context._replace(log=said.append)
    for name, path in extra_splits.named(entries).items():
        directory = context.workdir / extra_splits.task_name(name)
        directory.mkdir(parents=True)
        extra_splits.run(context, directory, name, path)
    return context, said


def shades(split):
    """Return (shade, label) of every image, which are grey."""
    return sorted(zip(split.image[:][:, 0, 0, 0].tolist(), split.label.tolist(), strict=True))


def test_folders_of_the_same_classes_become_splits_at_the_size_of_the_data(tmp_path):
    photos.classes(tmp_path / "sketch", {"a": 2, "b": 1, "c": 1})
    photos.classes(tmp_path / "filtered", {"c": 2}, first=100)
    context, said = run(
        tmp_path, f"sketch={tmp_path / 'sketch'}", f"filtered={tmp_path / 'filtered'}"
    )
    sketch, filtered = (
        extra_splits.split(context, name) for name in ("test_sketch", "test_filtered")
    )
    assert sketch.image.shape == (4, *small.SHAPE) and sketch.image[:].dtype == np.uint8
    # the label is the number that the class has in the data, though a folder has not all of them
    assert shades(sketch) == [(0, 0), (1, 0), (2, 1), (3, 2)]
    assert shades(filtered) == [(100, 2), (101, 2)]
    assert [line.split(",")[0] for line in said] == [
        "extra_splits: test_sketch 4 images",
        "extra_splits: test_filtered 2 images",
    ]


def always(label, images):
    """The logits of a classifier that sees nothing but one class."""
    return jax.nn.one_hot(np.full(len(images), label), len(CLASSES))


def test_differences_on_an_extra_split_are_paired_by_image_within_a_seed(tmp_path, monkeypatch):
    photos.classes(tmp_path / "sketch", {"a": 8, "b": 1, "c": 2})
    context, _ = run(tmp_path, f"sketch={tmp_path / 'sketch'}")
    own = {method: Partial(partial(always, i)) for i, method in enumerate(("adv", "original"))}
    monkeypatch.setattr(evaluate, "_load", lambda *_: None)
    monkeypatch.setattr(evaluate, "branches", lambda _, trained, method: {method: own[method]})
    tasks = {method: f"evaluate/{method}-0-test_sketch" for method in own}
    context = context._replace(fingerprints=dict.fromkeys(("data", *tasks.values()), "of a test"))
    records = []
    for method, task in tasks.items():
        directory = context.workdir / task
        directory.mkdir(parents=True)
        evaluate.run_extra(context, directory, method, 0, "test_sketch")
        records += read_records(directory / "records.jsonl")
    answers = evaluate.answers(context)
    cell = report.paired_difference(records, "adv", "original", "test_sketch", "accuracy", answers)
    assert cell.value == pytest.approx(7 / 11) and cell.p == pytest.approx(mcnemar(8, 1))
    assert cell.low is not None and cell.differs
    table = report.build_differences(records, list(own), "original", answers)
    assert "paired by image (McNemar's exact test" in table.note


def test_classes_are_found_below_corruptions_and_severities(tmp_path):
    first = 0
    for corruption in ("blur/motion", "noise/shot"):
        for severity in ("1", "5"):
            photos.classes(tmp_path / "c" / corruption / severity, {"a": 1, "b": 1}, first=first)
            first += 10
    context, _ = run(tmp_path, f"c={tmp_path / 'c'}")
    assert shades(extra_splits.split(context, "test_c")) == [
        (10 * i + label, label) for i in range(4) for label in (0, 1)
    ]


def test_a_folder_of_no_class_is_named(tmp_path):
    photos.classes(tmp_path / "sketch", {"a": 1, "zebra": 1})
    with pytest.raises(UserError, match="zebra"):
        run(tmp_path, f"sketch={tmp_path / 'sketch'}")


WRONG = ["sketch", "sketch=", "=here", "a sketch=here", "iid=here", "shift=here"]


@pytest.mark.parametrize("entry", WRONG)
def test_an_entry_that_names_no_split_is_refused(entry):
    with pytest.raises(UserError, match=r"^config field eval\.extra_splits has ") as error:
        extra_splits.named([entry])
    assert repr(entry) in str(error.value) and "\n" not in str(error.value)


def test_a_name_that_comes_twice_is_refused():
    with pytest.raises(UserError, match="none twice"):
        extra_splits.named(["sketch=here", "sketch=there"])


def test_a_path_may_hold_what_it_likes():
    named = extra_splits.named(["c=/data/a=b", "c_2=~/x y"])
    assert named == {"test_c": "/data/a=b", "test_c_2": "~/x y"}


def test_the_folders_are_known_again_by_their_files(tmp_path):
    photos.classes(tmp_path / "sketch", {"a": 2, "b": 1})
    path = str(tmp_path / "sketch")
    before = extra_splits.identity(path)
    assert extra_splits.identity(path) == before
    photos.write(tmp_path / "sketch" / "a" / "new.png")
    after = extra_splits.identity(path)
    (tmp_path / "sketch" / "a" / "new.png").rename(tmp_path / "sketch" / "b" / "new.png")
    moved = extra_splits.identity(path)
    for name, shade in (("a", 5), ("b", 9)):
        photos.write(tmp_path / "sketch" / name / "0.bmp", photos.grey(shade))
    of_bitmaps = extra_splits.identity(path)
    for name, shade in (("a", 9), ("b", 5)):
        photos.write(tmp_path / "sketch" / name / "0.bmp", photos.grey(shade))
    found = (before, after, moved, of_bitmaps, extra_splits.identity(path))
    assert len({str(identity) for identity in found}) == 5


def test_a_folder_that_is_not_there_is_a_mistake_in_that_field(tmp_path):
    with pytest.raises(UserError, match=r"config field eval\.extra_splits is .*nowhere"):
        extra_splits.identity(str(tmp_path / "nowhere"))
