"""Directions as files: read back whole, read and renamed by a person, refused where they are
damaged or another generator's.
"""

import json

import numpy as np
import pytest
from etils import epath

from natra_jax.latents.saved import load, save
from natra_jax.types import UserError
from tests.helpers import linear_generator, oblique_directions


@pytest.fixture
def saved(tmp_path):
    """Directions, and the directory that they were saved in."""
    found = oblique_directions(linear_generator(4, 5))._replace(
        useful=np.array([np.inf, 2.5, 1.0], np.float32), method="umap"
    )
    found.mask[0, 2] = False
    save(found, epath.Path(tmp_path))
    return found, epath.Path(tmp_path)


def test_saved_directions_come_back_whole(saved):
    found, directory = saved
    loaded = load(directory, "linear")
    for name in found._fields:
        expected = getattr(found, name)
        if isinstance(expected, np.ndarray):
            assert getattr(loaded, name).dtype == expected.dtype
            np.testing.assert_array_equal(getattr(loaded, name), expected)
        else:
            assert getattr(loaded, name) == expected


def test_a_person_can_read_and_rename_them(saved):
    found, directory = saved
    path = directory / "directions.json"
    readable = json.loads(path.read_text())
    assert readable["generator_fingerprint"] == "linear"
    assert readable["method"] == "umap"
    assert [d["number"] for d in readable["directions"]] == [0, 1, 2]
    assert [d["range"] for d in readable["directions"]] == ["1-1, 3-3", "2-3", "3-3"]
    assert [d["layers"] for d in readable["directions"]] == [[1, 3], [2, 3], [3]]
    assert [d["useful"] for d in readable["directions"]] == [None, 2.5, 1.0]
    np.testing.assert_allclose([d["sigma"] for d in readable["directions"]], found.sigma)
    readable["directions"][1]["name"] = "hue of the stroke"
    readable["directions"].reverse()  # which entry is which is said by its number
    path.write_text(json.dumps(readable))
    assert load(directory, "linear").names == ("direction 0", "hue of the stroke", "direction 2")


def test_directions_of_another_generator_are_refused(saved):
    with pytest.raises(UserError, match=r"belong to another generator \(linear, not other\)"):
        load(saved[1], "other")


def without(entry):
    def damage(directory):
        path = directory / "directions.json"
        readable = json.loads(path.read_text())
        del readable[entry]
        path.write_text(json.dumps(readable))

    return damage


class Bomb:
    """What a pickle would run when read."""

    def __reduce__(self):
        return (pytest.fail, ("the file was unpickled",))


def objects(directory):
    with (directory / "directions.npz").open("wb") as file:
        np.savez(
            file,
            **{
                name: np.array([Bomb()] * 3, object)
                for name in ("vectors", "sigma", "mean", "mask", "useful")
            },
        )


def fewer_names(directory):
    path = directory / "directions.json"
    readable = json.loads(path.read_text())
    readable["directions"].pop()
    path.write_text(json.dumps(readable))


def test_notes_are_for_people_alone(saved):
    directions, directory = saved
    save(directions, directory, ["UMAP of 5 codes has 3 for directions.dim, not 16"])
    assert json.loads((directory / "directions.json").read_text())["notes"][0].endswith("not 16")
    assert load(directory, "linear").names == directions.names


DAMAGES = {
    "no arrays": lambda directory: (directory / "directions.npz").unlink(),
    "no names": lambda directory: (directory / "directions.json").unlink(),
    "arrays cut off": lambda directory: (directory / "directions.npz").write_bytes(
        (directory / "directions.npz").read_bytes()[:300]
    ),
    "arrays empty": lambda directory: (directory / "directions.npz").write_bytes(b""),
    "names cut off": lambda directory: (directory / "directions.json").write_text(
        '{"generator_fingerprint": "linear", "dir'
    ),
    "names no object": lambda directory: (directory / "directions.json").write_text("[]"),
    "no fingerprint": without("generator_fingerprint"),
    "no directions": without("directions"),
    "a name fewer": fewer_names,
    "pickled objects": objects,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_directions_are_a_users_error_of_one_line(saved, damage):
    directory = saved[1]
    DAMAGES[damage](directory)
    with pytest.raises(UserError, match="run the directions stage again") as error:
        load(directory, "linear")
    assert str(directory) in str(error.value) and "\n" not in str(error.value)
