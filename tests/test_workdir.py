"""Tasks: their fingerprints, when one counts as done, what a crash leaves, whose a directory is."""

import json
import os
from contextlib import contextmanager

import pytest
from etils import epath
from hypothesis import given
from hypothesis import strategies as st

from natra_jax import workdir
from natra_jax.types import UserError
from tests.helpers import few_examples

MADE = workdir.fingerprint("task", {"steps": 3}, {"data": "0" * 16})
OTHER = workdir.fingerprint("task", {"steps": 4}, {"data": "0" * 16})


@pytest.fixture
def root(tmp_path):
    return epath.Path(tmp_path)


@pytest.fixture
def task(root):
    """A finished task with a file at its top and one below."""
    directory = root / "train" / "natra-0"
    workdir.begin(directory, MADE)
    (directory / "history.json").write_text("[1, 2]")
    (directory / "checkpoints").mkdir()
    (directory / "checkpoints" / "weights").write_bytes(b"0123")
    workdir.commit(directory, MADE, {"steps": 3, "widths": (8, 16)})
    return directory


names = st.text("abcde._", min_size=1, max_size=6)
values = st.one_of(
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=4),
    st.booleans(),
    st.tuples(st.integers(), st.integers()),
)


@few_examples
@given(
    fields=st.dictionaries(names, values, max_size=4),
    depends_on=st.dictionaries(names, st.text("0123456789abcdef", min_size=16, max_size=16)),
)
def test_a_fingerprint_depends_on_every_part_and_on_no_order(fields, depends_on):
    made = workdir.fingerprint("task", fields, depends_on)
    assert len(made) == 16 and int(made, 16) >= 0
    backwards = workdir.fingerprint(
        "task", dict(reversed(fields.items())), dict(reversed(depends_on.items()))
    )
    assert backwards == made
    others = [
        ("other", fields, depends_on),
        ("task", fields | {"new": 0}, depends_on),
        ("task", fields, depends_on | {"new": "0" * 16}),
    ]
    others += [("task", fields | {name: [value, 0]}, depends_on) for name, value in fields.items()]
    others += [("task", fields, depends_on | {name: "f" * 15 + "g"}) for name in depends_on]
    others += [
        ("task", {k: v for k, v in fields.items() if k != name}, depends_on) for name in fields
    ]
    assert len({made, *(workdir.fingerprint(*other) for other in others)}) == 1 + len(others)


def test_a_fingerprint_does_not_mix_up_fields_and_needs():
    assert workdir.fingerprint("task", {"a": "b"}, {}) != workdir.fingerprint(
        "task", {}, {"a": "b"}
    )


def test_a_committed_task_is_done_for_its_fingerprint_alone(task):
    assert workdir.is_done(task, MADE)
    assert not workdir.is_done(task, OTHER)
    assert not workdir.is_done(task.parent / "natra-1", MADE)


def test_commit_tells_sizes_sums_and_fields(task):
    told = json.loads((task / "COMMIT").read_text())
    assert told["fingerprint"] == MADE and told["fields"] == {"steps": 3, "widths": [8, 16]}
    assert set(told["files"]) == {"history.json", "checkpoints/weights"}
    digits = "1be2e452b46d7a0d9656bbb1f768e8248eba1b75baed65f5d99eafa948899a6a"  # sha256sum of 0123
    assert told["files"]["checkpoints/weights"] == {"size": 4, "sha256": digits}


@pytest.mark.parametrize("name", ["history.json", "checkpoints/weights", "COMMIT"])
def test_a_task_with_a_missing_file_is_not_done(task, name):
    (task / name).unlink()
    assert not workdir.is_done(task, MADE)


@pytest.mark.parametrize("content", [b"0124", b"01234", b"012", b""])
def test_a_task_with_an_altered_file_is_not_done(task, content):
    (task / "checkpoints" / "weights").write_bytes(content)
    assert not workdir.is_done(task, MADE)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '"done"', json.dumps({"fingerprint": MADE}), "\x00\x01"]
)
def test_a_task_with_a_damaged_commit_is_not_done(task, content):
    (task / "COMMIT").write_text(content)
    assert not workdir.is_done(task, MADE)


