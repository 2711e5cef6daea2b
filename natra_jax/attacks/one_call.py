"""One-call attacks: a classifier and images in, adversarial images out.

All take logits_fn (images [B, ...] -> logits [B, C], the classifier in evaluation mode), images
[B, ...] floating point within bounds (low, high), and labels int [B]. epsilon is a number or [B],
in the units of images, as are step sizes; defaults suit images in [0, 1], double them in [-1, 1].
A default step of 2 / 255 suits epsilon 8 / 255, whatever epsilon is given: None takes one that
follows it. targeted: labels are the classes to be reached. Adversarial images come back with the
shape, type and bounds of images. Bind a classifier's weights with `jax.tree_util.Partial`: then
other weights do not compile anew.

Of the points that an attack visits, the image itself included, the one with the highest loss comes
back: never a weaker one than the image. With loss 'ce' that need not be a misclassified one where
another visited point was; with 'margin' and 'dlr' it is. Images in half precision are rounded
towards where they began, so that they stay within epsilon.

Adversarial images are finite and within bounds whatever logits_fn returns. Where its logits are NaN
at the image and at all visited points, nothing was measured: count `isnan(logits_fn(images))`.

All raise ValueError, naming the argument, for images that are not floating point, not finite or
outside the bounds, no images, labels that are not int [B] or not a class of logits_fn, logits_fn
without floating-point logits [B, C], C >= 2 (`attacks.binary` makes them of a single logit), an
epsilon, step size or decay that is negative, not finite or of another shape, a key that is not one,
an unknown loss or norm, and counts below their least. What `jax.jit` traces is checked for its
shape alone: there an epsilon that is negative or NaN counts as 0, and a pixel that is NaN comes
back as the lower bound.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Float, Integer

from natra_jax.attacks.arguments import array, is_key, kind, numbers
from natra_jax.attacks.auto_pgd import auto_pgd
from natra_jax.attacks.combine import best_of, with_start
from natra_jax.attacks.objective import evaluated, objective, require_logits
from natra_jax.attacks.pgd import pgd
from natra_jax.attacks.search import Attack, LossFn, Space
from natra_jax.attacks.spaces import l2, linf
from natra_jax.printable import shown
from natra_jax.types import Array, LogitsFn

Bounds = tuple[float, float]
NORMS = {"linf": linf, "l2": l2}


def fgsm(
    logits_fn: LogitsFn,
    images: ArrayLike,
    labels: ArrayLike,
    *,
    epsilon: ArrayLike = 8 / 255,
    loss: str = "ce",
    targeted: bool = False,
    bounds: Bounds = (0.0, 1.0),
) -> jax.Array:
    """Take one sign step of size epsilon (FGSM, Goodfellow et al. 2015).

    Args:
        logits_fn: images [B, ...] -> logits [B, C], the classifier in evaluation mode.
        images: [B, ...], floating point, within bounds.
        labels: [B], whole numbers from 0 to C - 1: the truth or, if targeted, the goal.
        epsilon: the radius, a number or [B], in the units of images.
        loss: 'ce', 'dlr', 'margin', or a function of (logits [B, C], labels [B]) -> [B].
        targeted: move towards the labels.
        bounds: (low, high) of images.

    Returns:
        The adversarial images, like images in shape, type and bounds.

    Raises:
        ValueError: naming the argument, for a value that the attack cannot work with; the list is
            in the docstring of natra_jax.attacks.one_call.
    """
    search = pgd(1)  # one step of 2.5 epsilon, which the ball cuts to epsilon
    problem = _Problem("fgsm", logits_fn, images, labels, epsilon, loss, targeted, bounds)
    return _solve(problem, "linf", search, jax.random.key(0))


def mim(
    logits_fn: LogitsFn,
    images: ArrayLike,
    labels: ArrayLike,
    *,
    epsilon: ArrayLike = 8 / 255,
    step_size: float | None = 2 / 255,
    num_steps: int = 10,
    decay: float = 1.0,
    loss: str = "ce",
    targeted: bool = False,
    bounds: Bounds = (0.0, 1.0),
) -> jax.Array:
    """Run the momentum iterative method MI-FGSM (Dong et al. 2018), from the image itself.

    Args:
        logits_fn: images [B, ...] -> logits [B, C], the classifier in evaluation mode.
        images: [B, ...], floating point, within bounds.
        labels: [B], whole numbers from 0 to C - 1: the truth or, if targeted, the goal.
        epsilon: the radius, a number or [B], in the units of images.
        step_size: of a step; None: 2.5 epsilon / num_steps. 2 / 255 follows no other epsilon.
        num_steps: the number of steps.
        decay: of the gradients of earlier steps.
        loss: 'ce', 'dlr', 'margin', or a function of (logits [B, C], labels [B]) -> [B].
        targeted: move towards the labels.
        bounds: (low, high) of images.

    Returns:
        The adversarial images, like images in shape, type and bounds.

    Raises:
        ValueError: naming the argument, for a value that the attack cannot work with; the list is
            in the docstring of natra_jax.attacks.one_call.
    """
    search = pgd(num_steps, step_size, decay=decay)
    problem = _Problem("mim", logits_fn, images, labels, epsilon, loss, targeted, bounds)
    return _solve(problem, "linf", search, jax.random.key(0))


def linf_pgd(
    logits_fn: LogitsFn,
    images: ArrayLike,
    labels: ArrayLike,
    *,
    epsilon: ArrayLike = 8 / 255,
    step_size: float | None = 2 / 255,
    num_steps: int = 10,
    restarts: int = 1,
    random_start: bool = True,
    loss: str = "ce",
    targeted: bool = False,
    key: jax.Array,
    bounds: Bounds = (0.0, 1.0),
) -> jax.Array:
    """Run PGD with sign steps in the l-infinity ball (Madry et al. 2018).

    Args:
        logits_fn: images [B, ...] -> logits [B, C], the classifier in evaluation mode.
        images: [B, ...], floating point, within bounds.
        labels: [B], whole numbers from 0 to C - 1: the truth or, if targeted, the goal.
        epsilon: the radius, a number or [B], in the units of images.
        step_size: of a step; None: 2.5 epsilon / num_steps. 2 / 255 follows no other epsilon.
        num_steps: the number of steps.
        restarts: the number of starts; the strongest result of an example counts.
        random_start: start at a random point of the ball, else at the image.
        loss: 'ce', 'dlr', 'margin', or a function of (logits [B, C], labels [B]) -> [B].
        targeted: move towards the labels.
        key: a jax.random.key.
        bounds: (low, high) of images.

    Returns:
        The adversarial images, like images in shape, type and bounds.

    Raises:
        ValueError: naming the argument, for a value that the attack cannot work with; the list is
            in the docstring of natra_jax.attacks.one_call.
    """
    found = best_of(pgd(num_steps, step_size, random_start=random_start), restarts)
    problem = _Problem("linf_pgd", logits_fn, images, labels, epsilon, loss, targeted, bounds)
    return _solve(problem, "linf", with_start(found) if random_start else found, key)


def l2_pgd(
    logits_fn: LogitsFn,
    images: ArrayLike,
    labels: ArrayLike,
    *,
    epsilon: ArrayLike = 0.5,
    step_size: float | None = None,
    num_steps: int = 10,
    restarts: int = 1,
    random_start: bool = True,
    loss: str = "ce",
    targeted: bool = False,
    key: jax.Array,
    bounds: Bounds = (0.0, 1.0),
) -> jax.Array:
    """Run PGD along the normalised gradient in the Euclidean ball (Madry et al. 2018).

    Args:
        logits_fn: images [B, ...] -> logits [B, C], the classifier in evaluation mode.
        images: [B, ...], floating point, within bounds.
        labels: [B], whole numbers from 0 to C - 1: the truth or, if targeted, the goal.
        epsilon: the radius, a number or [B], in the units of images.
        step_size: of a step, in the units of images; None: 2.5 epsilon / num_steps.
        num_steps: the number of steps.
        restarts: the number of starts; the strongest result of an example counts.
        random_start: start at a random point of the ball, else at the image.
        loss: 'ce', 'dlr', 'margin', or a function of (logits [B, C], labels [B]) -> [B].
        targeted: move towards the labels.
        key: a jax.random.key.
        bounds: (low, high) of images.

    Returns:
        The adversarial images, like images in shape, type and bounds.

    Raises:
        ValueError: naming the argument, for a value that the attack cannot work with; the list is
            in the docstring of natra_jax.attacks.one_call.
    """
    search = best_of(pgd(num_steps, step_size, rule="l2", random_start=random_start), restarts)
    search = with_start(search) if random_start else search
    problem = _Problem("l2_pgd", logits_fn, images, labels, epsilon, loss, targeted, bounds)
    return _solve(problem, "l2", search, key)


def apgd(
    logits_fn: LogitsFn,
    images: ArrayLike,
    labels: ArrayLike,
    *,
    epsilon: ArrayLike = 8 / 255,
    norm: str = "linf",
    num_steps: int = 100,
    restarts: int = 1,
    loss: str = "ce",
    targeted: bool = False,
    key: jax.Array,
    bounds: Bounds = (0.0, 1.0),
) -> jax.Array:
    """Run Auto-PGD (Croce & Hein 2020), which has no step size to tune; norm 'linf' or 'l2'.

    An example that a restart has fooled is left as it is.

    Args:
        logits_fn: images [B, ...] -> logits [B, C], the classifier in evaluation mode.
        images: [B, ...], floating point, within bounds.
        labels: [B], whole numbers from 0 to C - 1: the truth or, if targeted, the goal.
        epsilon: the radius, a number or [B], in the units of images.
        norm: of the ball, 'linf' or 'l2'.
        num_steps: the number of steps.
        restarts: the number of starts; the strongest result of an example counts.
        loss: 'ce', 'dlr', 'margin', or a function of (logits [B, C], labels [B]) -> [B].
        targeted: move towards the labels.
        key: a jax.random.key.
        bounds: (low, high) of images.

    Returns:
        The adversarial images, like images in shape, type and bounds.

    Raises:
        ValueError: naming the argument, for a value that the attack cannot work with; the list is
            in the docstring of natra_jax.attacks.one_call.
    """
    search = auto_pgd(num_steps, rule="l2" if norm == "l2" else "sign", random_start=True)
    search = with_start(best_of(search, restarts, early_stop=True))
    problem = _Problem("apgd", logits_fn, images, labels, epsilon, loss, targeted, bounds)
    return _solve(problem, norm, search, key)


class _Problem(NamedTuple):
    """The arguments that all of the attacks share."""

    attack: str  # by which errors are introduced
    logits_fn: Any
    images: Any
    labels: Any
    epsilon: Any
    loss: Any
    targeted: bool
    bounds: Any

    def refuse(self, problem: str) -> NoReturn:
        raise ValueError(f"{self.attack}: {problem}")


def _solve(problem: _Problem, norm: str, search: Attack, key: Any) -> jax.Array:
    """Check the arguments and run the search."""
    if norm not in tuple(NORMS):
        problem.refuse(f"norm must be one of {', '.join(map(repr, NORMS))}, got {norm!r}")
    problem = _as_arrays(problem)
    if not is_key(key):
        problem.refuse(f"key must be one jax.random.key, got {key!r}")
    num_classes = _num_classes(problem)
    with jax.ensure_compile_time_eval():
        _check_values(problem, num_classes)
    problem = problem._replace(labels=array(problem.labels))
    try:
        loss_fn = objective(
            problem.logits_fn, problem.labels, loss=problem.loss, targeted=problem.targeted
        )
    except ValueError as error:
        raise ValueError(f"{problem.attack}: {error}") from error
    space = NORMS[norm](problem.bounds)
    return _search(search, loss_fn, key, space, problem.images, problem.epsilon, problem.bounds)


@partial(jax.jit, static_argnums=0)
def _search(
    search: Attack,
    loss_fn: LossFn,
    key: jax.Array,
    space: Space,
    images: Float[Array, "B ..."],
    epsilon: Float[Array, ""] | Float[Array, " B"],
    bounds: tuple[Any, Any],
) -> Float[Array, "B ..."]:
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(images.shape[0]))
    epsilon = jnp.broadcast_to(jnp.where(epsilon > 0, epsilon, 0), images.shape[:1])
    found = search(loss_fn, keys, space, images, epsilon).inputs
    found = jnp.where(jnp.isnan(found), bounds[0], found)  # only where images are traced
    return jnp.clip(found, *bounds)  # image + delta rounds, and could be a last digit outside


def _as_arrays(problem: _Problem) -> _Problem:
    """Check the bounds, shapes and dtypes, and return the problem with arrays in it.

    Known labels keep all of their bits: 32 would make another class of 2**40.
    """
    bounds = problem.bounds
    try:
        low, high = bounds
        # isnan: texts are in order, too, and so are numbers that no float holds
        in_order = not (math.isnan(low) or math.isnan(high)) and bool(low < high)
    except (TypeError, ValueError, OverflowError):
        in_order = False
    if not in_order:
        problem.refuse(f"bounds must be (low, high) with low < high, got {shown(bounds)}")
    images = numbers(problem.images)
    if images is None or not (
        jnp.issubdtype(images.dtype, jnp.floating) and images.ndim >= 1 and len(images) >= 1
    ):
        problem.refuse(
            f"images must be floating point [B, ...] within bounds {bounds}, B >= 1, "
            f"got {kind(problem.images if images is None else images)}"
        )
    count = images.shape[:1]
    labels = numbers(problem.labels)
    if labels is None or not (jnp.issubdtype(labels.dtype, jnp.integer) and labels.shape == count):
        given = problem.labels if labels is None else labels
        problem.refuse(f"labels must be int [B] = {count}, got {kind(given)}")
    required = f"epsilon must be a number or [B] = {count}"
    epsilon = numbers(problem.epsilon)
    if epsilon is None:
        problem.refuse(f"{required}, got {shown(problem.epsilon)}")
    if epsilon.shape not in ((), count):
        problem.refuse(f"{required}, got shape {epsilon.shape}")
    images = array(images)
    epsilon = array(epsilon, jnp.promote_types(images.dtype, jnp.float32))
    function = problem.logits_fn
    logits_fn = function if isinstance(function, Partial) else Partial(function)
    return problem._replace(logits_fn=logits_fn, images=images, labels=labels, epsilon=epsilon)


def _num_classes(problem: _Problem) -> int:
    """Return the number of classes of logits_fn, from the shapes alone."""
    count = len(problem.images)
    try:
        logits: Any = _call.eval_shape(problem.logits_fn, problem.images)
        require_logits(logits, count)
    except ValueError as error:
        raise ValueError(f"{problem.attack}: {error}") from error
    return logits.shape[1]


@jax.jit  # never run: its eval_shape remembers what it traced
def _call(logits_fn: LogitsFn, images: jax.Array) -> Any:
    return evaluated(logits_fn, images)


def _check_values(problem: _Problem, num_classes: int) -> None:
    """Check the values of what is not traced."""
    epsilon: Float[Array, ""] | Float[Array, " B"] = problem.epsilon
    images: Float[Array, "B ..."] = problem.images
    labels: Integer[Array, " B"] = problem.labels
    low, high = problem.bounds
    if _is_known(epsilon) and not ((epsilon >= 0) & jnp.isfinite(epsilon)).all():
        problem.refuse(f"epsilon must be >= 0 and finite, got {epsilon}")
    if _is_known(images):
        bad = ~jnp.isfinite(images).reshape(len(images), -1).all(1)
        if bad.any():
            problem.refuse(
                f"images must be finite, but image {int(bad.argmax())} holds NaN or infinity"
            )
        # the bounds are rounded as images are
        if not ((images >= low) & (images <= high)).all():
            problem.refuse(
                f"images must lie within bounds {problem.bounds}, got {float(images.min())} to "
                f"{float(images.max())}: cut them, as jnp.clip(images, *bounds) does"
            )
    if _is_known(labels):
        least, most = int(labels.min()), int(labels.max())
        if least < 0 or most >= num_classes:
            problem.refuse(f"labels must be in 0..{num_classes - 1}, got {least} to {most}")


def _is_known(x: Array) -> bool:
    return not isinstance(x, Tracer)
