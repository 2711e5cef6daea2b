"""Stage directions: unsupervised attribute directing (NaTra section 3.4.1)."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np
from etils import epath

from natra_jax.latents import directions, reduction, saved
from natra_jax.latents.objects import shown_again, within_objects
from natra_jax.latents.sefa import sefa
from natra_jax.stages import data, encode, encoder, generator, shift
from natra_jax.stages.context import Config, Context
from natra_jax.stages.task import Finding, Plan, Task
from natra_jax.types import Directions, Generator, Params, UserError

NAME = "directions"


def tasks(plan: Plan) -> list[Task]:
    """Declare the task directions, in each variant."""
    depends_on = (shift.NAME, encode.NAME)
    return plan.in_variants(NAME, run, plan.fields(NAME), depends_on, sizes=limits)


def limits(context: Context) -> Iterator[Finding]:
    """Yield what the population of codes lacks."""
    c, fewest = context.config.directions, reduction.fewest(context.config.directions.method)
    found = fewest if c.codes == "prior" else len(data.domain_images(context))
    if c.codes == "within_classes":
        labels = np.asarray(data.split(context, "train").label)
        of_class = np.bincount(labels[data.covered(context, labels)], minlength=1)
        found = int(of_class.sum())
        if of_class.max() < 2:
            yield (
                f"config.directions.codes={c.codes}, but no class has two training images: "
                "set it to encoded, or add images"
            )
    if c.codes == "within_objects":
        objects = _objects(context)
        if objects is None:
            yield (
                f"config.directions.codes={c.codes}, but the data do not say which images show the "
                "same object: set it to encoded"
            )
        elif again := int(shown_again(objects).sum()):
            found = again
        else:
            yield (
                f"config.directions.codes={c.codes}, but no two of the {len(objects)} images drawn "
                "show the same object: set it to encoded, or raise config.directions.num_codes"
            )
    if c.codes != "within_classes" and c.num_codes < fewest:
        yield (
            f"config.directions.num_codes={c.num_codes} is fewer than the {fewest} that "
            f"{c.method} needs: set it to at least {fewest}"
        )
    if found < fewest:
        yield (
            f"config.directions.method={c.method} needs {fewest} codes, and there are {found} "
            f"images: add some{', or set it to pca' if c.method == 'umap' and found > 1 else ''}"
        )


def run(context: Context, directory: epath.Path) -> None:
    """Write the directions that are found without labels (NaTra eq. 11) into directory."""
    c = context.config.directions
    generator_ = generator.build(context)
    _, params = shift.load(context)
    try:
        codes = directions.hold_class(generator_, _population(context, generator_, params))
        ranges = directions.ranges(c.layers)
        found = directions.concatenate(
            [_in_range(context, generator_, params, codes, layers) for layers in ranges]
        )
    except ValueError as error:
        raise UserError(f"stage {directory.name}: {error}") from error
    notes = _fewer(c, len(codes))
    saved.save(found, directory, notes)
    for note in notes:
        context.log(f"{directory.name}: {note}")
    where = f"in the {c.space} of {len(codes)} codes"
    if c.method == "sefa":
        where = "in the generator's weights"
    layers = ", ".join(f"{first}-{stop - 1}" for first, stop in ranges)
    sigmas = ", ".join(f"{sigma:.2f}" for sigma in found.sigma)
    context.log(
        f"{directory.name}: {len(found.names)} by {c.method} {where}, layers {layers}, "
        f"sigma {sigmas}"
    )


def load(context: Context) -> Directions:
    """Load all directions that were found.

    They are of the generator's own codes [L, D], also where an image has several of these.
    """
    return saved.load(context.workdir / context.task_name(NAME), context.fingerprints["generator"])


def _fewer(c: Config, count: int) -> list[str]:
    """Say where UMAP of `count` codes has fewer coordinates or neighbours than config asks for."""
    if c.method != "umap":
        return []
    asked = {"dim": c.dim, "neighbors": c.neighbors}
    had = dict(zip(asked, reduction.umap_sizes(count, **asked), strict=True))
    return [
        f"UMAP of {count} codes has {had[name]} for directions.{name}, not {asked[name]}"
        for name in asked
        if had[name] < asked[name]
    ]


def _population(context: Context, generator_: Generator, params: Params) -> np.ndarray:
    """Return the codes [K, L, D] of the population that directions.codes names."""
    c = context.config.directions
    if c.codes == "prior":
        drawn = generator_.draw(params, jax.random.key(c.seed), c.num_codes, c.truncation_psi)
        return np.asarray(drawn)
    model, _ = encoder.load(context)
    if c.codes == "within_classes":
        labels = np.asarray(data.split(context, "train").label)
        index = data.covered(context, labels)
        codes = np.asarray(model.single(encode.train_codes(context)[index]))
        return directions.within_classes(codes, labels[index])
    codes = np.asarray(model.single(np.asarray(encode.domain_codes(context))))
    if c.codes == "within_objects":
        objects = _objects(context)
        assert objects is not None, "limits yields where there are none"
        return within_objects(codes, objects)
    return codes


def _objects(context: Context) -> np.ndarray | None:
    """Return which object each of `encode.domain_codes` shows, [K]; None: the data do not say."""
    objects = data.domain_objects(context)
    return None if objects is None else objects[encode.domain_sample(context)]


def _in_range(
    context: Context,
    generator_: Generator,
    params: Params,
    codes: np.ndarray,
    layers: tuple[int, int],
) -> Directions:
    """Find the directions of codes [K, L, D] in the layers (first, stop)."""
    c, fingerprint = context.config.directions, context.fingerprints["generator"]
    if c.method == "sefa":
        return sefa(generator_, params, codes, num=c.num, layers=layers, fingerprint=fingerprint)
    if c.space == "codes":
        seen = codes[:, slice(*layers)]
    else:
        seen = directions.activations(generator_, params, codes, layers, c.at)
    return directions.discover(
        codes,
        seen,
        method=c.method,
        num=c.num,
        layers=layers,
        seed=c.seed,
        fingerprint=fingerprint,
        dim=c.dim,
        neighbors=c.neighbors,
        regression=c.regression,
    )