def test_a_task_whose_commit_is_no_text_is_not_done(task):
    (task / "COMMIT").write_bytes(b"\xff\xfe\xfd")
    assert not workdir.is_done(task, MADE)


def test_begin_clears_a_finished_task_whose_files_were_altered_since(task):
    (task / "checkpoints" / "weights").write_bytes(b"01234")
    workdir.begin(task, MADE)
    assert not (task / "history.json").exists() and not (task / "checkpoints").exists()
    assert not (task / "COMMIT").exists() and not workdir.is_done(task, MADE)
    workdir.commit(task, MADE, {})
    assert workdir.is_done(task, MADE)


def test_begin_for_another_fingerprint_clears_everything(task):
    workdir.begin(task, OTHER)
    assert (
        not (task / "history.json").exists()
        and not (task / "checkpoints").exists()
        and not (task / "COMMIT").exists()
    )
    assert not workdir.is_done(task, MADE) and not workdir.is_done(task, OTHER)


def test_begin_clears_what_nobody_signed(root):
    directory = root / "data"
    directory.mkdir()
    (directory / "leftover").write_text("whose?")
    workdir.begin(directory, MADE)
    assert not (directory / "leftover").exists()


def test_leftovers_of_a_killed_task_are_there_for_the_next_run(root):
    workdir.begin(root / "data", MADE)
    (root / "data" / "half").write_text("h")
    assert not workdir.is_done(root / "data", MADE)
    workdir.begin(root / "data", MADE)
    assert (root / "data" / "half").read_text() == "h"


def test_changes_are_told_by_name_with_old_and_new(task):
    assert workdir.changes(task, {"steps": 3, "widths": (8, 16)}) == []
    assert workdir.changes(task, {"steps": 4, "widths": (8, 32)}) == [
        "steps: 3 -> 4",
        "widths: [8, 16] -> [8, 32]",
    ]
    assert workdir.changes(task / "nowhere", {"steps": 4}) == []


class Killed(BaseException):
    pass


@contextmanager
def killed_while_replacing():
    """Runs its block up to the moment where a file is about to be replaced."""

    def die(*_):
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, "replace", die)
        yield


def test_write_replaces_a_file_whole_or_not_at_all(root):
    path = root / "records.jsonl"
    workdir.write(path, "old\n")
    workdir.write(path, "longer than before\n")
    assert path.read_text() == "longer than before\n" and [p.name for p in root.iterdir()] == [
        "records.jsonl"
    ]
    with killed_while_replacing():
        workdir.write(path, "new\n")
    assert path.read_text() == "longer than before\n"
    workdir.write(path, "new\n")
    assert path.read_text() == "new\n" and [p.name for p in root.iterdir()] == ["records.jsonl"]


def test_a_task_killed_in_its_commit_is_finished_by_the_next_run(root):
    workdir.begin(root / "data", MADE)
    (root / "data" / "array").write_text("a")
    with killed_while_replacing():
        workdir.commit(root / "data", MADE, {})
    assert not workdir.is_done(root / "data", MADE)
    workdir.begin(root / "data", MADE)
    workdir.commit(root / "data", MADE, {})
    assert workdir.is_done(root / "data", MADE)


def test_a_directory_is_claimed_once_and_kept(root):
    directory = root / "runs" / "digits"
    workdir.claim(directory, "digits")
    workdir.describe(directory, '{"name": "digits", "seeds": [0]}')
    (directory / "data").mkdir()
    workdir.claim(directory, "digits")
    workdir.describe(directory, '{"name": "digits", "seeds": [0, 1]}')
    assert json.loads((directory / "config.json").read_text())["seeds"] == [0, 1]


def test_an_empty_directory_may_be_claimed(root):
    workdir.claim(root, "digits")
    assert list(root.iterdir()) == []


