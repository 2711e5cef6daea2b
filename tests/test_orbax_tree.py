"""Checkpoints of orbax's: what is wrong with one is told in a few words, and what to do."""

import errno
import os
import re
import shutil

import numpy as np
import pytest
from etils import epath

from natra_jax import orbax_tree
from natra_jax.files import MORE_OPEN_FILES
from natra_jax.types import UserError

NOISE = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)  # a file of its own
TREE = {"a": NOISE, "b": {"c": -NOISE}}
WHOLE = "put the whole checkpoint in its place, or name another"


@pytest.fixture
def checkpoint(tmp_path):
    orbax_tree.save(epath.Path(tmp_path / "tree"), TREE)
    return tmp_path / "tree"


def refused(path):
    with pytest.raises(UserError) as error:
        orbax_tree.stored(epath.Path(path))
        orbax_tree.load(epath.Path(path), TREE)
    said = str(error.value)
    assert "\n" not in said and "tensorstore" not in said and "driver" not in said
    assert len(said) < len(str(path)) + 180
    head = f"{path}: the checkpoint cannot be read ("
    assert said.startswith(head)
    return said.removeprefix(head)


def make_folder(path):
    path.unlink()
    path.mkdir()


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def noise(path):
    path.write_bytes(bytes(np.random.default_rng(0).integers(0, 256, path.stat().st_size, "u1")))


@pytest.mark.parametrize(
    "name, change, said",
    [
        ("manifest.ocdbt", os.remove, r"its array (a|b\.c) is missing"),
        ("manifest.ocdbt", make_folder, r"its array (a|b\.c) is missing"),
        ("manifest.ocdbt", cut, r"its file manifest\.ocdbt is cut off or was altered"),
        ("manifest.ocdbt", noise, r"its file manifest\.ocdbt is cut off or was altered"),
        ("_METADATA", os.remove, "a file of it is missing"),
        ("_METADATA", cut, "a file of it is not as it was written"),
        ("_METADATA", noise, "a file of it is not as it was written"),
        ("_METADATA", make_folder, "its file _METADATA: Is a directory"),
        ("d/*", os.remove, "its file [0-9a-f]{32} is missing"),
        ("d/*", cut, "its file [0-9a-f]{32} is cut off or was altered"),
        ("ocdbt.process_0/d/*", cut, r"its (file|array) \S+ is cut off or was altered"),
        ("ocdbt.process_0/d/*", noise, r"its (file|array) \S+ is cut off or was altered"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_that_is_not_whole_is_told_in_a_few_words(checkpoint, name, change, said):
    for path in checkpoint.glob(name):
        change(path)
    assert re.fullmatch(rf"{said}\): {WHOLE}", refused(checkpoint))


@pytest.mark.parametrize(
    "error, said, advice",
    [
        (
            OSError(errno.EMFILE, os.strerror(errno.EMFILE), "there/x"),
            "its file x: Too many open files",
            MORE_OPEN_FILES,
        ),
        (
            ValueError(
                'RESOURCE_EXHAUSTED: Error reading "a/.zarray" in OCDBT database at local file '
                '"/c/": Failed to open: "/c/d/9d": Too many open files [tensorstore_spec=...]'
            ),
            "its array a cannot be opened (Too many open files)",
            MORE_OPEN_FILES,
        ),
        (
            PermissionError(errno.EACCES, os.strerror(errno.EACCES), "there/x"),
            "its file x: Permission denied",
            "change its permissions",
        ),
        (
            ValueError('PERMISSION_DENIED: Error reading local file "/c/d/9d"'),
            "its file 9d may not be read",
            "change its permissions",
        ),
    ],
)
def test_what_keeps_a_whole_checkpoint_from_being_read_is_no_damage(error, said, advice):
    assert (orbax_tree.fault(error), orbax_tree.obstacle(error)) == (said, advice)
    try:
        raise UserError("it cannot be read") from error
    except UserError as told:
        assert (orbax_tree.fault(told), orbax_tree.obstacle(told)) == (said, advice)


def test_a_whole_checkpoint_is_read(checkpoint):
    shutil.move(checkpoint, checkpoint.with_name("moved"))
    found = orbax_tree.load(epath.Path(checkpoint.with_name("moved")), TREE)
    np.testing.assert_array_equal(found["b"]["c"], TREE["b"]["c"])
