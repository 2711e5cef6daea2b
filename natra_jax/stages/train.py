"""Stage train: the classifier of each method and seed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
from etils import epath

from natra_jax import json_files, methods
from natra_jax.classifiers import auxiliary_batch_norm
from natra_jax.evaluation.records import read_records, write_records
from natra_jax.methods import Latent, MethodSpec
from natra_jax.stages import classifier, data, encode, screen, shift, sizes, user_weights
from natra_jax.stages.context import Config, Context, open_array, save_array, single
from natra_jax.stages.fit import prefetch_options
from natra_jax.stages.task import Finding, Limit, Plan, Task
from natra_jax.training.checkpoint import History
from natra_jax.training.fit import Schedule, fit_classifier, with_auxiliary
from natra_jax.types import Method, Record, UserError

NAME = "train"
_EPSILON, _RECORDS = "epsilon.npy", "records.jsonl"
_LATENT = {  # what MethodSpec.latent asks for -> the stages that it is read from
    "": (),
    "codes": (shift.NAME, encode.NAME),
    "directions": (shift.NAME, encode.NAME, screen.NAME),
}


def tasks(plan: Plan) -> list[Task]:
    """Declare a task for each method and seed, and for those that their methods start from."""
    common = classifier.fields(plan) | plan.fields("train.log_every")
    found = []
    for method in _sources_first(plan.config):
        spec, source = methods.find(method), start(plan.config, method)
        first_weights = {"train.init_from": source}
        if source and not is_method(source):
            first_weights = plan.weights("train.init_from")
        fields = common | first_weights | _fields(plan, spec)
        variant = plan.variant_of(method)
        latent = tuple(stage + variant for stage in _LATENT[spec.latent])
        for seed in plan.config.seeds:
            before = (f"{NAME}/{source}-{seed}",) if is_method(source) else ()
            bound = partial(run, method=method, seed=seed)
            depends_on = (data.NAME, *latent, *before)
            needs = partial(limits, method=method)
            name = f"{NAME}/{method}-{seed}"
            checks = (classifier.check, check)
            found.append(Task(name, NAME, bound, fields, depends_on, checks, needs))
    return found


def limits(context: Context, method: str) -> Iterator[Finding]:
    """Yield what training by the method asks of the data's sizes."""
    perturbs = methods.find(method).perturbs
    if context.config.train.steps or perturbs:
        what = sizes.TRAINING
        what += ", those without labels among them" * (data.info(context).unlabelled > 0)
        count = len(data.training(context).label)
        group = "advbn.group_size" if perturbs else ""
        parts = len(context.devices)
        yield Limit("train.batch_size", count, what, parts=parts, group=group)


def run(context: Context, directory: epath.Path, method: str, seed: int) -> None:
    """Train the classifier of a method from a seed and write it, and its cost, into directory.

    Args:
      context: the run.
      directory: of the task.
      method: its name.
      seed: of the weights and of the order of batches.
    """
    config, info = context.config, data.info(context)
    arrays = data.training(context)._asdict()
    if methods.find(method).latent:
        arrays["codes"] = encode.train_codes(_in_variant(context, method))
    built = _build(context, method)
    schedule = _schedule(context, method, built)
    state, history = fit_classifier(
        classifier.builder(config, info.num_classes),
        built,
        arrays,
        schedule,
        seed=seed,
        directory=directory / "checkpoints",
        devices=context.devices,
        parallel=config.parallel,
        name=directory.name,
        log=context.log,
        initial=_initial(context, method, seed),
        prefetch_options=prefetch_options(context),
    )
    save_array(directory / _EPSILON, np.asarray(state.epsilon))
    (directory / "history.json").write_text(json.dumps(history))
    classifier.save(directory, config, info, state)
    examples = len(arrays["label"])
    passes = built.passes * schedule.steps * schedule.batch_size / examples
    spent = _passes_before(context, method, seed)
    fingerprint = context.fingerprints[f"{NAME}/{directory.name}"]
    cost = Record(method, seed, "train", "passes", passes, examples, None, None, fingerprint)
    records = [] if spent is None else [cost._replace(value=passes + spent)]
    write_records(directory / _RECORDS, records)


def _passes_before(context: Context, method: str, seed: int) -> float | None:
    """Return the passes of the training that this one starts from, 0 for fresh weights.

    None where they are not known: it was done before they were kept.
    """
    source = start(context.config, method)
    if not is_method(source):
        return 0.0
    path = context.workdir / NAME / f"{source}-{seed}" / _RECORDS
    records = read_records(path) if path.exists() else []
    return next((record.value for record in records if record.metric == "passes"), None)


