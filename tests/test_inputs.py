"""Files that a config names are read once a start, and not at all while they stay as they were."""

import hashlib
import json
import os

import jax
import pytest
from etils import epath

from natra_jax import pipeline, workdir
from natra_jax.experiments import smoke
from natra_jax.inputs import Inputs
from natra_jax.stages.task import Plan
from natra_jax.types import UserError
from natra_jax.weights import generator_config
from tests.weights import made

LONG_AGO = 1_500_000_000  # s


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files whose content is hashed."""
    names, sha256 = [], workdir.sha256

    def counted(path):
        names.append(path.name)
        return sha256(path)

    monkeypatch.setattr(workdir, "sha256", counted)
    return names


def write(path, content, time=LONG_AGO):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (time, time))
    return path


def sha256(root, path):
    """The answer of one start, which remembers it for the next."""
    inputs = Inputs(epath.Path(root))
    found = inputs.sha256(path)
    inputs.save()
    return found


def test_a_file_is_hashed_again_only_where_its_size_or_time_has_changed(tmp_path, hashed):
    path = write(tmp_path / "weights.npz", b"one")
    one, two = (hashlib.sha256(content).hexdigest() for content in (b"one", b"two"))
    assert [sha256(tmp_path, path) for _ in range(3)] == [one] * 3 and len(hashed) == 1
    write(path, b"two", LONG_AGO + 1)
    assert [sha256(tmp_path, path) for _ in range(2)] == [two] * 2 and len(hashed) == 2
    write(path, b"twos", LONG_AGO + 1)
    assert sha256(tmp_path, path) != two and len(hashed) == 3


def test_files_of_one_size_and_time_that_change_places_are_hashed_again(tmp_path, hashed):
    one, other = (write(tmp_path / "weights" / name, name.encode()) for name in ("a", "b"))
    before = sha256(tmp_path, tmp_path / "weights")
    assert sha256(tmp_path, tmp_path / "weights") == before and len(hashed) == 2
    aside = one.rename(tmp_path / "aside")
    other.rename(one)
    aside.rename(other)
    assert sha256(tmp_path, tmp_path / "weights") != before and len(hashed) == 4


def test_a_file_that_has_just_been_written_is_not_trusted_to_stay(tmp_path, hashed):
    path = tmp_path / "weights.npz"
    path.write_bytes(b"one")
    assert sha256(tmp_path, path) == hashlib.sha256(b"one").hexdigest()
    stamp = path.stat().st_mtime_ns
    path.write_bytes(b"two")
    os.utime(path, ns=(stamp, stamp))  # as within the tick of a coarse clock
    assert sha256(tmp_path, path) == hashlib.sha256(b"two").hexdigest()


def test_a_directory_is_known_by_the_names_and_contents_in_it(tmp_path, hashed):
    for name, content in (("a", b"1"), ("sub/b", b"2")):
        write(tmp_path / "weights" / name, content)
    entries = [["a", hashlib.sha256(b"1").hexdigest()]]
    below = json.dumps([["b", hashlib.sha256(b"2").hexdigest()]])
    entries.append(["sub", hashlib.sha256(below.encode()).hexdigest()])
    expected = hashlib.sha256(json.dumps(entries).encode()).hexdigest()
    assert [sha256(tmp_path, tmp_path / "weights") for _ in range(2)] == [expected] * 2
    assert sorted(hashed) == ["a", "b"]


@pytest.mark.parametrize("value", [None, 3, "one", "0" * 63, ["0" * 64], {"a": 1}])
def test_what_cannot_be_a_digest_is_found_anew(tmp_path, value):
    path = write(tmp_path / "weights.npz", b"one")
    sha256(tmp_path, path)
    known = json.loads((tmp_path / "inputs.json").read_text())
    known[f"sha256 {path}"]["value"] = value
    (tmp_path / "inputs.json").write_text(json.dumps(known))
    assert sha256(tmp_path, path) == hashlib.sha256(b"one").hexdigest()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"sha256 %s": 3}', '{"sha256 %s": {}}'])
def test_what_cannot_be_read_of_the_last_start_is_found_anew(tmp_path, content):
    path = write(tmp_path / "weights.npz", b"one")
    (tmp_path / "inputs.json").write_text(content.replace("%s", str(path)))
    assert sha256(tmp_path, path) == hashlib.sha256(b"one").hexdigest()


@pytest.mark.parametrize(
    "value", [[], {"function": "eval", "arguments": {}}, {"function": ["dcgan"], "arguments": {}}]
)
def test_what_describes_no_generator_is_read_from_its_checkpoint(tmp_path, parsed, value):
    file = made.file("stylegan1", tmp_path)
    os.utime(file, (LONG_AGO, LONG_AGO))
    c = smoke.get_config().generator
    c.weights = str(file)
    first = Inputs(epath.Path(tmp_path))
    described = first.generator(c)
    first.save()
    known = json.loads((tmp_path / "inputs.json").read_text())
    (key,) = (key for key in known if key.startswith("generator "))
    assert Inputs(epath.Path(tmp_path)).generator(c) == described and len(parsed) == 1
    known[key]["value"] = value
    (tmp_path / "inputs.json").write_text(json.dumps(known))
    assert Inputs(epath.Path(tmp_path)).generator(c) == described and len(parsed) == 2


@pytest.fixture
def parsed(monkeypatch):
    """The checkpoints that are parsed."""
    paths, find = [], generator_config.find

    def counted(path, family):
        paths.append(path)
        return find(path, family)

    monkeypatch.setattr(generator_config, "find", counted)
    return paths


def test_a_checkpoint_is_parsed_once_a_start_and_not_again_while_it_stays(
    tmp_path, monkeypatch, parsed
):
    file = made.file("stylegan1", tmp_path)
    os.utime(file, (LONG_AGO, LONG_AGO))
    config = smoke.get_config()
    config.generator.weights, config.directions.layers = str(file), (0, 1)
    config.encoder.widths = ()
    real = pipeline.tasks

    def made_of_names(*arguments):
        def run(context, directory):
            (directory / "made").write_text(directory.name)

        return [
            task._replace(checks=(), sizes=None, run=task.run if task.name == "generator" else run)
            for task in real(*arguments)
        ]

    monkeypatch.setattr(pipeline, "tasks", made_of_names)
    monkeypatch.setattr(pipeline.report, "summary", lambda context: "")

    def start():
        parsed.clear()
        lines = []
        pipeline.run(config, str(tmp_path / "work"), devices=jax.devices()[:1], log=lines.append)
        return [line for line in lines if line.strip()]

    start()
    assert parsed == [str(file)]
    assert all(line.endswith(": up to date") for line in start()) and parsed == []
    os.utime(file, (LONG_AGO + 1, LONG_AGO + 1))
    assert all(line.endswith(": up to date") for line in start()), "its content is the same"
    assert parsed == [str(file)]


@pytest.mark.parametrize("weights", ["weights.pkl", "missing.pkl"])
def test_the_mistake_in_a_checkpoint_is_said_of_the_field(tmp_path, monkeypatch, weights):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "weights.pkl", b"no pickle")
    config = smoke.get_config()
    config.generator.weights = weights
    with pytest.raises(UserError, match=f"config field generator.weights: .*{weights}: "):
        Inputs(epath.Path(tmp_path)).generator(config.generator)


@pytest.mark.parametrize("field", ["weights", "content"])
@pytest.mark.parametrize("size", [2**42, 2**39])
def test_what_can_be_no_such_file_is_refused_before_it_is_read(tmp_path, hashed, field, size):
    path = tmp_path / "judge.json"
    for head in (b"", b"PK\3\4"):
        path.write_bytes(head)
        os.truncate(path, size)
        c = smoke.get_config()
        c.screening.judge = str(path)
        plan = Plan(c, {}, Inputs(), True)
        with pytest.raises(UserError, match=f"^{path}: "):
            getattr(plan, field)("screening.judge")
    assert not hashed


def test_a_checkpoint_is_known_by_its_links_as_well(tmp_path):
    write(tmp_path / "a" / "x" / "array", b"1")
    write(tmp_path / "a" / "y" / "array", b"2")
    digests = set()
    for target in ("x", "y", "..", "../a/x"):
        (tmp_path / "a" / "z").unlink(missing_ok=True)
        (tmp_path / "a" / "z").symlink_to(tmp_path / "a" / target)
        digests.add(Inputs().sha256(tmp_path / "a"))
    assert len(digests) == 4 - 1  # x, however it is named
