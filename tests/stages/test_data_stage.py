"""The stage data: images decoded or left in their files are the same, and who sees which."""

import json

import jax
import numpy as np
import pytest
from etils import epath
from ml_collections import FrozenConfigDict
from PIL import Image

from natra_jax.data import UNLABELLED, from_arrays
from natra_jax.data.survey import survey
from natra_jax.inputs import Inputs
from natra_jax.resolve import resolve
from natra_jax.stages import data, train
from natra_jax.stages.context import Context
from natra_jax.types import UserError
from tests.stages import small

CLASSES = ("cat", "dog", "eel")
PER_CLASS, LOOSE = 7, 4


@pytest.fixture
def photos(tmp_path):
    """Write three classes of seven photos, and four without labels beside."""
    rng = np.random.default_rng(0)
    counts = {f"photos/{name}": PER_CLASS for name in CLASSES} | {"loose": LOOSE}
    for folder, count in counts.items():
        (tmp_path / folder).mkdir(parents=True)
        for i in range(count):
            image = Image.fromarray(rng.integers(0, 256, (12, 10, 3), np.uint8))
            image.save(tmp_path / folder / f"{i}.png")
    return tmp_path


def config(photos, **fields):
    made = small.config(
        data__name="folder",
        data__path=str(photos / "photos"),
        data__resolution=8,
        judge__seed=9,
        **fields,
    )
    return resolve(made)


def run(workdir, c, source=None, said=None):
    root = epath.Path(workdir)
    (root / "data").mkdir(parents=True)
    log = (said if said is not None else []).append
    context = Context(
        FrozenConfigDict(c),
        root,
        workdir,
        jax.devices()[:1],
        log,
        {"data": "of data", "train/adv-0": "of a training"},
        Inputs(),
        source,
    )
    data.run(context, root / "data")
    return context


def test_images_are_the_same_decoded_or_left_in_their_files(photos):
    decoded = run(photos / "a", config(photos))
    in_files = run(photos / "b", config(photos, data__decoded_gigabytes=0.0))
    assert (photos / "a" / "data" / "train_image.npy").exists()
    assert not (photos / "b" / "data" / "train_image.npy").exists()
    assert data.info(decoded) == data.info(in_files)
    for name in ("train", "val_iid", "test_iid"):
        one, other = data.split(decoded, name), data.split(in_files, name)
        np.testing.assert_array_equal(one.image[:], other.image[:])
        np.testing.assert_array_equal(one.label, other.label)


def test_what_is_there_is_said_class_by_class(photos):
    said = []
    context = run(photos / "a", config(photos, data__unlabelled=str(photos / "loose")), said=said)
    info = data.info(context)
    assert info.classes == CLASSES and info.image_shape == (8, 8, 3) and info.unlabelled == LOOSE
    assert {name: sum(counts) for name, counts in info.counts.items()} == {
        "train": 15,
        "val_iid": 3,
        "test_iid": 3,
    }
    assert any("train 15 images of 3 classes (5 to 5 each" in line for line in said)
    assert any("4 images without labels" in line for line in said)


def test_unlabelled_images_are_trained_on_behind_the_labelled_ones_and_seen_by_the_generator(
    photos,
):
    context = run(photos / "a", config(photos, data__unlabelled=str(photos / "loose")))
    image, label = data.training(context)
    assert (label[:15] >= 0).all() and (label[15:] == UNLABELLED).all()
    assert len(image) == len(label) == 19
    loose = [Image.open(photos / "loose" / f"{i}.png") for i in range(LOOSE)]
    fitted = [each.crop((0, 1, 10, 11)).resize((8, 8), Image.LANCZOS) for each in loose]
    np.testing.assert_array_equal(image[np.arange(15, 19)], np.stack(fitted))
    np.testing.assert_array_equal(data.domain_images(context)[:], image[:])
    assert len(data.split(context, "train").label) == 15
    assert (data.judge_split(context).label >= 0).all()


def test_the_generator_sees_the_classes_that_it_covers(photos):
    context = run(photos / "a", config(photos, data__covers=("eel",)))
    train = data.split(context, "train")
    np.testing.assert_array_equal(
        data.domain_images(context)[:], train.image[np.flatnonzero(train.label == 2)]
    )
    assert set(data.varied(context, "test_iid").label) == {2}
    batch = data.domain_batches(context, "target", 5, 0, "encoder.batch_size")(0)
    assert batch["image"].shape == (5, 8, 8, 3)
    with pytest.raises(UserError, match="data.covers names 'bat', which is no class of the data"):
        run(photos / "b", config(photos, data__covers=("bat",)))


def test_attacks_are_measured_on_some_examples_the_same_every_time(photos):
    context = run(photos / "a", config(photos, eval__examples=2))
    some = data.varied(context, "test_iid")
    assert len(some.label) == 2
    np.testing.assert_array_equal(some.image[:], data.varied(context, "test_iid").image[:])
    everything = run(photos / "b", config(photos, eval__examples=0))
    assert len(data.varied(everything, "test_iid").label) == 3


def test_a_folder_that_changes_is_another(photos):
    c = config(photos)
    before = survey(c.data).identity
    assert survey(c.data).identity == before
    Image.new("RGB", (9, 9)).save(photos / "photos" / "cat" / "new.png")
    after = survey(c.data).identity
    (photos / "photos" / "cat" / "new.png").unlink()
    assert after != before == survey(c.data).identity


def test_arrays_that_are_handed_over_are_known_by_what_is_in_them(photos):
    rng = np.random.default_rng(1)
    image, label = rng.integers(0, 256, (12, 8, 8, 3), np.uint8), np.arange(12) % 3
    source = from_arrays(train=(image, label))
    changed = image.copy()
    changed[3, 2, 1, 0] ^= 1
    c = config(photos)
    identity, same, other = (
        survey(c.data, from_arrays(train=(images, label))).identity
        for images in (image, image.copy(), changed)
    )
    assert identity == same != other
    context = run(photos / "a", c, source)
    splits = [data.split(context, name).image[:] for name in ("train", "val_iid", "test_iid")]
    assert sorted(b"".join(images.tobytes() for images in splits)) == sorted(image.tobytes())


def test_a_damaged_list_of_files_is_named(photos):
    context = run(photos / "a", config(photos, data__decoded_gigabytes=0.0))
    path = photos / "a" / "data" / "train_image.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(UserError, match=r"train_image.json: cannot be read \(it is no JSON"):
        data.split(context, "train")
    path.write_text(json.dumps({"kind": "pickle", "form": {}}))
    with pytest.raises(UserError, match="train_image.json: cannot be read as a list of images"):
        data.split(context, "train")


def test_training_on_files_is_training_on_arrays(photos):
    """Radii go by the example's index, images are read where they are asked for."""
    made = []
    for name, gigabytes in (("a", 2.0), ("b", 0.0)):
        fields = {"data__decoded_gigabytes": gigabytes, "data__unlabelled": str(photos / "loose")}
        context = run(photos / name, config(photos, **fields))
        directory = context.workdir / "train" / "adv-0"
        directory.mkdir(parents=True)
        train.run(context, directory, "adv", 0)
        files = ("classifier.npz", "epsilon.npy", "history.json")
        made.append({file: (directory / file).read_bytes() for file in files})
    assert made[0] == made[1]
