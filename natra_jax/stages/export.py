"""Stage export, on request: NaTra's augmented data set (NaTra eq. 7), for training by other means.

It has image files and a table: for every training example and every direction s, the worst r_s that
the search finds for a trained classifier; of these, the ones that the classifier gets wrong. The
classifier is asked about the image as it is written, clipped and rounded.
"""

from __future__ import annotations

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from etils import epath

from natra_jax import attacks
from natra_jax.data import to_uint8
from natra_jax.evaluation import attack, predict
from natra_jax.methods import natural
from natra_jax.printable import csv_lines
from natra_jax.stages import classifier, data, encode, evaluate, screen, shift, sizes, train
from natra_jax.stages.context import Config, Context
from natra_jax.stages.task import Finding, Plan, Task

NAME, TABLE = "export", "table.csv"
_PART = 1000  # images that are searched for together
_COLUMNS = ("file", "index", "label", "direction", "r", "failed")


def tasks(plan: Plan) -> list[Task]:
    """Declare the task export, where there are variations to write."""
    if not plan.has_generator:
        return []
    search = ("natra.num_steps", "natra.restarts")
    fields = plan.fields(NAME, *natural.SPACE_FIELDS, *search, "directions.seed", "eval.batch_size")
    latent = (shift.NAME, encode.NAME, screen.NAME)
    name, seed = method(plan.config), plan.config.seeds[0]
    # of all methods and seeds, these are what it reads
    fields |= {"methods": [name], "seeds": [seed]}
    trained = f"{train.NAME}/{name}-{seed}"
    return [Task(NAME, NAME, run, fields, (data.NAME, *latent, trained), sizes=limits)]


def limits(context: Context) -> Iterator[Finding]:
    """Yield what is asked of the data's sizes."""
    yield from sizes.some(context, "train")


def run(context: Context, directory: epath.Path) -> None:
    """Write the variations as image files, and table.csv, into directory."""
    c = context.config
    name, seed = method(c), c.seeds[0]
    trained = train.load(context, name, seed)
    logits_fn = classifier.logits_fn(c, data.info(context).num_classes, trained.variables)
    all_labels = np.asarray(data.split(context, "train").label)
    covered = data.covered(context, all_labels)
    all_codes, names = encode.train_codes(context), screen.load(context).names
    parts = np.split(covered, range(_PART, len(covered), _PART))
    space = screen.space(context)
    search = natural.search(c.natra.norm, c.natra.num_steps, c.natra.restarts)
    rows: list[tuple] = []
    for s, axis in enumerate(jnp.eye(len(names), dtype=all_codes.dtype)):
        for part, index in enumerate(parts):
            labels = all_labels[index]
            found = attack(
                search,
                attacks.along(space, axis),
                logits_fn,
                all_codes[index],
                labels,
                c.export.epsilon,
                loss="margin",
                seed=c.directions.seed + part,
                batch_size=c.eval.batch_size,
            )
            pixels = to_uint8(found.images)
            failed = predict(logits_fn, pixels, c.eval.batch_size) != labels
            for k in np.flatnonzero(failed) if c.export.failures_only else range(len(labels)):
                file = f"images/{labels[k]}/{index[k]:06d}_{s:03d}.png"
                _write_image(directory / file, pixels[k])
                r = f"{found.delta[k, s]:.6g}"
                rows.append((file, index[k], labels[k], names[s], r, int(failed[k])))
    (directory / TABLE).write_text(csv_lines([_COLUMNS, *rows]))
    which = "that it gets wrong" if c.export.failures_only else "in all"
    context.log(
        f"export: {len(rows)} variations of {len(covered)} images for {name} seed {seed} {which}, "
        f"in {directory / TABLE}"
    )


def method(config: Config) -> str:
    """Return the method whose failures are written: export.method, else the report's baseline."""
    return config.export.method or evaluate.baseline(config)


def _write_image(path: epath.Path, image: np.ndarray) -> None:
    """Write an image [H, W, C] uint8 as a PNG."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG")
