"""An experiment without a generator, from a folder of photos to the report, with a test set beside;
and weights that are not trained.
"""

import jax
import numpy as np
import pytest
from PIL import Image

import natra_jax
from natra_jax import pipeline
from natra_jax.config import validate
from natra_jax.evaluation.records import read_records
from natra_jax.experiments import folder
from natra_jax.resolve import resolve
from natra_jax.types import UserError
from tests.data import photos

METHODS = ("original", "adv", "advbn")
ROWS = (*METHODS, "advbn/adversarial")
SIZES = {"val_iid": 4, "test_iid": 4, "test_sketch": 6}
COUNTS = {"cat": 20, "dog": 20}  # of which a tenth and a fifth are held out


def config(place, **fields):
    c = folder.get_config()
    c.name, c.methods = "photos", METHODS
    c.data.update(
        path=str(place / "photos"), resolution=8, channels=3, validation_share=0.1, test_share=0.1
    )
    c.generator.family = "none"
    c.classifier.update(widths=(4,), norm="batch")
    c.train.update(steps=2, batch_size=8, checkpoint_every=2, log_every=1)
    c.adv.num_steps = 1
    c.advbn.update(group_size=4, num_steps=1, steps=2)
    c.decoder.update(steps=2, batch_size=4)
    c.eval.update(batch_size=8, extra_splits=(f"sketch={place / 'sketch'}",))
    c.report.examples = 2
    c.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return c


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("photos")
    photos.classes(place / "photos", COUNTS)
    photos.classes(place / "sketch" / "pencil", {"cat": 2, "dog": 1}, first=60)
    photos.classes(place / "sketch" / "ink", {"dog": 3}, first=200)
    return place


def run(place, name, **fields):
    """The work directory."""
    pipeline.run(
        config(place, **fields), str(place / name), devices=jax.devices()[:1], log=lambda line: None
    )
    return place / name


@pytest.fixture(scope="module")
def work(place):
    return run(place, "work")


def accuracies(work):
    return {
        (r.method, r.split): r
        for r in read_records(work / "records.jsonl")
        if r.metric == "accuracy"
    }


def test_nothing_of_a_generator_is_made_and_no_judge_of_variations(work):
    done = {path.parent.relative_to(work).as_posix() for path in work.rglob("COMMIT")}
    trained = {f"{stage}/{method}-0" for stage in ("train", "evaluate") for method in METHODS}
    extra = {f"evaluate/{method}-0-test_sketch" for method in METHODS}
    beside = {"data", "extra_splits/test_sketch", "report", "evaluate/advbn-0-decoder"}
    assert done == beside | trained | extra


def test_every_method_is_evaluated_on_every_split_and_advbn_with_both_of_its_normalisations(work):
    found = accuracies(work)
    assert {key: r.n for key, r in found.items()} == {
        (row, split): n for row in ROWS for split, n in SIZES.items()
    }
    assert all(0 <= r.value <= 1 for r in found.values())


@pytest.mark.parametrize("method", METHODS)
def test_the_accuracy_on_the_test_set_beside_is_that_of_the_classifier_on_its_files(
    work, place, method
):
    files = sorted((place / "sketch").rglob("*.png"))
    images = np.stack([np.asarray(Image.open(file).resize((8, 8))) for file in files]) / 127.5 - 1
    labels = np.array([("cat", "dog").index(file.parent.name) for file in files])
    answers = np.asarray(
        natra_jax.load_classifier(work, method, 0)(images.astype(np.float32))
    ).argmax(1)
    assert accuracies(work)[method, "test_sketch"].value == (answers == labels).mean()


def test_the_report_shows_the_methods_and_speaks_of_no_judge(work):
    for name in ("index.html", "report.md"):
        written = (work / "report" / name).read_text().replace("<wbr>", "")
        assert all(shown in written for shown in (*ROWS, "test_sketch", "cat: 16"))
        assert "What advbn perturbs" in written and "What adv perturbs" not in written
        assert "judge" not in written and "Reconstructions" not in written


def test_weights_that_are_not_trained_on_are_evaluated_as_they_are_and_fine_tuned(work, place):
    file = work / "train" / "original-0" / "classifier.npz"
    fields = {"methods": ("original", "advbn"), "train__steps": 0, "train__init_from": str(file)}
    tuned = run(place, "tuned", **fields)
    like = dict(np.load(file))
    kept = dict(np.load(tuned / "train" / "original-0" / "classifier.npz"))
    assert set(kept) == set(like) and all(np.array_equal(kept[name], like[name]) for name in like)
    before, after = accuracies(work), accuracies(tuned)
    assert [after["original", split].value for split in SIZES] == [
        before["original", split].value for split in SIZES
    ]
    # advbn trains the head alone, from there
    moved = dict(np.load(tuned / "train" / "advbn-0" / "classifier.npz"))
    assert any(not np.array_equal(moved[name], like[name]) for name in like)
    assert "advbn" in (tuned / "report" / "report.md").read_text()


REFUSED = {
    "a method that takes codes": ({"methods": ("original", "natra")}, "natra"),
    "no training of fresh weights": ({"train__steps": 0}, "train.steps is 0"),
    "no training beside a generator": (
        {"train__steps": 0, "train__init_from": "original", "generator__family": "auto"},
        "train.steps is 0",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_without_is_refused(place, case):
    fields, said = REFUSED[case]
    with pytest.raises(UserError, match=said):
        validate(resolve(config(place, **fields)), 1)


@pytest.mark.parametrize("below", ["photos", "photos/cat/runs", "sketch/runs"])
def test_a_work_directory_among_the_photos_is_refused(place, below):
    with pytest.raises(UserError, match="lies in the photos of config field (data|eval)"):
        run(place, below)
