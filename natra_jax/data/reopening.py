"""Images on disk that were described in JSON are opened again."""

from __future__ import annotations

from typing import Any

import numpy as np

from natra_jax.data.decoding import Preprocess
from natra_jax.data.encoded_images import Decoded, Files
from natra_jax.data.prepared import Records


def reopen(description: dict[str, Any]) -> Decoded:
    """What `Decoded.description` described. Raises KeyError, TypeError or ValueError for what is no such description."""
    kinds = {"files": _files, "records": _records}
    return Decoded(kinds[description["kind"]](description), Preprocess(**description["form"]))


def _files(description: dict[str, Any]) -> Files:
    return Files(description["root"], description["names"])


def _records(description: dict[str, Any]) -> Records:
    rows = description["rows"]
    return Records(
        description["directory"],
        description["split"],
        None if rows is None else np.asarray(rows, np.int64),
    )