def _fields(plan: Plan, spec: MethodSpec) -> dict[str, Any]:
    """Return {config field: value} of what `_build` and `_schedule` read."""
    if spec.perturbs:
        return classifier.fine_tuning_fields(plan) | plan.fields(*spec.fields)
    other = methods.find(spec.match_passes_of).fields if spec.match_passes_of else ()
    return classifier.schedule_fields(plan) | plan.fields(*spec.fields, *other)


def _sources_first(config: Config) -> list[str]:
    """Return the methods in order, each behind the one whose classifier it starts from.

    The latter is trained too, be it among the experiment's methods or not.
    """
    ordered: list[str] = []

    def add(method: str) -> None:
        source = start(config, method)
        if is_method(source) and source not in ordered:
            add(source)
        if method not in ordered:
            ordered.append(method)

    for method in config.methods:
        add(method)
    return ordered


def start(config: Config, method: str) -> str:
    """Return the start of the method's training.

    It is '' for fresh weights, the name of another method, or a path.
    """
    source, fine_tunes = config.train.init_from, methods.find(method).fine_tunes
    if is_method(source):
        return fine_tunes or ("" if source == method else source)
    return source or fine_tunes


def is_method(source: str) -> bool:
    """Return whether this start is another method's classifier."""
    try:
        return bool(methods.find(source))
    except (KeyError, ValueError):
        return False


def check(context: Context) -> None:
    """Raise UserError if the user's weights do not fit, or AdvBN does not fit the classifier."""
    config, info = context.config, data.info(context)
    if any(methods.find(method).perturbs for method in config.methods):
        network = classifier.builder(config, info.num_classes)(None)
        like = classifier.variables_like(config, info)
        jax.eval_shape(lambda variables: with_auxiliary(network, variables, info.image_shape), like)
    for source in {start(config, method) for method in config.methods} - {""}:
        if not is_method(source):
            user_weights.first_weights(config, info, source, 0, context.inputs)


def load(context: Context, method: str, seed: int) -> classifier.Trained:
    """Load the classifier of a method and seed."""
    directory = context.workdir / NAME / f"{method}-{seed}"
    variables = classifier.load(directory, context.config, data.info(context))
    return classifier.Trained(variables, radii(context, method, seed))


def radii(context: Context, method: str, seed: int) -> np.ndarray:
    """Open the examples' radii at the end of training, [N_examples]."""
    examples = len(data.training(context).label)
    return open_array(context, f"{NAME}/{method}-{seed}/{_EPSILON}", (examples,))


def history(context: Context, method: str, seed: int) -> History:
    """Read the metrics that were logged in training, with their steps.

    Raises UserError if they cannot be read, or are not of the same metrics in every entry.
    """
    path, advice = context.workdir / NAME / f"{method}-{seed}" / "history.json", "run natra again"
    most = json_files.MOST_OF_LISTS
    # a metric may be NaN
    found = json_files.read(path, History, advice, most=most, loose=True)
    if any("step" not in entry or entry.keys() != found[0].keys() for entry in found):
        raise UserError(f"{path}: its entries do not have the same metrics, and a step: {advice}")
    return found


def _initial(context: Context, method: str, seed: int) -> dict[str, Any] | None:
    """Return the variables that a training starts from; None for fresh ones.

    They have auxiliary BatchNorm only where the method has a use for it.
    """
    source = start(context.config, method)
    if not source:
        return None
    if is_method(source):
        return auxiliary_batch_norm.clean(load(context, source, seed).variables)
    variables, notes = user_weights.first_weights(
        context.config, data.info(context), source, seed, context.inputs
    )
    for note in notes:
        context.log(f"train/{method}-{seed}: {source}: {note}")
    return variables if methods.find(method).perturbs else auxiliary_batch_norm.clean(variables)


def _in_variant(context: Context, method: str) -> Context:
    """Return the context of the encoder, codes and directions that the method trains on."""
    return single(context) if methods.find(method).single_code else context


def _build(context: Context, method: str) -> Method:
    """Build the method from the config and what it needs of the generator's codes."""
    spec, latent = methods.find(method), None
    if spec.latent:
        variant = _in_variant(context, method)
        directions = screen.load(variant) if spec.latent == "directions" else None
        latent = Latent(*shift.load(variant), directions)
    info = data.info(context)
    built = spec.build(context.config, info.num_classes, latent)
    if latent is None or info.covered is None:
        return built
    return methods.restrict_to_classes(built, info.covered, info.num_classes)


def _schedule(context: Context, method: str, built: Method) -> Schedule:
    """Return the method's schedule.

    A method that matches the network passes of another takes as many steps as that needs.
    """
    config, spec = context.config, methods.find(method)
    if spec.perturbs:
        return classifier.fine_tuning_schedule(config)
    if not (other := spec.match_passes_of):
        return classifier.schedule(config)
    steps = round(config.train.steps * _build(context, other).passes / built.passes)
    return classifier.schedule(config, steps)
