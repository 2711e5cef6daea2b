"""Trees of arrays on disk.

What is saved comes back, and whatever else lies there is refused in one line.
"""

import io
import pickle
import zipfile

import jax
import numpy as np
import pytest
from etils import epath

from natra_jax import trees
from natra_jax.types import UserError

TREE = {
    "layers": [
        {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)},
        {"kernel": np.ones((2,), np.int32)},
    ],
    "bias": np.float32(0.5),
}
LIKE = jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), np.asarray(x).dtype), TREE)


@pytest.fixture
def path(tmp_path):
    return epath.Path(tmp_path) / "params.npz"


def refused(path, match, like=LIKE):
    with pytest.raises(UserError, match=match) as error:
        trees.load(path, like)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def arrays():
    return {
        "layers/0/kernel": TREE["layers"][0]["kernel"],
        "layers/1/kernel": TREE["layers"][1]["kernel"],
        "bias": TREE["bias"],
    }


def test_what_is_saved_comes_back_under_readable_names(path):
    trees.save(path, TREE)
    with path.open("rb") as file, np.load(file) as stored:
        assert set(stored.files) == set(arrays())
    loaded = trees.load(path, LIKE)
    assert jax.tree.structure(loaded) == jax.tree.structure(TREE)
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(TREE), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_missing_and_extra_arrays_are_named(path):
    trees.save(path, {"layers": TREE["layers"]})
    refused(path, "other arrays than expected, bias for one")
    trees.save(path, TREE | {"extra": np.zeros(2)})
    refused(path, "other arrays than expected, extra for one")


@pytest.mark.parametrize("kernel", [np.zeros((3, 2), np.float32), np.zeros((2, 3), np.float64)])
def test_other_shapes_and_types_are_named(path, kernel):
    trees.save(path, {"layers": [{"kernel": kernel}, TREE["layers"][1]], "bias": TREE["bias"]})
    refused(path, r"layers/0/kernel is \(.*, expected \(2, 3\) float32")


class Bomb:
    """What a pickle would run when read."""

    def __reduce__(self):
        return (pytest.fail, ("the file was unpickled",))


def test_no_advice_of_numpys_is_passed_on(path):
    """It would say how to run what is in a file that nobody vouches for."""
    said = "cannot be read as an .npz of arrays .it is no zip archive, as an .npz file is"
    for content in (bytes(500), b"", b"\x93NUMPY\1\0"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=said):
            trees.read(path)
    np.savez(path, a=np.array([None]))
    with pytest.raises(UserError, match="it holds objects of Python, which are not read.$"):
        trees.read(path)


def test_pickles_are_not_read(path):
    path.write_bytes(pickle.dumps(Bomb()))
    refused(path, "cannot be read")


def test_arrays_of_objects_are_not_read(path):
    with path.open("wb") as file:
        np.savez(file, **(arrays() | {"bias": np.array([Bomb()], dtype=object)}))
    refused(path, "cannot be read")


def test_a_missing_file_says_so(path):
    refused(path, "cannot be read.*No such file")


@pytest.mark.parametrize("kept", [0, 30, 0.5, 0.9])
def test_a_file_cut_off_is_refused(path, kept):
    trees.save(path, TREE)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept if kept > 1 else kept * len(whole))])
    refused(path, "cannot be read")


def test_a_flipped_byte_is_refused(path):
    trees.save(path, TREE)
    whole = path.read_bytes()
    place = whole.index(TREE["layers"][0]["kernel"].tobytes()) + 4
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    refused(path, "cannot be read")


def test_a_single_array_in_place_of_an_npz_is_refused(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    refused(path, "cannot be read")


def test_an_archive_with_something_else_in_it_is_refused(path):
    members = {name: io.BytesIO() for name in arrays()}
    for name, array in arrays().items():
        np.save(members[name], array)
    with zipfile.ZipFile(str(path), "w") as archive:
        for name, member in members.items():
            archive.writestr(f"{name}.npy", b"no array" if name == "bias" else member.getvalue())
    refused(path, "bias|cannot be read")


def test_what_unpacks_to_far_more_than_the_file_is_refused_before_it_is_unpacked(path):
    trees.save(path, {"bias": np.zeros(9, np.float32)})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2") + 24  # the size that the directory says
    data[at : at + 4] = (2**30).to_bytes(4, "little")
    path.write_bytes(data)
    refused(path, "unpacks to 1073741824 bytes")


def test_an_archive_packed_by_lzma_is_refused_before_it_is_unpacked(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("bias.npy", bytes(1000))
    refused(path, "packed otherwise than NumPy does")


@pytest.mark.parametrize("shape", ["9" * 30, "9" * 14, "-1", "((((" * 90, "1" + ",1" * 70])
def test_a_header_that_numpy_trips_over_is_one_line(path, shape):
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape},)}}".encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "bias.npy", b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + bytes(4)
        )
    refused(path, "cannot be read as an .npz of arrays")
