"""Join the records of several work directories into one report, each of them a run.

    python -m natra_jax.report WORKDIR WORKDIR ... --out=DIR

Comparisons are paired by work directory. So the seeds of data, generator, encoder and directions
count as well as that of the classifier, where each work directory has its own:

    for s in 0 1 2 3 4; do
      python -m natra_jax.main --workdir=runs/pipeline-$s --config.seeds="($s,)" \\
        --config.data.seed=$s --config.generator.weights= --config.generator.seed=$s \\
        --config.encoder.seed=$s --config.shift.seed=$s --config.directions.seed=$s \\
        --config.screening.seed=$s
    done
    python -m natra_jax.report runs/pipeline-* --out=runs/pipeline

A shipped generator has seen the digits that another data.seed puts into the test splits, hence
--config.generator.weights= which trains one for each. DIR gets index.html, report.md and
records.jsonl; the report lists the config fields that the work directories differ in.
"""

from __future__ import annotations

from natra_jax import entry

if __name__ == "__main__":  # before the imports below, which take seconds
    raise SystemExit(entry.start("natra_jax.report.__main__"))

import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from etils import epath
from ml_collections import ConfigDict

from natra_jax import command, json_files, report
from natra_jax.config import flatten
from natra_jax.evaluation.records import read_records, write_records
from natra_jax.printable import reason
from natra_jax.report import joined
from natra_jax.report.joined import WorkDirectory
from natra_jax.types import UserError

_USAGE = "python -m natra_jax.report WORKDIR WORKDIR ... --out=DIR"


def main(argv: Sequence[str]) -> None:
    """Write the joined report of argv's work directories, and print its differences.

    Raises UserError for a flag or a directory that cannot be used, and where no method was
    evaluated in all of them.
    """
    if command.wants_help(argv):
        command.show_help(__doc__, _flags)
        return
    chosen, paths = command.parse(argv, _flags)
    if len(paths) < 2:
        raise UserError(f"{len(paths)} work directories are named, not two or more: {_USAGE}")
    if not chosen.out:
        raise UserError(f"--out=DIR is missing: say where the report goes: {_USAGE}")
    directories = [_open(path) for path in paths]
    records = joined.join(directories)
    measured = {(r.method, r.seed) for r in records if r.metric == "accuracy"}
    methods = [
        m for m in joined.trained(records) if all((m, i) in measured for i in range(len(paths)))
    ]
    if not methods:
        raise UserError(f"{', '.join(paths)}: no method was trained and evaluated in all of them")
    baseline = "original" if "original" in methods else methods[0]
    reference = "natra" if "natra" in methods else methods[-1]
    sections = joined.sections(records, methods, baseline, reference)
    sections[0] = sections[0]._replace(warnings=joined.warnings(directories))
    title = f"natra_jax: {len(paths)} work directories"
    lead = "Each work directory is one run: a mean over its seeds where it has several."
    info = [("work directories", ", ".join(paths)), *joined.changed(directories)]
    out = epath.Path(chosen.out).expanduser()
    out.mkdir(parents=True, exist_ok=True)
    report.write_html(out / "index.html", title, sections, lead=lead, info=info)
    report.write_markdown(out / "report.md", title, sections, lead=lead, info=info)
    write_records(out / "records.jsonl", records)
    table = sections[1].table
    assert table is not None  # as `sections` makes it
    for line in (*report.to_text(table, width=140).split("\n"), f"report: {out / 'index.html'}"):
        command.say(line)


def run() -> None:
    """Run the command with its exit codes and one-line errors."""
    command.run(main, sys.argv, interrupted="interrupted: run it again", directory="--out")


def _open(path: str) -> WorkDirectory:
    """Read a work directory. Raises UserError if it is none, or nothing was measured there."""
    root = epath.Path(path).expanduser()
    if not (root / "config.json").exists() or not (root / "records.jsonl").exists():
        raise UserError(
            f"{path}: no records of an experiment there: name the --workdir of a finished run of "
            "natra_jax.main"
        )
    file, advice = root / "config.json", f"name another work directory than {path}"
    config = json_files.read(file, dict[str, Any], advice, loose=True)
    try:
        fields = flatten(ConfigDict(config))
    except (ValueError, AttributeError) as error:  # names with dots, or as Python has them
        raise UserError(f"{file}: is no config of ours ({reason(error)}): {advice}") from error
    return WorkDirectory(path, fields, read_records(root / "records.jsonl"))


def _flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("out", "", "A directory for the report.", flag_values=values)
