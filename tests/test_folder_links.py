"""Walks through folders are bounded, whatever links there are."""

import pytest
from etils import epath

from natra_jax import workdir
from natra_jax.data import folder
from natra_jax.data.importing import containers
from natra_jax.inputs import Inputs
from natra_jax.types import UserError
from tests.data import photos


def doubling(root, times=24):
    """Folders in which two links lead to the next one: 2 ** times ways to the last."""
    for i in range(times):
        (root / str(i)).mkdir(parents=True)
        for name in "ab":
            (root / str(i) / name).symlink_to(root / str(i + 1))
    photos.classes(root / str(times), {"cat": 1, "dog": 1})
    return root / "0"


def to_itself(root):
    photos.classes(root, {"cat": 1, "dog": 1})
    (root / "cat" / "up").symlink_to("..")
    return root


def to_itself_twice(root):
    for name in ("up", "above"):
        (to_itself(root) / "dog" / name).symlink_to(root)
        root.joinpath("cat", "up").unlink()
    return root


def deep(root):
    below = root / "cat"
    for _ in range(300):
        below = below / "x"
    below.mkdir(parents=True)
    photos.write(below / "1.png")
    photos.classes(root, {"dog": 1})
    return root


def opened(path):
    with containers.opened(path) as container:
        return list(container.members)


WALKS = {
    "listed": lambda path: folder.listed(str(path)),
    "classes": folder.list_classes,
    "known classes": lambda path: folder.list_classes(path, ["horse"]),
    "source": lambda path: folder.unlabelled_files(str(path)),
    "weights": lambda path: Inputs().sha256(path),
    "COMMIT": lambda path: workdir.commit(epath.Path(path), "0", {}),
    "importer": opened,
}


@pytest.mark.parametrize("made", [doubling, to_itself, to_itself_twice, deep])
@pytest.mark.parametrize("walk", WALKS)
def test_a_tree_of_links_ends_in_one_line(tmp_path, made, walk):
    root = made(tmp_path / "root")
    with pytest.raises(UserError) as error:
        WALKS[walk](root)
    assert "\n" not in str(error.value) and str(tmp_path)[:50] in str(error.value)


def test_a_folder_that_several_links_lead_to_is_read_for_each(tmp_path):
    photos.classes(tmp_path / "kept", {"cat": 2, "dog": 1})
    (tmp_path / "linked" / "more").mkdir(parents=True)
    for name in ("cat", "more/cat", "more/dog"):
        (tmp_path / "linked" / name).symlink_to(tmp_path / "kept" / name[-3:])
    assert len(folder.listed(str(tmp_path / "linked"))) == 5
    assert len(Inputs().sha256(tmp_path / "linked")) == 64
