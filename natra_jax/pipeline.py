"""The stages in order, and running what is not done.

data -> generator -> encoder -> shift -> encode -> directions -> screen -> train (each method and
seed) -> judge -> evaluate -> report (-> export, on request)

Each stage declares its tasks in its own file: what it runs, which config fields that reads, and
which tasks it depends on. Here tasks are ordered, fingerprinted, skipped and run.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from etils import epath
from ml_collections import ConfigDict, FrozenConfigDict

from natra_jax import interruption
from natra_jax import workdir as files
from natra_jax.config import check_names, nearest, to_json, validate
from natra_jax.data import Source, folder
from natra_jax.data.survey import Survey, survey
from natra_jax.evaluation.records import read_records, write_records
from natra_jax.inputs import Inputs
from natra_jax.lease import Lease
from natra_jax.resolve import resolve
from natra_jax.stages import (
    data,
    directions,
    encode,
    encoder,
    evaluate,
    export,
    extra_splits,
    feature_decoder,
    folds,
    generator,
    judge,
    label_preservation,
    perceptual,
    report,
    robustness,
    screen,
    shift,
    sizes,
    train,
)
from natra_jax.stages.context import Context, with_single_code
from natra_jax.stages.task import Plan, Task
from natra_jax.types import UserError
from natra_jax.weights.generator_config import has_generator

STAGES = (
    "data",
    "generator",
    "encoder",
    "shift",
    "encode",
    "directions",
    "screen",
    "train",
    "judge",
    "evaluate",
    "report",
)
ON_REQUEST = ("export",)
# Some stages have tasks in several files. The report, which reads all that is measured, and the
# export come behind these.
_DECLARING = (
    data,
    generator,
    perceptual,
    encoder,
    shift,
    encode,
    directions,
    folds,
    screen,
    train,
    judge,
    extra_splits,
    label_preservation,
    evaluate,
    robustness,
    feature_decoder,
)


def tasks(
    config: ConfigDict, found: Survey | None = None, inputs: Inputs | None = None
) -> list[Task]:
    """Return the tasks of an experiment, in an order in which each follows what it depends on.

    Args:
      config: the experiment, resolved (`natra_jax.resolve.resolve`).
      found: the survey of the data; None makes one.
      inputs: the files that config names; None reads them anew.
    """
    inputs = inputs or Inputs()
    identity = (found or survey(config.data, digest=inputs.digest)).identity
    plan = Plan(config, identity, inputs, has_generator(config.generator))
    declared = [task for stage in _DECLARING for task in stage.tasks(plan)]
    return [*declared, *report.tasks(plan, declared), *export.tasks(plan)]


def run(
    config: ConfigDict,
    workdir: str,
    *,
    devices: Sequence[Any],
    stages: Sequence[str] = STAGES,
    scratch: str | None = None,
    log: Callable[[str], None] = print,
    source: Source | None = None,
) -> None:
    """Run the chosen stages of the experiment, skipping what is done and continuing what began.

    Args:
      config: the experiment, as `natra_jax.config.load` reads it.
      workdir: the directory or bucket that everything is written into.
      devices: the JAX devices to use.
      stages: some of STAGES and ON_REQUEST.
      scratch: a local directory for memory-mapped copies where workdir is a bucket.
      log: takes the lines that say what is done.
      source: data handed over in Python (`natra_jax.data.from_arrays`), where config.data.name is
        'arrays'.

    Raises:
      UserError: for a wrong config field, an unknown stage, a workdir that cannot be used or that
        another run writes into, or a stage whose inputs are missing.
    """
    for stage in stages:
        if stage not in (*STAGES, *ON_REQUEST):
            valid = (*STAGES, *ON_REQUEST)
            raise UserError(f"--stages: unknown stage {stage!r} ({nearest(stage, valid)})")
    files.require_path(workdir, "--workdir")
    root = epath.Path(workdir)
    if "://" not in workdir:
        root = root.expanduser().resolve()
    lease = Lease(root)
    lease.require_free()
    inputs = Inputs(root)
    check_names(config)
    found = survey(config.data, source, inputs.digest)
    config = resolve(config, found, inputs)
    described = validate(config, len(devices), inputs.generator)
    _require_apart(root, config)
    work = tasks(config, found, inputs)
    fingerprints = _fingerprints(work)
    done = {task.name for task in work if files.is_done(root / task.name, fingerprints[task.name])}
    chosen = [task for task in work if task.stage in stages]
    _require_inputs(work, done, stages)
    files.claim(root, config.name)
    with (
        lease,
        interruption.holding(lease.end),
        tempfile.TemporaryDirectory(prefix="natra_jax_") as temporary,
        interruption.holding(partial(shutil.rmtree, temporary, ignore_errors=True)),
    ):
        files.describe(root, to_json(config))
        inputs.save()
        context = Context(
            FrozenConfigDict(config),
            root,
            Path(scratch or temporary),
            devices,
            log,
            fingerprints,
            inputs,
            source,
            generator=described,
            single_code=with_single_code(config),
        )
        _collect(root, work, done)
        checked = False
        for task in chosen:
            if task.name in done:
                log(f"{task.name}: up to date")
                continue
            if data.NAME in done and not checked:
                left = [task for task in chosen if task.name not in done]
                sizes.require(context, left)
                for check in dict.fromkeys(check for task in left for check in task.checks):
                    check(context)
                checked = True
            interruption.check()
            lease.require_own()
            for change in files.changes(root / task.name, task.fields):
                log(f"{task.name}: running again, {change}")
            files.begin(root / task.name, fingerprints[task.name])
            run_task(task, context)
            files.commit(root / task.name, fingerprints[task.name], task.fields)
            done.add(task.name)
            _collect(root, work, done)
        if report.NAME in done:
            for line in ("", *report.summary(context).split("\n")):
                log(line)


def _require_apart(root: epath.Path, config: ConfigDict) -> None:
    """Raise UserError if the work directory lies in a folder of photos, where it would be data."""
    folders = {"eval.extra_splits": [*extra_splits.named(config.eval.extra_splits).values()]}
    if config.data.name == "folder":
        folders |= {f"data.{name}": [config.data[name]] for name in ("path", "unlabelled")}
    for field, paths in folders.items():
        for path in filter(None, paths):
            if files.local(root) is not None and folder.lies_in(str(root), path):
                raise UserError(
                    f"--workdir={root} lies in the photos of config field {field}, {path}: "
                    "choose another --workdir"
                )


def run_task(task: Task, context: Context) -> None:
    """Run a task in its directory."""
    task.run(context, context.workdir / task.name)


def _require_inputs(work: Sequence[Task], done: set[str], stages: Sequence[str]) -> None:
    """Raise UserError if a chosen task depends on one that is neither chosen nor done.

    The message names all stages that have to be added, those included that only these need.
    """
    needed_by: dict[str, str] = {}
    missing: list[Task] = []
    for task in reversed(work):
        is_chosen = task.stage in stages
        if task.name not in done and (is_chosen or task.name in needed_by):
            needed_by |= dict.fromkeys(task.depends_on, task.name)
            missing += [] if is_chosen else [task]
    if missing:
        name, left_out = missing[-1].name, {task.stage for task in missing}
        raise UserError(
            f"--stages={','.join(stages)}: {needed_by[name]} needs {name}, which is not done: "
            f"add {','.join(stage for stage in STAGES if stage in left_out)}"
        )


def _fingerprints(work: Sequence[Task]) -> dict[str, str]:
    """Return {task: fingerprint} of tasks that each follow what they depend on."""
    fingerprints: dict[str, str] = {}
    for task in work:
        below = {name: fingerprints[name] for name in task.depends_on}
        fingerprints[task.name] = files.fingerprint(task.name, task.fields, below)
    return fingerprints


def _collect(root: epath.Path, work: Sequence[Task], done: set[str]) -> None:
    """Write records.jsonl at the top: the records of every task that is done."""
    paths = [root / task.name / "records.jsonl" for task in work if task.name in done]
    records = [record for path in paths if path.exists() for record in read_records(path)]
    if records or (root / "records.jsonl").exists():
        write_records(root / "records.jsonl", records)
