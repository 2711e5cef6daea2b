"""The layout of TensorFlow Datasets: read back equal, restarted to the same bytes.

It is never half written, and never over something else.
"""

import resource
from pathlib import Path

import pytest

from natra_jax.data import importing
from natra_jax.data.importing import layout, records, shards
from natra_jax.data.importing.dataset import DataSet, Entries, Entry
from natra_jax.data.importing.images import Corrupt
from natra_jax.types import UserError
from tests.data import archives

FEATURES = {
    "label": ["Bär", "cat"],
    "filename": "text",
    "identity": "int64",
    "attributes": {"a": "bool", "b": "bool"},
}
COUNTS = {"train": 11, "test": 3}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "SIZE", 4)


def facts(i):
    return {
        "label": i % 2,
        "filename": f"größe/{i}.jpg",
        "identity": i,
        "attributes": {"a": i % 3 == 0, "b": i % 3 == 1},
    }


def made(read=None, counts=COUNTS, stamp=()):
    def entry(i):
        return Entry(f"größe/{i}.jpg", facts(i))

    splits, start = {}, 0
    for split, count in counts.items():
        splits[split] = Entries(range(start, start + count), entry)
        start += count
    return DataSet(
        FEATURES,
        splits,
        read or (lambda entry: archives.encoded(entry.facts["identity"])),
        stamp=stamp,
    )


def quiet(line):
    raise AssertionError(line)


def write(data, dest):
    return layout.write(data, "toy", dest, quiet)


def test_what_is_written_is_read_by_tensorflow_datasets_as_it_was(tmp_path):
    written = write(made(), tmp_path)
    assert written == (tmp_path / "toy" / "1.0.0", COUNTS, 0, True)
    names = {path.name for path in written.directory.iterdir()}
    assert {f"toy-train.array_record-{i:05d}-of-00003" for i in range(3)} | {
        "toy-test.array_record-00000-of-00001"
    } <= names
    assert {"features.json", "dataset_info.json"} <= names and not any(
        name.startswith(".") or name == "skipped.txt" for name in names
    )
    found = archives.read(written.directory)
    expected = [{"image": archives.encoded(i), **facts(i)} for i in range(14)]
    assert found["train"] == expected[:11] and found["test"] == expected[11:]


def test_a_record_does_not_depend_on_the_order_in_which_a_process_keeps_its_features():
    record = records.serializer(FEATURES, 3)({"image": b"bytes", **facts(1)})
    places = [
        record.index(name)
        for name in (b"attributes/a", b"attributes/b", b"filename", b"identity", b"image", b"label")
    ]
    assert places == sorted(places)


def test_an_import_cut_off_at_any_of_its_renames_ends_in_the_same_bytes(tmp_path, monkeypatch):
    def read(entry):
        if entry.facts["identity"] == 5 and corrupt:
            raise Corrupt("bad")
        return archives.encoded(entry.facts["identity"])

    corrupt = True
    counts = {"train": 105, "test": 3}
    monkeypatch.setattr(shards, "SIZE", 40)
    replace, renames = Path.replace, []
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (renames.append(to), replace(self, to))[1]
    )
    write(made(read, counts), tmp_path / "whole")
    whole = archives.tree(tmp_path / "whole")
    assert "toy/1.0.0/skipped.txt" in whole and len(renames) > 10

    for cut in range(len(renames)):
        seen = []

        def replace_until(self, to, seen=seen, cut=cut):
            if len(seen) == cut:
                raise KeyboardInterrupt
            seen.append(to)
            return replace(self, to)

        dest = tmp_path / str(cut)
        monkeypatch.setattr(Path, "replace", replace_until)
        with pytest.raises(KeyboardInterrupt):
            write(made(read, counts), dest)
        assert not (dest / "toy" / "1.0.0" / "dataset_info.json").exists()
        monkeypatch.setattr(Path, "replace", replace)
        assert write(made(read, counts), dest).fresh
        assert archives.tree(dest) == whole


def test_a_restarted_import_reads_only_what_is_missing(tmp_path):
    read = []

    def stops(entry):
        if entry.facts["identity"] == 9:
            raise KeyboardInterrupt
        read.append(entry.facts["identity"])
        return archives.encoded(entry.facts["identity"])

    with pytest.raises(KeyboardInterrupt):
        write(made(stops), tmp_path)
    stopped, read[:] = len(read), []
    write(
        made(lambda entry: (read.append(entry.facts["identity"]), archives.encoded(0))[1]), tmp_path
    )
    assert stopped >= 7 and read == list(
        range(7, 14)
    )  # shards of 3, 4 and 4 images; the third was begun


