"""What an evaluation keeps: one measured number a line, and each example's answer behind it.

records.jsonl has the numbers. answers.npz has, for each number that is a share of examples, which
of them are right, so that two classifiers can be compared example by example.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import numpy as np
from etils import epath

from natra_jax import json_files, trees, workdir
from natra_jax.types import Record, UserError

Answered = tuple[str, int, str, str]  # (method, seed, split, metric), as in a Record
Answers = Mapping[Answered, np.ndarray]
"""Which examples are right, bool [n], in an order that all classifiers share."""


def write_records(path: epath.Path, records: Iterable[Record]) -> None:
    """Replace the file by one line of JSON for each record."""
    workdir.write(path, "".join(json.dumps(record._asdict()) + "\n" for record in records))


def read_records(path: epath.Path) -> list[Record]:
    """Read what `write_records` wrote. Raises UserError, naming the line, for anything else."""
    return json_files.read_lines(path, Record, "run natra again")


def write_answers(path: epath.Path, answers: Answers) -> None:
    """Write the answers as an .npz of bools, under names such as 'natra 0 test_iid accuracy'."""
    trees.save(path, {" ".join(map(str, key)): right for key, right in answers.items()})


def read_answers(path: epath.Path) -> dict[Answered, np.ndarray]:
    """Read what `write_answers` wrote. Raises UserError if it cannot be read as that."""
    answers: dict[Answered, np.ndarray] = {}
    for name, right in trees.read(path).items():
        try:
            method, seed, split, metric = name.split(" ")
            if right.dtype != bool or right.ndim != 1:
                raise ValueError(f"{right.dtype} {right.shape}")
            answers[method, int(seed), split, metric] = right
        except ValueError as error:
            raise UserError(f"{path}: {name!r} is no list of answers ({error})") from error
    return answers
