"""Data sets prepared by TensorFlow Datasets, read without TensorFlow.

Images, labels of every kind, splits, and what is wrong in one line.
"""

import json
import os
import pickle
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow_datasets as tfds
from ml_collections import ConfigDict

from natra_jax.data import descriptions, prepared, reopen
from natra_jax.data.importing import IMPORTERS
from natra_jax.data.survey import survey
from natra_jax.types import UserError
from tests.data.photos import classes
from tests.data.prepared_sets import faces, prepare
from tests.data.test_source_folder import SETTINGS, examples, shades

COUNTS = {"train": 40, "validation": 15, "test": 20}


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Where the data set faces is, and its rows."""
    root = tmp_path_factory.mktemp("prepared")
    return root, faces(root / "faces" / "1.0.0", COUNTS)


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    """Prepare a data set with the class label `label`, train and test only, shown in turn.

    There are 4 cats and dogs each in test, and no elk anywhere.
    """
    root = tmp_path_factory.mktemp("prepared")
    features = {"label": tfds.features.ClassLabel(names=["cat", "dog", "elk"]), "coarse": np.int64}
    rows = {
        split: [{"label": i % 2, "coarse": 7 * (i % 3)} for i in range(n)]
        for split, n in {"train": 20, "test": 8}.items()
    }
    prepare(root / "animals" / "1.0.0", features, rows, shards=3)
    return root


def load(root, name="faces", **changed):
    return prepared.load(name=name, path=str(root), **SETTINGS | changed)


def refused(root, name="faces", **changed):
    with pytest.raises(UserError) as error:
        load(root, name, **changed)
    assert "\n" not in str(error.value)
    return str(error.value)


def labelled(rows, label_of, first=0):
    """[(shade, label)] of rows whose label is known."""
    return [
        (first + i, label) for i, row in enumerate(rows) if (label := label_of(row)) is not None
    ]


def test_a_class_label_is_the_label_and_its_classes_have_their_names(animals):
    source = load(animals, "animals", min_per_class=1)
    assert source.classes == ("cat", "dog")
    assert examples(source.splits["test_iid"]) == [(20 + i, i % 2) for i in range(8)]
    rest = examples(source.splits["train"]) + examples(source.splits["val_iid"])
    assert (
        sorted(rest) == [(i, i % 2) for i in range(20)] and len(source.splits["val_iid"].label) == 2
    )
    assert (
        source.splits["train"].image.shape[1:] == (4, 4, 3)
        and source.splits["train"].label.dtype == np.int32
    )


def test_tensorflow_is_not_needed(animals):
    load(animals, "animals", min_per_class=1).splits["train"].image[:]
    assert "tensorflow" not in sys.modules


def test_a_class_that_nothing_is_trained_on_is_a_mistake_unless_rare_ones_are_left_out(animals):
    assert refused(animals, "animals").startswith(
        f"{animals}/animals/1.0.0: class 'elk' has no image to train on: "
    )


def test_whole_numbers_are_labels_by_their_order(animals):
    source = load(animals, "animals", label="coarse")
    assert source.classes == ("0", "7", "14")
    assert examples(source.splits["test_iid"]) == [(20 + i, i % 3) for i in range(8)]


def test_an_attribute_is_a_label_of_two_classes(people):
    root, rows = people
    for label in ("Smiling", "smiling", "attributes/Smiling", " SMILING "):
        source = load(root, label=label)
        assert source.classes == ("not Smiling", "Smiling")
        assert examples(source.splits["train"]) == labelled(rows["train"], lambda row: int(row[1]))
        assert examples(source.splits["val_iid"]) == labelled(
            rows["validation"], lambda row: int(row[1]), 40
        )
        assert examples(source.splits["test_iid"]) == labelled(
            rows["test"], lambda row: int(row[1]), 55
        )


def test_several_attributes_are_labels_of_all_their_combinations(people):
    root, rows = people
    source = load(root, label="Smiling, male")
    assert source.classes == (
        "not Smiling, not Male",
        "not Smiling, Male",
        "Smiling, not Male",
        "Smiling, Male",
    )
    assert examples(source.splits["test_iid"]) == labelled(
        rows["test"], lambda row: 2 * row[1] + row[2], 55
    )
    for example, label in examples(load(root, label="Male,Eyeglasses,Smiling").splits["train"]):
        _, smiling, male, glasses = rows["train"][example]
        assert label == 4 * male + 2 * glasses + smiling


def test_combinations_that_training_lacks_are_a_mistake_or_left_out_everywhere(tmp_path):
    # of Male and Smiling together there is none in train, and one in test
    rows = {
        "train": [(a, b) for a, b in ((0, 0), (0, 1), (1, 0)) for _ in range(4)],
        "test": [(0, 0), (1, 1), (1, 0)],
    }
    named = {
        split: [{"Male": bool(a), "Smiling": bool(b)} for a, b in of_split]
        for split, of_split in rows.items()
    }
    prepare(tmp_path / "pairs" / "1.0.0", {"Male": np.bool_, "Smiling": np.bool_}, named)
    assert refused(tmp_path, "pairs", label="Male,Smiling").startswith(
        f"{tmp_path}/pairs/1.0.0: train has no image of 'Male, Smiling', and of 1 such in all: "
        "leave them out with data.min_per_class=1"
    )
    source = load(tmp_path, "pairs", label="Male,Smiling", min_per_class=1)
    assert source.classes == ("not Male, not Smiling", "not Male, Smiling", "Male, not Smiling")
    assert examples(source.splits["test_iid"]) == [(12, 0), (14, 2)]


def test_identities_are_numbered_anew_and_who_is_not_known_is_left_out(people):
    root, rows = people
    source = load(root, label="identity")
    assert source.classes == ("0", "1", "2", "3")
    assert -1 in {row[0] for row in rows["train"]}
    assert examples(source.splits["train"]) == labelled(
        rows["train"], lambda row: row[0] if row[0] >= 0 else None
    )


def test_people_who_are_in_one_split_alone_need_splits_of_our_own(tmp_path):
    own = {
        split: [{"identity": who} for who in range(first, first + 3) for _ in range(5)]
        for split, first in (("train", 10), ("test", 20))
    }
    prepare(tmp_path / "people" / "1.0.0", {"identity": np.int64}, own)
    line = refused(tmp_path, "people", label="identity")
    assert line.startswith(
        f"{tmp_path}/people/1.0.0: train has no image of 'identity 20', and of 3 such in all: "
    )
    assert "data.own_splits=False" in line
    assert "no image of test has a label that is trained on" in refused(
        tmp_path, "people", label="identity", min_per_class=1
    )
    source = load(tmp_path, "people", label="identity", own_splits=False)
    assert source.classes == ("10", "11", "12", "20", "21", "22")
    assert [
        np.bincount(source.splits[name].label).tolist() for name in ("train", "val_iid", "test_iid")
    ] == [[3] * 6, [1] * 6, [1] * 6]
    expected = [(i, i // 5) for i in range(30)]
    assert sorted(sum((examples(split) for split in source.splits.values()), [])) == expected


def test_rare_labels_are_left_out_of_all_splits(people):
    root, rows = people
    counts = np.bincount([row[0] for row in rows["train"] if row[0] >= 0])
    least = int(np.sort(counts)[1])
    source = load(root, label="identity", min_per_class=least)
    kept = [who for who in range(4) if counts[who] >= least]
    assert source.classes == tuple(map(str, kept)) and len(kept) < 4
    assert examples(source.splits["test_iid"]) == labelled(
        rows["test"], lambda row: kept.index(row[0]) if row[0] in kept else None, 55
    )


def test_images_without_labels_are_another_split_or_a_folder(tmp_path):
    label = {"label": tfds.features.ClassLabel(names=["a", "b"])}
    rows = {
        split: [{"label": i % 2} for i in range(6)]
        for split in ("train", "validation", "test", "extra")
    }
    prepare(tmp_path / "set" / "1.0.0", label, rows)
    assert shades(load(tmp_path, "set", unlabelled="extra").unlabelled) == list(range(18, 24))
    source = load(tmp_path, "set", unlabelled="extra", own_splits=False)
    assert sorted(shades(source.unlabelled)) == list(range(18, 24))
    assert sorted(sum((shades(split.image) for split in source.splits.values()), [])) == list(
        range(18)
    )
    classes(tmp_path / "photos", {"x": 2}, first=50)
    assert shades(load(tmp_path, "set", unlabelled=str(tmp_path / "photos")).unlabelled) == [50, 51]
    assert refused(tmp_path, "set", unlabelled="test").startswith(
        "config field data.unlabelled is 'test': that split is used with its labels"
    )


def test_images_survive_pickling_and_json_and_are_read_by_several_threads(people):
    root, _ = people
    image = load(root, label="Male", own_splits=False).splits["train"].image
    whole = image[:]
    for again in (
        pickle.loads(pickle.dumps(image)),
        reopen(json.loads(json.dumps(image.description()))),
        image.select(np.arange(len(image))),
    ):
        np.testing.assert_array_equal(again[:], whole)
    assert len(pickle.dumps(image)) < 3000
    last = load(root, label="Male").splits["train"].image
    np.testing.assert_array_equal(last[np.array([-1, 0])], last[[39, 0]])
    fresh = pickle.loads(pickle.dumps(image))
    with ThreadPoolExecutor(4) as threads:
        for i, row in enumerate(threads.map(lambda i: fresh[i], range(len(image)))):
            np.testing.assert_array_equal(row, whole[i])


@pytest.mark.parametrize(
    "name, command",
    [
        ("celeba", "celeba --source="),
        ("lsun/cat", "lsun --source="),
        ("folder", "folder --name=folder --source="),
        ("photos", "folder --name=photos --source="),
        ("photos:9.9.9", "folder --name=photos --source="),
        ("P", "folder --name=NAME --source="),
        ("", "folder --name=NAME --source="),
        ("../up", "folder --name=NAME --source="),
    ],
)
def test_a_data_set_that_is_not_there_is_answered_with_a_command_that_there_is(
    name, command, tmp_path
):
    line = refused(tmp_path, name)
    advised = re.findall(r"python -m natra_jax[.]data import (\S+)", line)
    assert f"python -m natra_jax.data import {command}" in line and advised
    assert all(kind in IMPORTERS or kind == "tfds:NAME" for kind in advised)


@pytest.mark.parametrize("name", ["animals:9.9.9", "animals/9.9.9", "animals/small"])
def test_a_version_that_is_not_there_is_answered_with_those_that_are(name, animals):
    assert refused(animals, name) == (
        f"config field data.name is 'tfds:{name}': {animals}/animals has no such version: "
        "set it to tfds:animals, or one of tfds:animals/1.0.0"
    )


def test_the_newest_version_that_is_whole_is_read(tmp_path):
    label = {"label": tfds.features.ClassLabel(names=["a", "b"])}
    for i, version in enumerate(("1.9.0", "1.10.0")):
        prepare(
            tmp_path / "set" / version,
            label,
            {"train": [{"label": j % 2} for j in range(6 + 2 * i)]},
        )
    (tmp_path / "set" / "2.0.0").mkdir()
    (tmp_path / "set" / "2.0.0" / "features.json").write_text("{}")
    assert prepared.find(str(tmp_path), "set") == tmp_path / "set" / "1.10.0"
    for name, count in {"set": 8, "set/1.9.0": 6}.items():
        section = ConfigDict({"name": f"tfds:{name}", "path": str(tmp_path), "unlabelled": ""})
        assert survey(section).count == count
    shutil.copytree(tmp_path / "set", tmp_path / "sets" / "one")
    assert prepared.find(str(tmp_path), "sets") == tmp_path / "sets" / "one" / "1.10.0"
    shutil.copytree(tmp_path / "set", tmp_path / "sets" / "two")
    with pytest.raises(
        UserError,
        match=f"^{tmp_path}/sets: has several configurations: "
        "set data.name to one of tfds:sets/one, tfds:sets/two$",
    ):
        prepared.find(str(tmp_path), "sets")
    assert prepared.find(str(tmp_path), "sets/two") == tmp_path / "sets" / "two" / "1.10.0"


@pytest.mark.parametrize(
    "label,said",
    [
        (
            "",
            "the data set has no 'label' that can be a label "
            "(valid: Eyeglasses, Male, Smiling, identity)",
        ),
        ("Smilling", "the data set has no 'Smilling' that can be a label (did you mean Smiling?)"),
        ("glasses", "the data set has no 'glasses' that can be a label (did you mean Eyeglasses?)"),
        ("filename", "the data set has no 'filename' that can be a label (valid: "),
        ("Male,identity", "of several features each must be yes or no, but identity is a number"),
        ("Male,male", "it must name at most 16 attributes, none twice"),
        ("Male,", "the data set has no '' that can be a label (valid: "),
    ],
)
def test_a_wrong_label_is_answered_with_the_names_there_are(people, label, said):
    line = refused(people[0], label=label)
    assert line.startswith(f"config field data.label is {label!r}: {said}")


def test_a_name_of_two_features_has_to_be_written_out(tmp_path):
    rows = {"train": [{"old": {"sex": i % 2}, "new": {"sex": i % 3 == 0}} for i in range(12)]}
    prepare(tmp_path / "set" / "1.0.0", {"old": {"sex": np.int64}, "new": {"sex": np.bool_}}, rows)
    assert load(tmp_path, "set", label="old/sex").classes == ("0", "1")
    assert load(tmp_path, "set", label="new/sex").classes == ("not sex", "sex")
    assert (
        refused(tmp_path, "set", label="sex")
        == "config field data.label is 'sex': 'sex' may be new/sex or old/sex: write one of these"
    )


def test_wrong_paths_are_answered_with_the_command_that_makes_them_right(tmp_path, people):
    of_photos = "folder --name={}"
    for path, name, command in (
        (tmp_path, "faces", of_photos),
        ("", "faces", of_photos),
        (people[0], "celeba", "celeba"),
        (people[0], "x" * 300, of_photos),
        ("x" * 300, "faces", of_photos),
    ):
        line = refused(path, name)
        assert (
            line.startswith(f"config field data.path is {str(path)!r}: ")
            and f"python -m natra_jax.data import {command.format(name)} --source=" in line
        )
    (tmp_path / "faces" / "1.0.0").mkdir(parents=True)
    assert refused(tmp_path).startswith(f"{tmp_path}/faces: holds no version that is whole ")


def copied(people, tmp_path):
    shutil.copytree(people[0] / "faces", tmp_path / "faces")
    return tmp_path / "faces" / "1.0.0"


@pytest.mark.parametrize(
    "file,content,said",
    [
        ("dataset_info.json", "{", "{}/dataset_info.json: cannot be read ("),
        ("features.json", '{"featuresDict": 3}', "{}: cannot be read ("),
        ("features.json", "[" * 100_000, "{}/features.json: cannot be read ("),
        ("dataset_info.json", "{}", "{}/dataset_info.json: cannot be read (Object missing"),
        ("dataset_info.json", b"\xff\xfe", "{}/dataset_info.json: cannot be read ("),
    ],
)
def test_damaged_descriptions_are_one_line(people, tmp_path, file, content, said):
    directory = copied(people, tmp_path)
    (directory / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert refused(tmp_path, label="Male").startswith(said.format(directory))


HARM = "harm.Feature"
OWN = "tensorflow_datasets.core.features."
PROTO = {"pythonClassName": HARM, "jsonFeature": {"json": "{}"}}
LEGACY = {"type": HARM, "content": {}}
# Each makes TensorFlow Datasets import the module harm.
NAMES_A_CLASS = {
    "as the whole": PROTO,
    "as the whole, as before": LEGACY,
    "in a dictionary": {
        "pythonClassName": OWN + "features_dict.FeaturesDict",
        "featuresDict": {"features": {"image": PROTO}},
    },
    "in a dictionary, spelt as in the protocol": {
        "python_class_name": OWN + "features_dict.FeaturesDict",
        "features_dict": {"features": {"image": {"python_class_name": HARM, "text": {}}}},
    },
    "in a sequence": {
        "pythonClassName": OWN + "sequence_feature.Sequence",
        "sequence": {"feature": PROTO},
    },
    "in a data set": {
        "pythonClassName": OWN + "dataset_feature.Dataset",
        "sequence": {"feature": PROTO},
    },
    "in a dictionary as before": {
        "type": OWN + "features_dict.FeaturesDict",
        "content": {"image": LEGACY},
    },
    "in text that is JSON": {
        "pythonClassName": OWN + "features_dict.FeaturesDict",
        "jsonFeature": {"json": json.dumps({"image": LEGACY})},
    },
    "in text that is JSON of a sequence": {
        "pythonClassName": OWN + "sequence_feature.Sequence",
        "json_feature": {"json": json.dumps({"length": None, "feature": LEGACY})},
    },
    "in text that is a message": {
        "type": OWN + "features_dict.FeaturesDict",
        "proto_cls": "tensorflow_datasets.FeaturesDict",
        "content": json.dumps({"features": {"image": PROTO}}),
    },
    "in text in text": {
        "pythonClassName": OWN + "features_dict.FeaturesDict",
        "jsonFeature": {
            "json": json.dumps(
                {
                    "a": {
                        "type": OWN + "sequence_feature.Sequence",
                        "proto_cls": "tensorflow_datasets.Sequence",
                        "content": json.dumps({"feature": PROTO}),
                    }
                }
            )
        },
    },
}


@pytest.fixture
def harm(tmp_path, monkeypatch):
    """The file that the module harm, and a builder beside the data, write when they are run."""
    marker = tmp_path / "was-run"
    (tmp_path / "harm.py").write_text(f"open({str(marker)!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield marker
    sys.modules.pop("harm", None)


@pytest.mark.parametrize("file", ["features.json", "dataset_info.json"])
@pytest.mark.parametrize("place", NAMES_A_CLASS)
def test_no_module_is_imported_because_a_file_names_it(people, tmp_path, harm, place, file):
    directory, content = copied(people, tmp_path), NAMES_A_CLASS[place]
    if file == "dataset_info.json":
        content = json.loads((directory / file).read_text()) | {"features": content}
    (directory / file).write_text(json.dumps(content))
    assert refused(tmp_path).startswith(f"{directory}/{file}: names the class 'harm.Feature', ")
    assert not harm.exists() and "harm" not in sys.modules


def test_the_library_has_no_features_but_those_that_may_be_named():
    for name in tfds.features.__all__:
        getattr(tfds.features, name)
    found = {n for n in tfds.features.FeatureConnector._registered_features if n.startswith(OWN)}
    assert found - {OWN + "top_level_feature.TopLevelFeature"} == descriptions.CONNECTORS


def test_a_builder_beside_the_data_is_not_run(people, tmp_path, harm):
    directory = copied(people, tmp_path)
    for folder in (tmp_path, directory.parent, directory):
        for name in ("harm", "faces", "faces_dataset_builder", "__init__"):
            (folder / f"{name}.py").write_text((tmp_path / "harm.py").read_text())
    info = json.loads((directory / "dataset_info.json").read_text())
    changed = {"moduleName": "harm", "configName": "harm", "releaseNotes": {"1.0.0": "harm"}}
    (directory / "dataset_info.json").write_text(json.dumps(info | changed))
    assert load(tmp_path, label="Male").classes == ("not Male", "Male")
    assert not harm.exists()


def _first_split(**changed):
    def change(info):
        info["splits"][0] |= changed

    return change


def _image(form, content):
    return {"type": OWN + "features_dict.FeaturesDict", "content": {"image": {
        "type": OWN + form, "content": content}}}  # fmt: skip


@pytest.mark.parametrize(
    "change,said",
    [
        (_first_split(filepathTemplate="../{SPLIT}"), "has '../{SPLIT}' for names of files"),
        (_first_split(filepath_template="/etc/{SPLIT}"), "has '/etc/{SPLIT}' for names of files"),
        (_first_split(filepathTemplate="{SPLIT:>999999999}"), "has '{SPLIT:>999999999}' for "),
        (_first_split(filepathTemplate="{SPLIT.__class__}"), "has '{SPLIT.__class__}' for names"),
        (_first_split(filepathTemplate="\x1b[31m"), "has '\\x1b[31m' for names of files"),
        (_first_split(name="../train"), "has the split '../train', which leads out of "),
        (lambda info: info.update(name="../../faces"), "has the name '../../faces', which leads"),
    ],
)
def test_names_of_files_cannot_lead_out(people, tmp_path, change, said):
    directory = copied(people, tmp_path)
    path = directory / "dataset_info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))
    assert refused(tmp_path, label="Male").startswith(f"{path}: {said}")


@pytest.mark.parametrize(
    "content,said",
    [
        (_image("class_label_feature.ClassLabel", {"num_classes": 10**12}), "has 1000000000000 "),
        (_image("class_label_feature.ClassLabel", {"num_classes": "9" * 400}), "has '99999"),
        (_image("class_label_feature.ClassLabel", {"num_classes": 10**400}), "has 10000000000"),
        (_image("class_label_feature.ClassLabel", {"names_file": "/etc/passwd"}), "names the file"),
        (_image("labeled_image.LabeledImage", {"labels": "/etc/passwd"}), "names the file '/etc/"),
    ],
)
def test_classes_are_not_counted_nor_read_elsewhere(people, tmp_path, content, said):
    path = copied(people, tmp_path) / "features.json"
    path.write_text(json.dumps(content))
    assert refused(tmp_path, label="Male").startswith(f"{path}: {said}")


@pytest.mark.parametrize(
    "lengths,said",
    [
        (
            [str(10**15), "20"],
            "split train is said to have 1000000000000020 records, but its ",
        ),
        (["-1", "41"], "split train has 2 files, the shortest of -1 records, which cannot be: "),
        (
            ["0"] * 100_000 + ["1"],
            "split train has 100001 files, the shortest of 0 records, which cannot",
        ),
        (["1", "1", "1"], "the file faces-train.array_record-00000-of-00003 of split train is "),
    ],
)
def test_counts_of_records_that_cannot_be(people, tmp_path, lengths, said):
    directory = copied(people, tmp_path)
    path = directory / "dataset_info.json"
    info = json.loads(path.read_text())
    next(s for s in info["splits"] if s["name"] == "train")["shardLengths"] = lengths
    path.write_text(json.dumps(info))
    assert refused(tmp_path, label="Male").startswith(f"{directory}: {said}")


DESCRIBED = {
    "no name": (lambda info: info.pop("name"), "Object missing required field name"),
    "name null": (lambda info: info.update(name=None), "name: Expected str, got null"),
    "name empty": (lambda info: info.update(name=""), "name: Expected str of length >= 1"),
    "no splits": (lambda info: info.pop("splits"), "Object missing required field splits"),
    "splits empty": (lambda info: info.update(splits=[]), "splits: Expected array of length >= 1"),
    "a split of no name": (lambda info: info["splits"][0].pop("name"), "splits[0]: Object miss"),
}
LENGTHS = {
    "none": (None, "splits[0]: it has no list shardLengths"),
    "no files": ([], "splits[0]: it has no records, by its shardLengths"),
    "no records": (["0"], "splits[0]: it has no records, by its shardLengths"),
    "a fraction": ([1.5], "splits[0]: it has 1.5 among its shardLengths"),
    "a truth": ([True], "splits[0]: it has True among its shardLengths"),
    "a text": (["x"], "splits[0]: it has 'x' among its shardLengths"),
}


def changed(directory, change, name="dataset_info.json"):
    content = json.loads((directory / name).read_text())
    change(content)
    (directory / name).write_text(json.dumps(content))


@pytest.mark.parametrize("what", DESCRIBED)
def test_a_description_without_what_it_needs_says_what(people, tmp_path, what):
    change, said = DESCRIBED[what]
    directory = copied(people, tmp_path)
    changed(directory, change)
    assert refused(tmp_path, label="Male").startswith(
        f"{directory}/dataset_info.json: cannot be read ({said}"
    )


@pytest.mark.parametrize("what", LENGTHS)
def test_lengths_that_are_none_are_said(people, tmp_path, what):
    lengths, said = LENGTHS[what]
    directory = copied(people, tmp_path)
    changed(directory, lambda info: info["splits"][0].update(shardLengths=lengths))
    assert refused(tmp_path, label="Male") == (
        f"{directory}/dataset_info.json: cannot be read ({said}): prepare the data set again"
    )


def test_files_of_more_records_than_is_said_are_not_read_in_part(people, tmp_path):
    directory = copied(people, tmp_path)
    changed(directory, lambda info: _split(info, "train").update(shardLengths=["20", "19"]))
    assert refused(tmp_path, label="Male") == (
        f"{directory}: the file faces-train.array_record-00001-of-00002 of split train "
        "is said to have 19 records, and has 20: prepare the data set again"
    )


def _split(info, name):
    return next(split for split in info["splits"] if split["name"] == name)


@pytest.mark.parametrize("count", ["3", "1", "-2", "0", None, 2.5])
def test_counts_of_classes_have_to_be_those_of_the_names(tmp_path, count):
    features = {"label": tfds.features.ClassLabel(names=["a", "b"])}
    rows = {"train": [{"label": i % 2} for i in range(24)]}
    directory = prepare(tmp_path / "set" / "1.0.0", features, rows)

    def change(content):
        label = content["featuresDict"]["features"]["label"]
        assert label["classLabel"] == {"numClasses": "2"}
        label["classLabel"]["numClasses"] = count

    changed(directory, change, "features.json")
    assert refused(tmp_path, "set") == (
        f"{directory}/label.labels.txt: names 2 classes, and features.json has {count or 0!r} of "
        "them: prepare the data set again"
    )


def test_a_class_that_is_named_twice_is_said(tmp_path):
    features = {"a/b": {"label": tfds.features.ClassLabel(names=["cat", "dog"])}}
    rows = {"train": [{"a/b": {"label": i % 2}} for i in range(24)]}
    directory = prepare(tmp_path / "set" / "1.0.0", features, rows)
    (path,) = directory.glob("*.labels.txt")
    path.write_text("cat\ncat\n")
    assert refused(tmp_path, "set") == f"{path}: names 'cat' twice: name each class once"


def test_a_type_that_is_unknown_is_said(people, tmp_path):
    directory = copied(people, tmp_path)
    path = directory / "features.json"
    path.write_text(path.read_text().replace('"uint8"', '"os.system"'))
    assert refused(tmp_path, label="Male") == (
        f"{path}: has 'os.system' for the type of a feature's values: it is not loaded"
    )


@pytest.mark.parametrize("template", ["a" * 5000, "{SPLIT}/" * 300])
def test_names_that_no_file_can_have_are_of_no_file(people, tmp_path, template):
    directory = copied(people, tmp_path)
    path = directory / "dataset_info.json"
    info = json.loads(path.read_text())
    info["splits"][0]["filepathTemplate"] = template
    path.write_text(json.dumps(info))
    said = refused(tmp_path, label="Male")
    assert said.startswith(f"{directory}: the file ") and "is missing, or is no file" in said
    assert len(said) < 500


@pytest.mark.parametrize("file", ["identity.labels.txt", "dataset_info.json", "features.json"])
def test_files_that_are_too_large_are_not_read(people, tmp_path, file):
    path = copied(people, tmp_path) / file
    with path.open("ab") as f:
        f.truncate(1 << 40)
    assert refused(tmp_path, label="Male").startswith(f"{path}: ")


def test_pipes_are_not_read(people, tmp_path):
    directory = copied(people, tmp_path)
    os.mkfifo(directory / "identity.labels.txt")
    said = refused(tmp_path, label="Male")
    assert said.startswith(f"{directory}/identity.labels.txt: is a pipe")
    (directory / "identity.labels.txt").unlink()
    shard = directory / "faces-train.array_record-00001-of-00002"
    shard.unlink()
    os.mkfifo(shard)
    assert refused(tmp_path, label="Male").startswith(f"{directory}/{shard.name}: is a pipe")


def test_names_of_classes_and_attributes_steer_nothing(tmp_path):
    hostile = "hat\x1b[2J\u202e"
    features = {"label": tfds.features.ClassLabel(names=["a", "b"]), hostile: np.bool_}
    rows = {"train": [{"label": i % 2, hostile: i % 2 == 0} for i in range(24)]}
    directory = prepare(tmp_path / "set" / "1.0.0", features, rows)
    labels = "=cat\x1b[2J\r\ndog\u2028x é\n"
    (directory / "label.labels.txt").write_text(labels)
    assert load(tmp_path, "set").classes == (r"=cat\x1b[2J", r"dog\u2028x é")
    said = r"hat\x1b[2J\u202e"
    assert load(tmp_path, "set", label=hostile).classes == (f"not {said}", said)


@pytest.mark.parametrize("damage", ["removed", "empty", "half", "zeroed", "another"])
def test_damaged_records_are_one_line(people, tmp_path, damage):
    directory = copied(people, tmp_path)
    shard = directory / "faces-train.array_record-00001-of-00002"
    content = shard.read_bytes()
    if damage == "removed":
        shard.unlink()
    elif damage == "another":
        shutil.copy(directory / "faces-test.array_record-00000-of-00002", shard)
    else:
        middle = len(content) // 2
        shard.write_bytes(
            {"empty": b"", "half": content[:middle], "zeroed": bytes(len(content))}[damage]
        )
    said = {"removed": f"the file {shard.name} of split train is missing", "another": "record 30 "}
    assert refused(tmp_path, label="Male").startswith(
        f"{directory}: {said.get(damage, 'record 20 of train: ')}"
    )


def test_another_file_format_says_how_to_prepare_it(tmp_path):
    directory = prepare(
        tmp_path / "set" / "1.0.0", {"label": np.int64}, {"train": [{"label": 0}]}, 1, "tfrecord"
    )
    assert (
        refused(tmp_path, "set") == f"{directory}: its files are tfrecord: "
        "prepare it with download_and_prepare(file_format='array_record')"
    )


def test_a_data_set_without_train_or_without_images_is_said_so(tmp_path):
    directory = prepare(
        tmp_path / "set" / "1.0.0",
        {"label": np.int64},
        {"test": [{"label": i % 2} for i in range(6)]},
    )
    assert (
        refused(tmp_path, "set") == f"{directory}: has no split train, only test: "
        "set data.own_splits=False to draw one from these"
    )
    assert load(tmp_path, "set", own_splits=False).classes == ("0", "1")
    content = json.loads((directory / "features.json").read_text())
    features = content["featuresDict"]["features"]
    features["picture"] = features.pop("image")
    (directory / "features.json").write_text(json.dumps(content))
    assert (
        refused(tmp_path, "set", own_splits=False)
        == f"{directory}: has no feature 'image' of images, only label, picture"
    )
