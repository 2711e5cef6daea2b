"""One-call attacks for people who have a classifier and nothing else: images in, adversarial images out.

All take logits_fn (images [B, ...] -> logits [B, C], the classifier in evaluation mode), images [B, ...] floating point within bounds
(low, high), labels int [B]; epsilon is a number or [B], in the units of images, as are step sizes; defaults suit images in [0, 1], double
them in [-1, 1]. targeted: labels are the classes to be reached. Adversarial images come back with the shape, type and bounds of
images. Bind a classifier's weights with `jax.tree_util.Partial`: then other weights do not compile anew.

Of the points that an attack visits, the image itself included, the one with the highest loss comes back: never a weaker one than the
start. With loss 'ce' that need not be a misclassified one where another visited point was; with 'margin' and 'dlr' it is.

All raise ValueError, naming the argument, for images that are not floating point, not finite or outside the bounds, no images, labels
that are not int [B] or not a class of logits_fn, logits_fn without logits [B, C], an epsilon or step size that is negative, not finite or
of another shape, a key that is not one, an unknown loss or norm, and counts below their least. What `jax.jit` traces is checked for its
shape alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from natra_jax.attacks.auto_pgd import auto_pgd
from natra_jax.attacks.combine import best_of
from natra_jax.attacks.objective import objective
from natra_jax.attacks.pgd import pgd
from natra_jax.attacks.search import Attack
from natra_jax.attacks.spaces import l2, linf

LogitsFn = Callable[[jax.Array], jax.Array]
Bounds = tuple[float, float]
NORMS = {"linf": linf, "l2": l2}


def fgsm(
    logits_fn: LogitsFn,
    images: jax.Array,
    labels: jax.Array,
    *,
    epsilon: float | jax.Array = 8 / 255,
    loss: str = "ce",
    targeted: bool = False,
    bounds: Bounds = (0.0, 1.0),
) -> jax.Array:
    """The fast gradient sign method: one step of size epsilon (Goodfellow et al. 2015)."""
    # one step of 2.5 epsilon, which the ball cuts to epsilon
    search = _pgd(1, None, "sign", False, None)
    return _attack(
        "fgsm",
        "linf",
        search,
        jax.random.key(0),
        logits_fn,
        images,
        labels,
        epsilon,
        loss,
        targeted,
        bounds,
    )


def mim(
    logits_fn: LogitsFn,
    images: jax.Array,
    labels: jax.Array,
    *,
    epsilon: float | jax.Array = 8 / 255,
    step_size: float | None = 2 / 255,
    num_steps: int = 10,
    decay: float = 1.0,
    loss: str = "ce",
    targeted: bool = False,
    bounds: Bounds = (0.0, 1.0),
) -> jax.Array:
    """The momentum iterative method MI-FGSM (Dong et al. 2018), from the image itself. step_size None: 2.5 epsilon / num_steps."""
    search = _pgd(num_steps, step_size, "sign", False, decay)
    return _attack(
        "mim",
        "linf",
        search,
        jax.random.key(0),
        logits_fn,
        images,
        labels,
        epsilon,
        loss,
        targeted,
        bounds,
    )


def linf_pgd(
    logits_fn: LogitsFn,
    images: jax.Array,
    labels: jax.Array,
    *,
    epsilon: float | jax.Array = 8 / 255,
    step_size: float | None = 2 / 255,
    num_steps: int = 10,
    restarts: int = 1,
    random_start: bool = True,
    loss: str = "ce",
    targeted: bool = False,
    key: jax.Array,
    bounds: Bounds = (0.0, 1.0),
) -> jax.Array:
    """PGD with sign steps in the l-infinity ball (Madry et al. 2018). step_size None: 2.5 epsilon / num_steps."""
    search = _pgd(num_steps, step_size, "sign", random_start, None, restarts)
    return _attack(
        "linf_pgd", "linf", search, key, logits_fn, images, labels, epsilon, loss, targeted, bounds
    )


def l2_pgd(
    logits_fn: LogitsFn,
    images: jax.Array,
    labels: jax.Array,
    *,
    epsilon: float | jax.Array = 0.5,
    step_size: float | None = None,
    num_steps: int = 10,
    restarts: int = 1,
    random_start: bool = True,
    loss: str = "ce",
    targeted: bool = False,
    key: jax.Array,
    bounds: Bounds = (0.0, 1.0),
) -> jax.Array:
    """PGD along the normalised gradient in the Euclidean ball (Madry et al. 2018). step_size None: 2.5 epsilon / num_steps."""
    search = _pgd(num_steps, step_size, "l2", random_start, None, restarts)
    return _attack(
        "l2_pgd", "l2", search, key, logits_fn, images, labels, epsilon, loss, targeted, bounds
    )


def apgd(
    logits_fn: LogitsFn,
    images: jax.Array,
    labels: jax.Array,
    *,
    epsilon: float | jax.Array = 8 / 255,
    norm: str = "linf",
    num_steps: int = 100,
    restarts: int = 1,
    loss: str = "ce",
    targeted: bool = False,
    key: jax.Array,
    bounds: Bounds = (0.0, 1.0),
) -> jax.Array:
    """Auto-PGD (Croce & Hein 2020), no step size to tune; norm 'linf' or 'l2'. An example that a restart has fooled is left as it is."""
    search = _apgd(num_steps, norm, restarts)
    return _attack(
        "apgd", norm, search, key, logits_fn, images, labels, epsilon, loss, targeted, bounds
    )


def _pgd(num_steps, step_size, rule, random_start, decay, restarts=1) -> Attack:
    try:
        step_size = None if step_size is None else float(step_size)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"step_size must be None or one number, the same for all examples and not traced, got {step_size!r}"
        ) from error
    return _settled_pgd(num_steps, step_size, rule, random_start, decay, restarts)


@lru_cache(
    maxsize=64
)  # the same object for the same settings: what is jitted with it is traced once
def _settled_pgd(num_steps, step_size, rule, random_start, decay, restarts) -> Attack:
    return best_of(
        pgd(num_steps, step_size, rule=rule, random_start=random_start, decay=decay), restarts
    )


@lru_cache(maxsize=64)
def _apgd(num_steps, norm, restarts) -> Attack:
    search = auto_pgd(num_steps, rule="l2" if norm == "l2" else "sign", random_start=True)
    return best_of(search, restarts, early_stop=True)


@partial(jax.jit, static_argnums=0)
def _search(search, loss_fn, key, space, images, epsilon, bounds):
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(images.shape[0]))
    found = search(loss_fn, keys, space, images, jnp.broadcast_to(epsilon, images.shape[:1])).inputs
    return jnp.clip(found, *bounds)  # image + delta rounds, and could be a last digit outside


def _attack(
    name, norm, search, key, logits_fn, images, labels, epsilon, loss, targeted, bounds
) -> jax.Array:
    """One call of the attack called name, its arguments checked."""

    def require(holds, what):
        if not holds:
            raise ValueError(f"{name}: {what}")

    require(
        norm in tuple(NORMS), f"norm must be one of {', '.join(map(repr, NORMS))}, got {norm!r}"
    )
    try:
        low, high = bounds
        in_order = bool(low < high)
    except (TypeError, ValueError):
        in_order = False
    require(in_order, f"bounds must be (low, high) with low < high, got {bounds!r}")
    images, labels = _array(images), _array(labels)
    floating = jnp.issubdtype(images.dtype, jnp.floating) and images.ndim >= 1 and len(images) >= 1
    require(
        floating,
        f"images must be floating point [B, ...] within bounds {bounds}, B >= 1, got {images.dtype} {images.shape}",
    )
    integers = jnp.issubdtype(labels.dtype, jnp.integer) and labels.shape == images.shape[:1]
    require(
        integers, f"labels must be int [B] = {images.shape[:1]}, got {labels.dtype} {labels.shape}"
    )
    try:
        epsilon = _array(epsilon, images.dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: epsilon must be a number or [B] = {images.shape[:1]}, got {epsilon!r}"
        ) from error
    fits = epsilon.shape in ((), images.shape[:1])
    require(
        fits, f"epsilon must be a number or [B] = {images.shape[:1]}, got shape {epsilon.shape}"
    )
    require(_is_key(key), f"key must be one jax.random.key, got {key!r}")
    logits_fn = logits_fn if isinstance(logits_fn, Partial) else Partial(logits_fn)
    logits = _call.eval_shape(logits_fn, images)
    shape = getattr(logits, "shape", ())
    require(
        len(shape) == 2 and shape[0] == len(images),
        f"logits_fn must return logits [{len(images)}, C], got {logits}",
    )
    with jax.ensure_compile_time_eval():
        if _known(epsilon):
            require(
                bool(((epsilon >= 0) & jnp.isfinite(epsilon)).all()),
                f"epsilon must be >= 0 and finite, got {epsilon}",
            )
        if _known(images):
            bad = ~jnp.isfinite(images).reshape(len(images), -1).all(1)
            require(
                not bad.any(),
                f"images must be finite, but image {int(bad.argmax())} holds NaN or infinity",
            )
            inside = bool(
                ((images >= low) & (images <= high)).all()
            )  # the bounds rounded as images are
            reach = float(images.min()), float(images.max())
            require(
                inside, f"images must lie within bounds {bounds}, got {reach[0]:g} to {reach[1]:g}"
            )
        if _known(labels):
            reach = int(labels.min()), int(labels.max())
            require(
                reach[0] >= 0 and reach[1] < shape[1],
                f"labels must be in 0..{shape[1] - 1}, got {reach[0]} to {reach[1]}",
            )
    try:
        loss_fn = objective(logits_fn, labels, loss=loss, targeted=targeted)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return _search(search, loss_fn, key, NORMS[norm](bounds), images, epsilon, bounds)


@jax.jit  # never run: its eval_shape remembers what it traced
def _call(logits_fn, images):
    return logits_fn(images)


def _known(x: jax.Array) -> bool:
    return not isinstance(x, jax.core.Tracer)


def _array(x, dtype=None) -> jax.Array:
    """x as an array: of known values, where x is known, even while something around the call is traced."""
    if isinstance(x, jax.core.Tracer):
        return x.astype(dtype or x.dtype)
    with jax.ensure_compile_time_eval():
        return jnp.asarray(x, dtype)


def _is_key(key) -> bool:
    """Whether key is one of jax.random.key, or of the older jax.random.PRNGKey."""
    if not isinstance(key, jax.Array):
        return False
    return (
        key.ndim == 0
        if jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        else key.dtype == jnp.uint32 and key.ndim == 1
    )
