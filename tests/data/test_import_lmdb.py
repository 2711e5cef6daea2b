"""Databases of LSUN that someone forged: they end the process that reads them, and no other."""

import subprocess
import sys

import numpy as np
import pytest

from natra_jax.data.importing import lmdb_reader, lsun
from natra_jax.data.importing.images import Corrupt
from natra_jax.types import UserError
from tests.data import archives
from tests.data.lmdb_server import Server
from tests.mutations import COUNTS

PAGE = 4096
VALUES = {f"{i:040x}": np.random.default_rng(i).bytes(1 + 700 * (i % 12)) for i in range(36)}


def database(source):
    return archives.lmdb(source / "cat", VALUES) / "data.mdb"


def read_all(source):
    """What is read, or the one line."""
    found = {}
    try:
        with lsun.opened(source) as data:
            for entry in data.splits["train"]:
                try:
                    found[entry.facts["id"]] = data.read(entry)
                except Corrupt as error:
                    assert "\n" not in str(error)
    except UserError as error:
        assert "\n" not in str(error) and str(source) in str(error)
        return str(error)
    return found


def forged(whole, rng):
    """Bytes changed in the heads and at the ends of pages, where lengths and page numbers are."""
    data = bytearray(whole)
    for _ in range(rng.integers(1, 40)):
        page = int(rng.integers(0, len(data) // PAGE))
        within = (rng.integers(0, 60), PAGE - 1 - rng.integers(0, 800), rng.integers(PAGE))
        at = page * PAGE + int(within[rng.integers(3)])
        token = rng.bytes(1) if rng.random() < 0.5 else (b"\xff" * 4, bytes(8))[rng.integers(2)]
        data[at : at + len(token)] = token[: len(data) - at]
    if rng.random() < 0.15:
        del data[int(rng.integers(1, len(data))) :]
    return bytes(data)


def forge_all(source, count):
    path, rng = database(source), np.random.default_rng(0)
    whole, refused = path.read_bytes(), 0
    for _ in range(count):
        path.write_bytes(forged(whole, rng))
        refused += isinstance(read_all(source), str)
    assert sorted(found.name for found in path.parent.iterdir()) == ["data.mdb", "lock.mdb"]
    return refused


def test_a_whole_database_is_read_to_the_byte(tmp_path):
    database(tmp_path)
    assert read_all(tmp_path) == VALUES


@pytest.mark.parametrize("count", COUNTS)
def test_forged_databases_are_read_or_one_line(tmp_path, count, monkeypatch):
    with Server(lmdb_reader.__file__) as server:
        monkeypatch.setattr(lsun.subprocess, "Popen", server.popen)
        assert forge_all(tmp_path, count) > count / 20


@pytest.mark.parametrize("body", ["import os; os.kill(os.getpid(), 7)", "import os; os._exit(0)"])
def test_a_reader_that_dies_is_one_line(body, tmp_path, monkeypatch):
    (tmp_path / "reader.py").write_text(body)
    monkeypatch.setattr(lmdb_reader, "__file__", str(tmp_path / "reader.py"))
    database(tmp_path)
    assert "its reader ended with" in read_all(tmp_path)


def test_a_database_that_keeps_its_reader_waiting_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "reader.py").write_text("import signal; signal.raise_signal(signal.SIGALRM)")
    monkeypatch.setattr(lmdb_reader, "__file__", str(tmp_path / "reader.py"))
    database(tmp_path)
    assert "no answer within" in read_all(tmp_path)


def test_the_reader_ends_with_its_requests(tmp_path):
    folder = database(tmp_path).parent
    asked = b"".join(
        lmdb_reader.FRAME.pack(b"v", len(text)) + text for text in (bytes(folder), b"1000")
    )
    command = [sys.executable, "-P", lmdb_reader.__file__]
    done = subprocess.run(command, input=asked, capture_output=True, timeout=20, check=True)
    assert done.stdout.count(b"0" * 30) == len(VALUES) and not done.stderr
