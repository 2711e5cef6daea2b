"""Converted generators on disk: what is written is read back.

What is not whole, or not ours, is refused in one line.
"""

import json
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from etils import epath

from natra_jax import weights
from natra_jax.types import UserError
from natra_jax.weights import converted
from natra_jax.weights.families import convert
from natra_jax.weights.tensors import Checkpoint
from tests.weights import made


@pytest.fixture(scope="module")
def loaded():
    return convert(Checkpoint(made.dcgan()))


@pytest.fixture(scope="module")
def once(loaded, tmp_path_factory):
    directory = epath.Path(tmp_path_factory.mktemp("saved") / "dest")
    converted.save(directory, loaded, "net.pth")
    return directory


@pytest.fixture
def directory(once, tmp_path):
    return epath.Path(shutil.copytree(once, tmp_path / "copy"))


def test_what_is_saved_is_loaded(loaded, directory):
    again = weights.find(directory)
    assert again[:3] == loaded[:3] and again.notes == loaded.notes, (
        "and the same generator, since the same numbers give the same object"
    )
    assert jax.tree.structure(again.params) == jax.tree.structure(loaded.params)
    jax.tree.map(np.testing.assert_array_equal, again.params, loaded.params)
    generator, params = weights.load(str(directory), family="dcgan")
    assert generator is loaded.generator and converted.checksum(params) == converted.checksum(
        loaded.params
    )


def test_the_card_says_what_it_is(loaded, directory):
    card = json.loads((directory / "generator.json").read_text())
    assert (
        card["family"] == "dcgan"
        and card["source"] == "net.pth"
        and card["checksum"] == converted.checksum(loaded.params)
    )
    assert card["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(loaded.params))


def test_the_checksum_is_of_every_number(loaded):
    flat, structure = jax.tree.flatten(loaded.params)
    for i, leaf in enumerate(flat):
        other = np.array(leaf, order="C")
        other.reshape(-1)[-1] += 1
        assert converted.checksum(
            jax.tree.unflatten(structure, [*flat[:i], other, *flat[i + 1 :]])
        ) != converted.checksum(loaded.params)


def test_nothing_is_written_over(loaded, directory, tmp_path):
    (tmp_path / "file").write_text("mine")
    for taken in (directory, tmp_path / "file"):
        with pytest.raises(UserError, match="is there already: name a new directory"):
            converted.save(epath.Path(taken), loaded, "net.pth")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_is_found_out_before_anything_is_written(loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(
        converted.orbax_tree.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000)
    )
    with pytest.raises(
        UserError,
        match="a checkpoint needs 1 MB, and 0 MB are free: free some space, or choose another DEST",
    ):
        converted.save(epath.Path(tmp_path / "dest"), loaded, "net.pth")
    assert not (tmp_path / "dest").exists()


@pytest.mark.parametrize(
    "fault",
    [
        OSError(28, "No space left on device"),
        ValueError("RESOURCE_EXHAUSTED: in a\nthread"),
        KeyboardInterrupt(),
    ],
)
def test_nothing_is_left_of_what_could_not_be_written(loaded, tmp_path, monkeypatch, fault):
    def fail(directory, tree):
        directory.mkdir()
        (directory / "half").write_text("written")
        raise fault

    monkeypatch.setattr(converted.orbax_tree, "save", fail)
    with pytest.raises(
        KeyboardInterrupt if isinstance(fault, KeyboardInterrupt) else UserError
    ) as error:
        converted.save(epath.Path(tmp_path / "dest"), loaded, "net.pth")
    assert not (tmp_path / "dest").exists() and "\n" not in str(error.value)


def test_a_place_where_no_directory_can_be_is_refused(loaded, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="cannot be made"):
        converted.save(epath.Path(tmp_path / "file" / "dest"), loaded, "net.pth")


def change_card(directory, **fields):
    card = directory / "generator.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | fields))


WRONG = {
    "no card": (lambda d: (d / "generator.json").unlink(), "dest|copy"),
    "cut card": (
        lambda d: (d / "generator.json").write_text('{"family"'),
        "generator.json: cannot be read",
    ),
    "card of a list": (
        lambda d: (d / "generator.json").write_text("[]"),
        "generator.json: cannot be read",
    ),
    "another version": (lambda d: change_card(d, format=99), "of another version of natra_jax"),
    "unknown family": (lambda d: change_card(d, family="posix"), "of another version of natra_jax"),
    "foreign arguments": (
        lambda d: change_card(d, arguments={"cmd": "ls"}),
        "generator.json: .*cannot be made of these arguments",
    ),
    "other checksum": (lambda d: change_card(d, checksum="0" * 16), "not those that were written"),
    "no parameters": (lambda d: (d / "params").rmtree(), "cannot be read"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_damaged_directory_is_refused_in_one_line(directory, case):
    damage, said = WRONG[case]
    damage(directory)
    with pytest.raises(UserError, match=said) as error:
        weights.load(directory)
    assert str(error.value).startswith(str(directory)) and "\n" not in str(error.value)


def test_parameters_of_another_generator_are_refused(directory, tmp_path):
    other = convert(Checkpoint(made.dcgan(channels=(6, 5, 3))))
    converted.save(epath.Path(tmp_path / "other"), other, "other.pth")
    (directory / "params").rmtree()
    shutil.copytree(tmp_path / "other" / "params", directory / "params")
    with pytest.raises(UserError, match="another generator's weights"):
        weights.load(directory)


def test_the_family_asked_for_has_to_be_the_one_that_is_there(directory):
    with pytest.raises(UserError, match="is of the family dcgan, not progan"):
        weights.load(directory, family="progan")
