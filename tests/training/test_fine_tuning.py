"""AdvBN's fine-tuning (Shu et al. 2021) against whole updates in NumPy.

The network is relu(BatchNorm(x W + b)) | BatchNorm, then z V + c. In float64.
"""

from functools import partial

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax.tree_util import Partial

from natra_jax.classifiers.advbn import AdvBN
from natra_jax.losses import soft_cross_entropy
from natra_jax.methods import advbn
from natra_jax.training.fit import sgd, with_auxiliary
from natra_jax.training.state import TrainState
from natra_jax.training.step import make_step
from natra_jax.types import Method, Variation

B, GROUP, PIXELS, WIDTH, CLASSES = 8, 4, (2, 2, 1), 5, 3
STEPS, STEP, RADIUS = 4, 0.2, 0.7
RATE, MOMENTUM, DECAY, RUNNING, CLEAN_RATIO, EPSILON = 0.1, 0.9, 0.05, 0.9, 0.3, 1e-5


class Net(nn.Module):
    def setup(self):
        self.dense, self.norm = nn.Dense(WIDTH), nn.BatchNorm(momentum=RUNNING, epsilon=EPSILON)
        self.style = AdvBN(relu=True)
        self.norm_behind, self.out = (
            nn.BatchNorm(momentum=RUNNING, epsilon=EPSILON),
            nn.Dense(CLASSES),
        )

    def __call__(self, x, train: bool = False):
        x = self.style(
            nn.relu(self.norm(self.dense(x.reshape(len(x), -1)), use_running_average=not train))
        )
        return self.out(self.norm_behind(x, use_running_average=not train))


def norm(rng):
    params = {"scale": rng.uniform(0.5, 1.5, WIDTH), "bias": rng.normal(size=WIDTH)}
    return params, {"mean": rng.normal(size=WIDTH), "var": rng.uniform(0.5, 1.5, WIDTH)}


def variables():
    rng = np.random.default_rng(0)
    (before, of_before), (behind, of_behind) = norm(rng), norm(rng)
    dense = {"kernel": rng.normal(size=(4, WIDTH)), "bias": rng.normal(size=WIDTH)}
    out = {"kernel": rng.normal(size=(WIDTH, CLASSES)), "bias": rng.normal(size=CLASSES)}
    params = {"dense": dense, "norm": before, "norm_behind": behind, "out": out}
    return {"params": params, "batch_stats": {"norm": of_before, "norm_behind": of_behind}}


def examples():
    rng = np.random.default_rng(1)
    index = rng.permutation(20)[:B].astype(np.int32)
    return {
        "image": rng.uniform(-1, 1, (B, *PIXELS)),
        "label": rng.integers(0, CLASSES, B).astype(np.int32),
        "index": index,
    }


def variation():
    """Fixed varied images with targets between classes, whatever the classifier."""
    rng = np.random.default_rng(2)
    targets = np.eye(CLASSES)[examples()["label"]]
    return Variation(rng.uniform(-1, 1, (B, *PIXELS)), 0.8 * targets + 0.2 / CLASSES, np.zeros(B))


def fixed(made, logits_fn, keys, batch, epsilon):
    return made


# The second implementation


def log_softmax(logits):
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def eval_norm(params, stats, x):
    return (x - stats["mean"]) / np.sqrt(stats["var"] + EPSILON) * params["scale"] + params["bias"]


def features_of(variables, images):
    p, s = variables["params"], variables["batch_stats"]
    return np.maximum(
        eval_norm(
            p["norm"],
            s["norm"],
            images.reshape(len(images), -1) @ p["dense"]["kernel"] + p["dense"]["bias"],
        ),
        0,
    )


def worst_features(variables, auxiliary, features, targets):
    """Group by group: sign steps on m and s, cut at the radius.

    The point of the highest mean loss of all visited.
    """
    params, stats = auxiliary
    out, worst = variables["params"]["out"], []
    for start in range(0, B, GROUP):
        f, y = features[start : start + GROUP], targets[start : start + GROUP]
        mu, m, s, visited = f.mean(0), np.ones(WIDTH), np.ones(WIDTH), []
        for _ in range(STEPS + 1):
            moved = np.maximum((f - mu) * s + m * mu, 0)
            log_p = log_softmax(eval_norm(params, stats, moved) @ out["kernel"] + out["bias"])
            visited.append((-(y * log_p).sum(1).mean(), moved))
            gradient = (
                (np.exp(log_p) - y)
                @ out["kernel"].T
                * params["scale"]
                / np.sqrt(stats["var"] + EPSILON)
                * (moved > 0)
            )
            m = np.clip(m + STEP * np.sign((gradient * mu).sum(0)), 1 - RADIUS, 1 + RADIUS)
            s = np.clip(s + STEP * np.sign((gradient * (f - mu)).sum(0)), 1 - RADIUS, 1 + RADIUS)
        worst.append(max(visited, key=lambda pair: pair[0])[1])
    return np.concatenate(worst)


