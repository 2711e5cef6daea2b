"""Every reader of a JSON file of ours, each with a file that it takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from etils import epath
from ml_collections import ConfigDict

from natra_jax import workdir
from natra_jax.data.importing import layout, shards
from natra_jax.evaluation.records import read_records
from natra_jax.inputs import Inputs
from natra_jax.latents import choose, saved
from natra_jax.stages import classifier, data, perceptual, screen, shift, train
from natra_jax.stages import generator as generator_stage
from natra_jax.types import Record
from natra_jax.weights import converted
from tests.helpers import linear_generator, oblique_directions
from tests.stages import small

FOUND = oblique_directions(linear_generator(4, 5))
DCGAN = {"channels": [4, 4], "z_dim": 3}
MOVES = {"1": 0.5, "2": None}


class Reader(NamedTuple):
    """A reader, and a file that it takes."""

    file: str
    value: Any  # of the file; of one that ends in .jsonl, of its line
    read: Callable[[Path], Any]  # (the root that `lay_out` made) -> what it makes of the file
    anew: Any = ...  # what it answers where it does not trust the file; ...: it raises UserError


def lay_out(root: Path) -> None:
    """Write what the readers need beside their files."""
    small.context(root, small.config())
    for name in (
        "done",
        "train/adv-0",
        "generator",
        "shift",
        "screen",
        "perceptual",
        "card",
        "pending",
    ):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "done" / "array").write_bytes(b"123")
    (root / "shard").write_bytes(b"12345")
    (root / "seen").write_bytes(b"123")
    (root / "import" / "1.0.0" / ".importing").mkdir(parents=True)
    (root / "import" / "1.0.0" / "dataset_info.json").write_text("{}")
    (root / "claim" / "1.0.0" / ".importing").mkdir(parents=True)
    saved.save(FOUND, epath.Path(root))


def write(reader: Reader, root: Path, content: bytes | None = None) -> None:
    """Write the reader's file, with its own value or other content."""
    path = root / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.dumps(reader.value).encode() if content is None else content)


def patch(monkeypatch) -> None:
    """Replace the networks beside the files by ones that take no time."""
    tree = SimpleNamespace(init=lambda key: {})
    monkeypatch.setattr(shift.encoder, "build", lambda context: (None, None))
    monkeypatch.setattr(shift.generator, "load", lambda context: (tree, {}))
    monkeypatch.setattr(screen.directions, "load", lambda context: FOUND)
    monkeypatch.setattr(converted.orbax_tree, "stored", lambda path: None)
    monkeypatch.setattr(converted.orbax_tree, "require_same", lambda *_: None)
    monkeypatch.setattr(converted.orbax_tree, "load", lambda path, like: {})


def _context(root: Path) -> Any:
    return SimpleNamespace(workdir=epath.Path(root), task_name=lambda name: name, scratch=root)


def _begun(root: Path) -> bool:
    """Return whether what an interrupted run left is continued."""
    (root / "begun" / "leftover").touch()
    workdir.begin(epath.Path(root / "begun"), "abc")
    return (root / "begun" / "leftover").exists()


def _known(root: Path) -> str:
    """Return the digest of a file, whatever inputs.json remembers, and save that anew."""
    inputs = Inputs(epath.Path(root))
    inputs.save()
    return inputs.sha256(str(root / "seen"))


def _images(root: Path) -> Any:
    return data.split(_context(root), "train").image.description()


def _classifier(root: Path) -> Any:
    config, description = classifier.describe(epath.Path(root / "train/adv-0"))
    assert isinstance(config, ConfigDict)
    classifier.variables_like(config, description)
    return description


