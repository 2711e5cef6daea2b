"""The stages in order, what each depends on, and skipping what is done.

data -> generator -> encoder -> shift -> encode -> directions -> screen -> train (each method and seed) -> judge -> evaluate -> report
(-> export)
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from etils import epath
from ml_collections import ConfigDict, FrozenConfigDict

from natra_jax import methods
from natra_jax import workdir as files
from natra_jax.config import flatten, nearest, to_json, validate
from natra_jax.data import Source
from natra_jax.evaluation.records import read_records, write_records
from natra_jax.generators.pretrained import weights_path
from natra_jax.latents import choose
from natra_jax.resolve import settle
from natra_jax.stages import (
    classifier,
    data,
    directions,
    encode,
    encoder,
    evaluate,
    export,
    extra_splits,
    folds,
    generator,
    judge,
    label_preservation,
    perceptual,
    report,
    robustness,
    screen,
    shift,
    train,
)
from natra_jax.stages.context import SINGLE, Context, is_single, single
from natra_jax.types import UserError
from natra_jax.weights import generator_config

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


class Task(NamedTuple):
    """A piece of work with a directory of its own: a stage, or a stage for one method and seed."""

    name: str  # 'directions', 'train/natra-0'
    run: Callable[[Context, epath.Path], None]
    fields: dict[str, Any]  # the config fields that it depends on
    depends_on: tuple[str, ...]  # the pieces that it reads

    @property
    def stage(self) -> str:
        """'directions' of 'directions' and 'directions-ol', 'train' of 'train/natra-0'."""
        return _PART_OF.get(self.name) or self.name.split("/")[0].removesuffix(SINGLE)


# pieces that are run with a stage, but do not depend on what the others of it do
_PART_OF = {extra_splits.NAME: "data", perceptual.NAME: encoder.NAME, folds.NAME: screen.NAME}


def pieces(config: ConfigDict, source: Source | None = None) -> list[Task]:
    """The work of an experiment, in an order in which everything comes after what it needs. source: data handed over in Python."""

    values = flatten(config)

    def fields(*sections: str) -> dict[str, Any]:
        return {
            name: value
            for name, value in values.items()
            if any(name == s or name.startswith(f"{s}.") for s in sections)
        }

    has_generator = generator_config.has_generator(config.generator)
    named = config.generator.weights
    trained = fields("generator")
    architecture = {
        f"generator.{name}": trained[f"generator.{name}"]
        for name in generator_config.own_arguments(config.generator)
    }
    # weights that are given do not depend on how long a training would have been, nor on data
    if generator_config.is_file(config.generator):
        given = fields(*(f"generator.{name}" for name in generator_config.FIELDS))
        make_generator = Task(
            generator.NAME, generator.run, given | {"generator.weights": _sha256(named)}, ()
        )
    elif named:
        file = weights_path(named.removeprefix(generator_config.PACKAGE))
        given = architecture | {"generator.weights": named, "sha256": files.sha256(file)}
        make_generator = Task(generator.NAME, generator.run, given, ())
    else:
        of_files = {
            f"generator.{name}" for name in generator_config.FIELDS
        }  # none of which says anything of what is trained here
        make_generator = Task(
            generator.NAME,
            generator.run,
            {n: v for n, v in trained.items() if n not in of_files},
            ("data",),
        )
    named = fields(*classifier.fields(config))
    factory = fields("classifier.factory")
    own = factory if config.classifier.factory else factory | named
    schedule = fields("train")
    del schedule["train.init_from"]
    of_data = {
        name: value for name, value in fields("data").items() if name not in data.READING
    } | data.identity(config.data, source)
    work = [Task("data", data.run, of_data, ())]
    if has_generator:
        work.append(make_generator)
    if seen := (perceptual.NAME,) if has_generator and perceptual.is_needed(config) else ():
        if perceptual.is_file(config):
            of_network, depends_on = (
                {"encoder.perceptual_weights": _sha256(config.encoder.perceptual_weights)},
                (),
            )
        else:
            of_network, depends_on = named | schedule | fields("encoder.seed"), ("data",)
        work.append(
            Task(
                perceptual.NAME,
                perceptual.run,
                of_network | fields("encoder.perceptual"),
                depends_on,
            )
        )
    if has_generator:
        work += _latent(config, fields, seen, own, schedule, "")
    if any(methods.find(method).single_code for method in config.methods) and not is_single(config):
        work += _latent(config, fields, seen, own, schedule, SINGLE)
    needs_of = {"": (), "codes": ("shift", "encode"), "directions": ("shift", "encode", "screen")}
    for method in _sources_first(config):
        spec, source = methods.find(method), train.start(config, method)
        from_method = train.is_method(source)
        start = {"train.init_from": source if from_method or not source else _sha256(source)}
        for seed in config.seeds:
            run = partial(train.run, method=method, seed=seed)
            variant = SINGLE if spec.single_code and not is_single(config) else ""
            latent = tuple(need + variant for need in needs_of[spec.latent])
            depends_on = ("data", *latent, *([f"train/{source}-{seed}"] if from_method else []))
            work.append(
                Task(
                    f"train/{method}-{seed}",
                    run,
                    own | schedule | start | fields(*spec.fields),
                    depends_on,
                )
            )
    if has_generator:  # without variations there is nothing for it to judge
        work.append(Task("judge", judge.run, own | schedule | fields("judge"), ("data",)))
    if config.eval.extra_splits:
        of_extra = fields("eval.extra_splits") | extra_splits.identity(config.eval.extra_splits)
        work.append(Task(extra_splits.NAME, extra_splits.run, of_extra, ("data",)))
    extra = (extra_splits.NAME,) if config.eval.extra_splits else ()
    evaluated = ("data", *extra, *(("encode", "screen", "judge") if has_generator else ()))
    of_space = fields("natra.truncation", "natra.norm", "natra.units") if has_generator else {}
    settings = {name: fields("eval")[name] for name in evaluate.FIELDS} | of_space
    if has_generator:
        work.append(
            Task(
                f"evaluate/{label_preservation.NAME}-0",
                label_preservation.run,
                settings | fields("natra.epsilon_max"),
                evaluated,
            )
        )
    for method in config.methods:
        for seed in config.seeds:
            depends_on = (*evaluated, f"train/{method}-{seed}")
            run = partial(evaluate.run, method=method, seed=seed)
            work.append(Task(f"evaluate/{method}-{seed}", run, settings, depends_on))
            if config.eval.thorough:
                run = partial(robustness.run, method=method, seed=seed)
                work.append(
                    Task(
                        f"evaluate/{method}-{seed}-thorough",
                        run,
                        fields("eval") | of_space,
                        depends_on,
                    )
                )
    if has_generator:
        run = partial(evaluate.run, method=judge.name(config), seed=0)
        work.append(
            Task(f"evaluate/{judge.name(config)}-0", run, settings, ("data", *extra, "judge"))
        )
    everything = tuple(piece.name for piece in work if piece.stage not in ("data", "judge"))
    work.append(
        Task("report", report.run, fields("report", "name", "methods", "seeds"), everything)
    )
    if not has_generator:
        return work
    searched = of_space | fields(
        "natra.num_steps",
        "natra.restarts",
        "natra.random_start",
        "directions.seed",
        "eval.batch_size",
    )
    depends_on = (
        "data",
        "shift",
        "encode",
        "screen",
        f"train/{export.method(config)}-{config.seeds[0]}",
    )
    work.append(Task("export", export.run, fields("export") | searched, depends_on))
    return work


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
    """Runs the chosen stages of the experiment in workdir, skipping what is done there and continuing what was interrupted.

    source: data handed over in Python, where config.data.name is 'arrays' (`natra_jax.data.from_arrays`).
    Raises UserError for a wrong config field, an unknown stage, a workdir that cannot be used, or a stage whose inputs are missing.
    """
    for stage in stages:
        if stage not in (*STAGES, *ON_REQUEST):
            raise UserError(
                f"--stages: unknown stage {stage!r} ({nearest(stage, (*STAGES, *ON_REQUEST))})"
            )
    config = settle(config, source)
    described = validate(config, len(devices))
    root = (
        epath.Path(workdir).expanduser().resolve() if "://" not in workdir else epath.Path(workdir)
    )
    work = pieces(config, source)
    fingerprints = _fingerprints(work)
    done = {
        piece.name for piece in work if files.is_done(root / piece.name, fingerprints[piece.name])
    }
    chosen = [piece for piece in work if piece.stage in stages]
    available = done | {piece.name for piece in chosen}
    for piece in chosen:
        if piece.name not in done and (
            missing := [need for need in piece.depends_on if need not in available]
        ):
            stage = missing[0].split("/")[0]
            raise UserError(
                f"--stages={','.join(stages)}: {piece.name} needs {missing[0]}, which is not done: add {stage}"
            )
    files.claim(root, config.name, to_json(config))
    with tempfile.TemporaryDirectory(prefix="natra_jax_") as temporary:
        context = Context(
            FrozenConfigDict(config),
            root,
            Path(scratch or temporary),
            devices,
            log,
            fingerprints,
            source,
        )
        _collect(root, work, done)
        checked = False
        for piece in chosen:
            if piece.name in done:
                log(f"{piece.name}: up to date")
                continue
            if "data" in done and not checked:
                train.check(context)
                if described is not None:
                    generator.check(context, described)
                    perceptual.check(context)
                    folds.check(context)
                checked = True
            directory, wanted = root / piece.name, fingerprints[piece.name]
            for change in files.changes(directory, piece.fields):
                log(f"{piece.name}: running again, {change}")
            files.begin(directory, wanted)
            piece.run(context, directory)
            files.commit(directory, wanted, piece.fields)
            done.add(piece.name)
            _collect(root, work, done)
        if "report" in done:
            log("\n" + report.summary(context))


def _latent(
    config: ConfigDict,
    fields: Callable,
    seen: tuple[str, ...],
    own: dict,
    schedule: dict,
    variant: str,
) -> list[Task]:
    """The pieces from encoder to screen: images to codes, and what may vary of them.

    own, schedule: the fields of the experiment's classifier and of its training. seen: the piece perceptual, where it is needed.
    """

    def piece(stage, of_piece: dict[str, Any], depends_on: tuple[str, ...]) -> Task:
        run = (
            stage.run
            if not variant
            else lambda context, directory: stage.run(single(context), directory)
        )
        varied = tuple(need + variant if need in _VARIED else need for need in depends_on)
        return Task(stage.NAME + variant, run, of_piece, varied)

    of_encoder = fields("encoder")
    del of_encoder["encoder.perceptual_weights"]  # its content counts, by the piece perceptual
    if variant:
        of_encoder |= {"encoder.codes": "w", "encoder.num_codes": 1}
    sample = fields("directions.num_codes", "directions.seed")
    of_space = fields("natra.epsilon_max", "natra.truncation", "natra.norm", "natra.units")
    by_folds = folds.is_needed(config)
    by_fold = Task(
        folds.NAME,
        folds.run,
        own | schedule | fields("screening.folds", "screening.seed"),
        ("data",),
    )
    of_screen = fields("screening", "encode.batch_size") | of_space
    if folds.is_file(config):
        of_screen |= own | {"screening.judge": _sha256(config.screening.judge)}
    if choose.is_file(config.screening.choose):
        of_screen["screening.choose"] = _sha256(config.screening.choose.strip())
    return [
        piece(encoder, of_encoder, ("data", "generator", *seen)),
        piece(shift, fields("shift"), ("data", "generator", "encoder", *seen)),
        piece(encode, sample | fields("encode"), ("data", "shift", "encoder", *seen)),
        piece(directions, fields("directions"), ("shift", "encode")),
        *([by_fold] if by_folds and not variant else []),  # the same judges for both variants
        piece(
            screen,
            of_screen,
            ("data", "shift", "encode", "directions", *([folds.NAME] if by_folds else [])),
        ),
    ]


_VARIED = (encoder.NAME, shift.NAME, encode.NAME, directions.NAME, screen.NAME)


def _sources_first(config: ConfigDict) -> list[str]:
    """The methods in their order, each after the one whose classifier it starts from, be that among them or not."""
    ordered: list[str] = []

    def add(method: str) -> None:
        source = train.start(config, method)
        if train.is_method(source) and source not in ordered:
            add(source)
        if method not in ordered:
            ordered.append(method)

    for method in config.methods:
        add(method)
    return ordered


def _sha256(path: str | epath.Path) -> str:
    """Of the content of a file, or of all that a directory holds, with the names below it."""
    path = epath.Path(path).expanduser()
    if not path.is_dir():
        return files.sha256(path)
    held = sorted((child.name, _sha256(child)) for child in path.iterdir())
    return hashlib.sha256(json.dumps(held).encode()).hexdigest()


def _fingerprints(work: Sequence[Task]) -> dict[str, str]:
    fingerprints: dict[str, str] = {}
    for piece in work:
        fingerprints[piece.name] = files.fingerprint(
            piece.name, piece.fields, {need: fingerprints[need] for need in piece.depends_on}
        )
    return fingerprints


def _collect(root: epath.Path, work: Sequence[Task], done: set[str]) -> None:
    """records.jsonl at the top: the records of every piece that is done."""
    paths = [root / piece.name / "records.jsonl" for piece in work if piece.name in done]
    records = [record for path in paths if path.exists() for record in read_records(path)]
    if records or (root / "records.jsonl").exists():
        write_records(root / "records.jsonl", records)