def test_a_finished_import_is_left_alone_and_one_that_lost_a_shard_is_reported(tmp_path):
    directory = write(made(), tmp_path).directory
    before = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    again = write(made(read=quiet), tmp_path)
    assert not again.fresh and again.counts == COUNTS
    assert {path: path.stat().st_mtime_ns for path in directory.iterdir()} == before
    (directory / "toy-train.array_record-00001-of-00003").write_bytes(b"cut")
    with pytest.raises(UserError, match="00001-of-00003: is missing or not whole"):
        write(made(), tmp_path)


def strangers(directory):
    archives.unpacked(
        directory / "1.0.0",
        {"dataset_info.json": b"theirs", "toy-train.tfrecord-00000-of-00001": b"theirs"},
    )


def another_version(directory):
    archives.unpacked(directory / "2.1.0", {"dataset_info.json": b"theirs"})


def another_source(directory):
    write(made(stamp=["another"]), directory.parent)


def unfinished(directory):
    def stops(entry):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(made(stops, stamp=["another"]), directory.parent)


def a_file(directory):
    directory.write_bytes(b"theirs")


@pytest.mark.parametrize("there", [strangers, another_version, another_source, unfinished, a_file])
def test_what_is_there_already_is_refused_and_kept(there, tmp_path):
    there(tmp_path / "toy")
    before = archives.tree(tmp_path)
    with pytest.raises(UserError, match=str(tmp_path / "toy")) as error:
        write(made(), tmp_path)
    assert "\n" not in str(error.value) and "--dest" in str(error.value)
    assert archives.tree(tmp_path) == before


def test_one_image_in_a_hundred_may_be_corrupt_and_is_listed_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SIZE", 40)

    def read(entry):
        if entry.facts["identity"] == 1:
            raise Corrupt("torn\nin two")
        return (
            b"no image"
            if entry.facts["identity"] == 151
            else archives.encoded(entry.facts["identity"])
        )

    written = write(made(read, {"train": 150, "test": 50}), tmp_path)
    assert written.skipped == 2 and written.counts == {"train": 149, "test": 49}
    said = (written.directory / "skipped.txt").read_text().splitlines()
    assert said == ["größe/1.jpg\ttorn in two", "größe/151.jpg\tno image that can be read (text)"]
    left = [i for i in range(200) if i not in (1, 151)]
    found = archives.read(written.directory)
    assert [example["identity"] for split in ("train", "test") for example in found[split]] == left


def test_more_than_one_in_a_hundred_stops_it(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SIZE", 40)

    def read(entry):
        return (
            b""
            if entry.facts["identity"] in (1, 71, 150)
            else archives.encoded(entry.facts["identity"])
        )

    for _ in range(2):  # a restart counts what was skipped before it
        with pytest.raises(
            UserError, match="größe/150.jpg: cannot be used .*more than 1 % of the 200 images"
        ):
            write(made(read, {"train": 150, "test": 50}), tmp_path)
        assert not (tmp_path / "toy" / "1.0.0" / "dataset_info.json").exists()


def test_a_disk_that_is_full_is_said_in_one_line_and_the_rest_is_written_when_it_has_room(tmp_path):
    write(made(), tmp_path / "whole")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # less than a shard
        with pytest.raises(
            UserError, match="cannot be written .*File too large.*free some space"
        ) as error:
            write(made(), tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(error.value)
    assert not [path for path in (tmp_path / "full" / "toy" / "1.0.0").iterdir() if path.is_file()]
    write(made(), tmp_path / "full")
    assert archives.tree(tmp_path / "full") == archives.tree(tmp_path / "whole")


def test_lines_tell_of_progress_where_there_is_no_terminal(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SIZE", 1)
    lines = []
    layout.write(made(), "toy", tmp_path, lines.append)
    assert lines == ["toy: 10/14 images"]


@pytest.mark.parametrize("suffix", ["", ".tar", ".zip"])
def test_images_of_one_size_that_changed_places_are_another_source(suffix, tmp_path):
    one, other = (archives.encoded(i, "BMP") for i in (1, 2))
    assert len(one) == len(other)

    def place(first, second):
        members = {"1.png": first, "2.png": second}
        if suffix == ".tar":
            return archives.tarred(tmp_path / "a.tar", members)
        if suffix == ".zip":
            return archives.zipped(tmp_path / "a.zip", members)
        return archives.unpacked(tmp_path / "a", members)

    def run(source):
        return importing.from_files("celeba_hq", source, tmp_path / "dest", "faces", len)

    source = place(one, other)
    assert run(source).fresh and not run(source).fresh
    with pytest.raises(UserError, match="holds another data set, or this one from another source"):
        run(place(other, one))