SHA256 = "a665a45920422f9d417e4867efdc4fb8a04a1f3fff1fa07e998e86f7f7a27ae3"  # of 123
FIGURES = {
    "kept": MOVES,
    "moved": MOVES,
    "predicts": 0.1,
    "confounded": False,
    "useful": None,
    "verdict": "kept",
    "chosen": True,
}
FORM = {"resolution": 8, "fit": "crop", "channels": 3}
READERS = {
    "COMMIT": Reader(
        "done/COMMIT",
        {"fingerprint": "abc", "fields": {}, "files": {"array": {"size": 3, "sha256": SHA256}}},
        lambda root: workdir.is_done(epath.Path(root / "done"), "abc"),
        anew=False,
    ),
    "fields of COMMIT": Reader(
        "done/COMMIT",
        {"fingerprint": "abc", "fields": {"a": 1}, "files": {}},
        lambda root: workdir.changes(epath.Path(root / "done"), {"a": 2}),
        anew=[],
    ),
    "PENDING": Reader("begun/PENDING", {"fingerprint": "abc"}, _begun, anew=False),
    "inputs.json": Reader(
        "inputs.json", {"key": {"files": [["a", 1]], "value": "b"}}, _known, anew=SHA256
    ),
    "config.json": Reader(
        "config.json",
        {"name": "smoke", "seeds": [0]},
        lambda root: workdir.claim(epath.Path(root), "smoke"),
    ),
    "directions.json": Reader(
        "directions.json",
        {
            "generator_fingerprint": "linear",
            "method": "umap",
            "directions": [{"number": k, "name": f"d{k}"} for k in range(len(FOUND.names))],
        },
        lambda root: saved.load(epath.Path(root), "linear"),
    ),
    "choice": Reader(
        "mine.json",
        {"directions": [{"number": 0, "name": "a", "sigma": None, "useful": 1.5}, {"number": 1}]},
        lambda root: choose.select(FOUND, str(root / "mine.json")),
    ),
    "records.jsonl": Reader(
        "records.jsonl",
        Record("adv", 0, "test_iid", "accuracy", 0.5, 4, 0.1, None, "abc")._asdict(),
        lambda root: read_records(epath.Path(root / "records.jsonl")),
    ),
    "shift.json": Reader(
        "shift/shift.json", {"shifted": False}, lambda root: shift.load(_context(root))
    ),
    "vgg16.json": Reader(
        "perceptual/vgg16.json",
        {"widths": [2, 2, 2, 2, 2]},
        lambda root: perceptual._vgg16(epath.Path(root / "perceptual")),
    ),
    "facts.json": Reader(
        "data/facts.json",
        {
            "classes": ["a", "b", "c"],
            "image_shape": small.SHAPE,
            "splits": ["train"],
            "rendered": [],
            "covered": None,
            "counts": {"train": [4, 4, 4]},
            "unlabelled": 0,
        },
        lambda root: data.split(_context(root), "train"),
    ),
    "list of files": Reader(
        "data/train_image.json",
        {"form": FORM, "kind": "files", "root": "a", "names": ["b"] * small.NUM_EXAMPLES},
        _images,
    ),
    "list of records": Reader(
        "data/train_image.json",
        {"form": FORM, "kind": "records", "directory": "a", "split": "b", "rows": [*range(12)]},
        _images,
    ),
    "generator.json": Reader(
        "generator/generator.json",
        {"function": "dcgan", "arguments": DCGAN},
        lambda root: generator_stage.build(_context(root)).family,
    ),
    "classifier.json": Reader(
        "train/adv-0/classifier.json",
        {
            "classifier": {
                "name": "cnn",
                "dtype": "float32",
                "factory": "",
                "widths": [8],
                "norm": "group",
            },
            "classes": ["a", "b", "c"],
            "image_shape": small.SHAPE,
            "fit": "crop",
            "twins": False,
        },
        _classifier,
    ),
    "history.json": Reader(
        "train/adv-0/history.json",
        [{"step": 3, "loss": 0.5}, {"step": 6, "loss": 0.25}],
        lambda root: train.history(_context(root), "adv", 0),
    ),
    "screening.json": Reader(
        "screen/screening.json",
        {
            "judge": "cross_fitted",
            "codes": "train",
            "examples": 3,
            "keep": 0.95,
            "confounded": 0.1,
            "box": "",
            "warnings": [],
            "directions": [
                {"number": k, "name": name, "range": "0-1", "sigma": 1.5, **FIGURES}
                for k, name in enumerate(FOUND.names)
            ],
        },
        lambda root: screen.table(_context(root)),
    ),
    "converted generator.json": Reader(
        "card/generator.json",
        {
            "format": 1,
            "family": "dcgan",
            "arguments": DCGAN,
            "parameters": 0,
            "checksum": converted.checksum({}),
            "source": "a.pth",
            "notes": [],
        },
        lambda root: converted.load(epath.Path(root / "card")).arguments,
    ),
    "import.json": Reader(
        "import/1.0.0/import.json",
        {"plan": "abc", "counts": {"train": 3}, "skipped": 0, "sizes": {"dataset_info.json": 2}},
        lambda root: layout._finished(root / "import/1.0.0", "abc"),
        anew=None,
    ),
    "plan.json": Reader(
        "claim/1.0.0/.importing/plan.json",
        {"plan": "abc"},
        lambda root: layout._claim(root / "claim/1.0.0", "abc"),
    ),
    "note of a shard": Reader(
        "pending/shard.json",
        {"count": 1, "bytes": 3, "size": 5, "skipped": [["a", "b"]]},
        lambda root: shards._note(root / "shard", root / "pending"),
        anew=None,
    ),
}