def test_another_experiments_directory_is_refused_and_left_alone(root):
    workdir.describe(root, '{"name": "digits"}')
    with pytest.raises(
        UserError,
        match=r"--workdir=.* belongs to the experiment 'digits', not 'faces'.*choose another",
    ):
        workdir.claim(root, "faces")
    assert json.loads((root / "config.json").read_text()) == {"name": "digits"}


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_directory_with_a_config_that_cannot_be_read_is_refused_and_left_alone(root, content):
    (root / "config.json").write_text(content)
    with pytest.raises(UserError, match="--workdir="):
        workdir.claim(root, "digits")
    assert (root / "config.json").read_text() == content


def test_a_directory_with_foreign_files_is_refused_and_left_alone(root):
    (root / "thesis.tex").write_text("years of work")
    with pytest.raises(
        UserError,
        match=r"--workdir=.* holds files that are not an experiment's.*choose an empty or new",
    ):
        workdir.claim(root, "digits")
    assert [path.name for path in root.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("below", ["", "deeper", "deeper/still"])
def test_a_directory_that_cannot_be_made_is_refused(root, below):
    (root / "file").write_text("in the way")
    with pytest.raises(
        UserError, match=r"--workdir=.*file.* cannot be written \(.*choose another"
    ) as error:
        workdir.claim(root / "file" / below if below else root / "file", "digits")
    assert "\n" not in str(error.value) and (root / "file").read_text() == "in the way"


def test_a_claim_killed_halfway_can_be_made_again(root):
    (root / "digits").mkdir()
    (root / "digits" / workdir.LEASE).write_text("{}")  # of the killed run
    with killed_while_replacing():
        workdir.describe(root / "digits", '{"name": "digits"}')
    workdir.claim(root / "digits", "digits")
    workdir.describe(root / "digits", '{"name": "digits"}')
    assert json.loads((root / "digits" / "config.json").read_text()) == {"name": "digits"}


def test_nothing_is_written_through_a_link_that_somebody_left(tmp_path):
    (tmp_path / "mine").write_text("mine")
    for name, leave in {
        ".config.json.new": lambda path: path.symlink_to(tmp_path / "mine"),
        ".COMMIT.new": os.mkfifo,
    }.items():
        leave(tmp_path / name)
        path = epath.Path(tmp_path / name.removesuffix(".new")[1:])
        workdir.write(path, "{}")
        assert path.read_text() == "{}"
    directory = epath.Path(tmp_path / "task")
    workdir.begin(directory, "f")
    for leave, said in {
        lambda path: path.symlink_to(tmp_path / "mine"): "is a link",
        lambda path: path.symlink_to(tmp_path / "new"): "is a link",
        os.mkfifo: "is a pipe",
    }.items():
        leave(tmp_path / "task" / "a.npz")
        with pytest.raises(UserError, match=f"^{tmp_path}/task/a.npz: {said}"):
            workdir.begin(directory, "f")
        (tmp_path / "task" / "a.npz").unlink()
    assert (tmp_path / "mine").read_text() == "mine" and not (tmp_path / "new").exists()


def test_a_task_s_place_that_is_no_directory_is_told_in_one_line(tmp_path):
    for name, leave in (("pipe", os.mkfifo), ("file", lambda path: path.write_text("mine"))):
        leave(tmp_path / name)
        with pytest.raises(UserError, match=f"^{tmp_path}/{name}: is no folder"):
            workdir.begin(epath.Path(tmp_path / name), "f")


def test_a_task_in_whose_place_a_link_stands_begins_anew(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "mine").write_text("mine")
    places = {name: tmp_path / name for name in ("link", "nowhere", "loop")}
    places["link"].symlink_to(kept)
    places["nowhere"].symlink_to(tmp_path / "gone")
    places["loop"].symlink_to("loop")
    for place in places.values():
        workdir.begin(epath.Path(place), "0")
        assert place.is_dir() and not place.is_symlink()
    assert (kept / "mine").read_text() == "mine", "what a link leads to is not ours"
    (tmp_path / "stage").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match="stage: is a link to nothing"):
        workdir.begin(epath.Path(tmp_path / "stage" / "task"), "0")


@pytest.mark.parametrize("content", [b"[]", b"\xff\x00", b"{}", b"[" * 10])
def test_a_config_that_cannot_be_read_is_said_so(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match="config.json: cannot be read"):
        workdir.claim(epath.Path(tmp_path), "mine")