def branch(out, auxiliary, features, targets, weights):
    """One training pass of a head.

    (loss, gradients of scale, bias, kernel, bias of the last layer, new statistics).
    """
    params, stats = auxiliary
    mean, var = features.mean(0), features.var(0)
    normal = (features - mean) / np.sqrt(var + EPSILON)
    z = normal * params["scale"] + params["bias"]
    log_p = log_softmax(z @ out["kernel"] + out["bias"])
    at_logits = weights[:, None] * (np.exp(log_p) - targets)
    at_z = at_logits @ out["kernel"].T
    gradients = (
        {"scale": (at_z * normal).sum(0), "bias": at_z.sum(0)},
        {"kernel": z.T @ at_logits, "bias": at_logits.sum(0)},
    )
    statistics = {
        "mean": RUNNING * stats["mean"] + (1 - RUNNING) * mean,
        "var": RUNNING * stats["var"] + (1 - RUNNING) * var,
    }
    return -(weights * (targets * log_p).sum(1)).sum(), *gradients, statistics


def numpy_updates(rates, varied):
    """(losses, variables, auxiliary (params, stats)) after one update for each learning rate."""
    v, batch = variables(), examples()
    copy = partial(jax.tree.map, np.copy)
    auxiliary = copy((v["params"]["norm_behind"], v["batch_stats"]["norm_behind"]))
    head = {
        "norm_behind": v["params"]["norm_behind"],
        "out": v["params"]["out"],
        "auxiliary": auxiliary[0],
    }
    velocity, losses = jax.tree.map(np.zeros_like, head), []
    one_hot = np.eye(CLASSES)[batch["label"]]
    for rate in rates:
        images, targets, weights, goal = batch["image"], one_hot, np.full(B, 1.0 / B), one_hot
        if varied:
            made = variation()
            images, targets, goal = (
                np.concatenate([images, made.inputs]),
                np.concatenate([one_hot, made.targets]),
                made.targets,
            )
            weights = np.repeat([CLEAN_RATIO, 1 - CLEAN_RATIO], B) / B
        v["params"] |= {"norm_behind": head["norm_behind"], "out": head["out"]}
        features = features_of(v, images)
        adversarial = worst_features(v, (head["auxiliary"], auxiliary[1]), features[-B:], goal)
        clean = head["norm_behind"], v["batch_stats"]["norm_behind"]
        loss_clean, of_norm, of_out, stats_clean = branch(
            head["out"], clean, features, targets, weights
        )
        loss_adv, of_auxiliary, of_out_adv, stats_adv = branch(
            head["out"], (head["auxiliary"], auxiliary[1]), adversarial, goal, np.full(B, 1.0 / B)
        )
        gradients = {
            "norm_behind": of_norm,
            "out": jax.tree.map(np.add, of_out, of_out_adv),
            "auxiliary": of_auxiliary,
        }
        velocity = jax.tree.map(
            lambda u, g, w: MOMENTUM * u + g + DECAY * w, velocity, gradients, head
        )
        head = jax.tree.map(lambda w, u, rate=rate: w - rate * u, head, velocity)
        v["batch_stats"]["norm_behind"], auxiliary = stats_clean, (head["auxiliary"], stats_adv)
        losses.append(loss_clean + loss_adv)
    v["params"] |= {"norm_behind": head["norm_behind"], "out": head["out"]}
    return losses, v, auxiliary


@pytest.mark.parametrize("varied", [False, True])
def test_two_updates_are_advbns(varied):
    with jax.enable_x64(True):
        features = advbn.advbn(group_size=GROUP, num_steps=STEPS, step_size=STEP, epsilon=RADIUS)
        method = features
        if varied:
            method = advbn.both(
                Method(Partial(fixed, variation()), passes=0, loss=soft_cross_entropy), features
            )
        # at a tenth of the rate in the second half
        optimizer = sgd(RATE, MOMENTUM, DECAY, 2)
        step = jax.jit(make_step(lambda axis: Net(), optimizer, None, clean_ratio=CLEAN_RATIO))
        given = with_auxiliary(Net(), variables(), PIXELS)
        state = TrainState(
            np.int32(0),
            **given,
            opt_state=optimizer.init(given["params"]),
            epsilon=np.zeros(20),
            delta=None,
            key=jax.random.key(0),
        )
        seen = []
        for _ in range(2):
            state, metrics = step(method, state, examples())
            seen.append(float(metrics["loss"]))
        found = jax.tree.map(np.asarray, {"params": state.params, "batch_stats": state.batch_stats})

    losses, expected, (auxiliary_params, auxiliary_stats) = numpy_updates((RATE, RATE / 10), varied)
    expected["params"]["adversarial"] = {"norm_behind": auxiliary_params}
    expected["batch_stats"]["adversarial"] = {"norm_behind": auxiliary_stats}
    np.testing.assert_allclose(seen, losses, rtol=1e-9)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12), found, expected
    )
    # the trunk to the last bit, in spite of weight decay
    for layer in ("dense", "norm"):
        jax.tree.map(
            np.testing.assert_array_equal, found["params"][layer], variables()["params"][layer]
        )
    jax.tree.map(
        np.testing.assert_array_equal,
        found["batch_stats"]["norm"],
        variables()["batch_stats"]["norm"],
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.opt_state))
    assert (
        np.abs(found["batch_stats"]["norm_behind"]["mean"] - auxiliary_stats["mean"]).max() > 1e-3
    )
