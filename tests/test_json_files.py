"""JSON files of ours, deep, huge, of other types and mutated, through every reader of them."""

from __future__ import annotations

import ast
import json
import random
from typing import Annotated, NamedTuple, NotRequired, TypedDict

import msgspec
import pytest

from natra_jax import json_files
from natra_jax.files import SMALL
from natra_jax.types import UserError
from tests.json_readers import READERS, lay_out, patch, write
from tests.mutations import COUNTS, WRONG, changed, frugal, mutated, places, soon
from tools.imports import PACKAGE, files

NINES = "9" * 5000
ELSEWHERE = {"data/descriptions.py"}  # what TensorFlow Datasets wrote


def text(value) -> bytes:
    return json.dumps(value).encode()


def with_entry(value, entry: str) -> bytes:
    """The JSON of value, and one more entry in its first object."""
    return text(value).replace(b"{", b"{" + entry.encode() + b", ", 1)


# of each: (value of the reader's file) -> what cannot be such a file
BROKEN = {
    "lists in lists": lambda value: b"[" * 100_000,
    "objects in objects": lambda value: b'{"a":' * 100_000,
    "deep and whole": lambda value: with_entry(value, '"x": ' + "[" * 500 + "]" * 500),
    "list for table": lambda value: b"[[]]",
    "text": lambda value: b'"text"',
    "number": lambda value: b"12",
    "null": lambda value: b"null",
    "table for what is in it": lambda value: b'[{"a": {}}]' if isinstance(value, list) else b"{}",
    "5,000 digits": lambda value: with_entry(value, f'"x": {NINES}'),
    "-5,000 digits": lambda value: with_entry(value, f'"x": -{NINES}'),
    "a name twice": lambda value: with_entry(value, '"x": 1, "x": 1'),
    "cut off": lambda value: text(value)[:-3],
    "more behind": lambda value: text(value) + b"}",
    "UTF-16": lambda value: json.dumps(value).encode("utf-16"),
    "Latin-1": lambda value: with_entry(value, '"x": "y"').replace(b"y", b"\xe9"),
    "null characters": lambda value: b"\0" * 100,
    "many containers": lambda value: b"[" + b"[]," * 2**22 + b"[]]",
}
NOT_EMPTY = {"empty": b"", "white space": b"  "}  # which say, in a .jsonl, that there is no record
BEYOND_JSON = {"1e999": "1e999", "NaN": "NaN", "-Infinity": "-Infinity", "surrogate": '"\\ud800"'}
LOOSE = {
    *("COMMIT", "fields of COMMIT", "PENDING", "inputs.json", "config.json", "records.jsonl"),
    *("list of files", "list of records", "history.json", "converted generator.json"),
    *("import.json", "plan.json", "note of a shard", "facts.json", "classifier.json"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    where = tmp_path_factory.mktemp("work")
    lay_out(where)
    return where


@pytest.fixture(params=READERS)
def reader(request, root, monkeypatch):
    """A reader whose file is there; it is gone afterwards, where others need it not."""
    patch(monkeypatch)
    found = READERS[request.param]
    write(found, root)
    yield found
    if found.file == "data/train_image.json":
        (root / found.file).unlink(missing_ok=True)
    elif found.file == "data/facts.json":
        write(found, root)


def answers(reader, root, content):
    """What the reader makes of a file: ('refused', line) or ('read', value)."""
    write(reader, root, content)
    try:
        return "read", reader.read(root)
    except UserError as error:
        assert len(str(error).splitlines()) == 1 and len(str(error)) < 1500, error
        assert "damaged" not in str(error) and "get it again" not in str(error)
        return "refused", str(error)


def is_refused(reader, root, content):
    kind, found = answers(reader, root, content)
    if reader.anew is ...:
        name = reader.file.rpartition("/")[2]
        assert kind == "refused", found
        # a plan is another's, whatever it is
        assert name in found or name == "plan.json"
    else:
        assert (kind, found) == ("read", reader.anew)


def test_a_file_as_it_was_written_is_read_with_a_byte_order_mark_and_more_entries_too(reader, root):
    expected = reader.read(root)
    assert reader.anew is ... or expected != reader.anew or reader.file == "inputs.json"
    for content in (b"\xef\xbb\xbf" + text(reader.value), with_entry(reader.value, '"more": [1]')):
        kind, found = answers(reader, root, content)
        if reader.file != "train/adv-0/history.json":  # whose entries have the same metrics
            assert kind == "read" and repr(found) == repr(expected)


@pytest.mark.parametrize("damage", BROKEN)
def test_what_is_no_such_file_is_one_line_or_work_to_be_done(damage, reader, root):
    if damage == "many containers" and reader.file not in ("done/COMMIT", "mine.json"):
        return  # which takes a while
    is_refused(reader, root, BROKEN[damage](reader.value))


@pytest.mark.parametrize("damage", NOT_EMPTY)
def test_empty_files_hold_nothing(damage, reader, root):
    if reader.file == "records.jsonl":
        assert damage != "empty" or answers(reader, root, b"") == ("read", [])
    else:
        is_refused(reader, root, NOT_EMPTY[damage])


@pytest.mark.parametrize("beyond", BEYOND_JSON)
def test_what_python_writes_beyond_json_is_read_where_we_write_it_alone(beyond, reader, root):
    name = next(name for name, other in READERS.items() if other is reader)
    content = with_entry(reader.value, f'"x": {BEYOND_JSON[beyond]}')
    if name not in LOOSE:
        is_refused(reader, root, content)
    else:
        answers(reader, root, content)


def test_a_large_file_is_not_read(reader, root, monkeypatch):
    monkeypatch.setattr(json_files, "MOST_OF_LISTS", SMALL)
    with (root / reader.file).open("wb") as file:
        file.truncate(SMALL + 1)
    try:
        assert reader.read(root) == reader.anew
    except UserError as error:
        assert reader.anew is ..., error


def test_a_missing_file_is_one_line_or_work_to_be_done(reader, root):
    (root / reader.file).unlink()
    if reader.file in ("config.json", "data/train_image.json", "claim/1.0.0/.importing/plan.json"):
        return  # without which there is something else
    try:
        assert reader.read(root) == reader.anew or reader.file == "begun/PENDING"
    except UserError as error:
        assert reader.file in str(error) and len(str(error).splitlines()) == 1


def test_every_entry_may_be_missing_or_anything(reader, root):
    value = json.loads(text(reader.value))
    some = list(places(value))
    some = some if len(some) < 30 else random.Random(0).sample(some, 30)
    for path in some:
        for new in (*WRONG, ...):
            with soon(f"{path}, {new}"):
                answers(reader, root, text(changed(value, path, new)))


@pytest.mark.parametrize("count", COUNTS)
def test_mutated_files_are_read_or_one_line(reader, root, count):
    rng, value = random.Random(reader.file), json.loads(text(reader.value))
    with frugal(len(text(value))):
        for number in range(count):
            with soon(f"{reader.file}, number {number}"):
                answers(reader, root, mutated(rng, value))


def test_json_is_read_at_one_place():
    for path in files():
        calls = {
            ast.unparse(node.func)
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
        }
        name = path.relative_to(PACKAGE).as_posix()
        if name != "json_files.py" and name not in ELSEWHERE:
            assert not calls & {"json.load", "json.loads", "json.JSONDecoder", "loads"}, name


class Named(NamedTuple):
    """What a NamedTuple's _asdict writes."""

    size: Annotated[int, msgspec.Meta(ge=0)]
    share: int | float
    names: tuple[str, ...] = ()


class Outer(TypedDict):
    rows: list[dict[str, int]]
    note: NotRequired[str]


def test_a_named_tuple_is_a_schema_and_numbers_stay_as_they_are():
    found = json_files.check({"size": 3, "share": 1, "names": ["a"], "more": None}, Named)
    assert found == Named(3, 1, ("a",)) and type(found.share) is int
    assert json_files.check({"size": 3, "share": 1.0}, Named) == Named(3, 1.0)


@pytest.mark.parametrize(
    "value, schema, message",
    [
        ({"size": True, "share": 1}, Named, "size: Expected int, got bool"),
        ({"size": 1.0, "share": 1}, Named, "size: Expected int, got float"),
        ({"size": -1, "share": 1}, Named, "size: Expected int >= 0"),
        ({"size": 1}, Named, "Object missing required field share"),
        ({"rows": [{"a": 1}, {"b": None}]}, Outer, r"rows\[1\]\[...\]: Expected int, got null"),
        ({"rows": {}}, Outer, "rows: Expected array, got object"),
        ({"rows": [], "note": None}, Outer, "note: Expected str, got null"),
    ],
)
def test_an_entry_of_another_type_is_named(value, schema, message):
    with pytest.raises(ValueError, match=message):
        json_files.check(value, schema)


def test_a_folder_a_pipe_and_a_name_that_cannot_be_are_one_line(tmp_path):
    for path in (tmp_path, tmp_path / "a\0b", tmp_path / ("a" * 300)):
        with pytest.raises(UserError) as error:
            json_files.read(path, Outer, "look elsewhere")
        assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["a" * 5000, "\0", "\ud800", "..", "", "a\nb", "/dev/zero"])
def test_a_name_that_no_file_can_have_is_of_no_file(name, root):
    found = READERS["COMMIT"], READERS["import.json"]
    for reader, entry in zip(found, ({"size": 3, "sha256": ""}, 3), strict=True):
        field = "files" if reader.anew is False else "sizes"
        kind, answer = answers(reader, root, text(reader.value | {field: {name: entry}}))
        assert kind == "refused" or answer == reader.anew
