"""Several work directories as the runs of one table.

Seeds of a work directory share its data, generator, encoder and directions. Where these were seeded
anew as well, a work directory is one run, and a comparison is paired by work directory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

from natra_jax.report.differences import build_differences
from natra_jax.report.page import Section
from natra_jax.report.robustness import is_robustness_metric
from natra_jax.report.tables import build
from natra_jax.types import Record, UserError

_Place = tuple[str, str, str]  # (method, split, metric)


class WorkDirectory(NamedTuple):
    """The part of a work directory that a joined report is made of."""

    name: str  # its path, as the user wrote it
    fields: Mapping[str, object]  # of its config, flat
    records: Sequence[Record]


def trained(records: Sequence[Record]) -> list[str]:
    """Return the methods that were trained."""
    return list(dict.fromkeys(r.method for r in records if r.metric == "passes"))


def join(directories: Sequence[WorkDirectory]) -> list[Record]:
    """Return records whose seed is the place of their work directory, each a mean over its seeds.

    Raises UserError where two hold the same trainings and no others.
    """
    for a, b in combinations(directories, 2):
        if (own := trained(a.records)) and own == _same(a, b):
            raise UserError(
                f"{a.name} and {b.name} hold the same trainings: they are one run of a table and "
                "not two: leave one out"
            )
    joined = []
    for i, directory in enumerate(directories):
        seeds: dict[_Place, list[Record]] = {}
        for record in directory.records:
            seeds.setdefault((record.method, record.split, record.metric), []).append(record)
        for found in seeds.values():
            value = fmean(record.value for record in found)
            joined.append(found[0]._replace(seed=i, value=value, low=None, high=None))
    return joined


def warnings(directories: Sequence[WorkDirectory]) -> list[str]:
    """Return a sentence for each method that is the same training in two work directories."""
    return [
        f"{method} is the same training in {a.name} and {b.name}: its own row's interval does "
        "not tell how runs differ."
        for a, b in combinations(directories, 2)
        for method in _same(a, b)
    ]


def _same(a: WorkDirectory, b: WorkDirectory) -> list[str]:
    """Return the methods of a whose training is b's too, for a seed."""
    known = {(r.method, r.fingerprint) for r in b.records if r.metric == "passes"}
    same = [
        r.method for r in a.records if r.metric == "passes" and (r.method, r.fingerprint) in known
    ]
    return list(dict.fromkeys(same))


def sections(
    records: Sequence[Record], methods: Sequence[str], baseline: str, reference: str
) -> list[Section]:
    """Build the tables of results and of differences, over runs.

    Args:
        records: of `join`.
        methods: the rows, in this order.
        baseline: the method that error reductions are relative to.
        reference: the method that is subtracted from the others.

    Returns:
        The two sections.
    """
    shown = [r for r in records if not is_robustness_metric(r.metric) and "kept" not in r.metric]
    on_test = [r for r in shown if r.split.startswith("test")]
    differences = build_differences(on_test, methods, reference, unit="run")
    return [
        Section("Results", table=build(shown, methods, baseline, unit="run")),
        Section(f"Differences to {reference}", table=differences),
    ]


def changed(directories: Sequence[WorkDirectory]) -> list[tuple[str, str]]:
    """Return (config field, its values) of the fields that the work directories differ in."""
    names = dict.fromkeys(name for directory in directories for name in directory.fields)
    values = {name: [str(d.fields.get(name, "-")) for d in directories] for name in names}
    return [(name, "; ".join(found)) for name, found in values.items() if len({*found}) > 1]
