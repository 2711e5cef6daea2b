"""records.jsonl: one measured number a line, written whole."""

from __future__ import annotations

import json
from collections.abc import Iterable

from etils import epath

from natra_jax import json_files, workdir
from natra_jax.types import Record


def write_records(path: epath.Path, records: Iterable[Record]) -> None:
    """Replace the file by one line of JSON for each record."""
    workdir.write(path, "".join(json.dumps(record._asdict()) + "\n" for record in records))


def read_records(path: epath.Path) -> list[Record]:
    """Read what `write_records` wrote. Raises UserError, naming the line, for anything else."""
    return json_files.read_lines(path, Record, "run natra again")
