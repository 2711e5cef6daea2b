"""The PyTorch module that speed measures makes the golden images: it is the same network.

Where PyTorch is installed.
"""

import importlib.util

import numpy as np
import pytest

from natra_jax import weights
from natra_jax.speed import torch_stylegan2
from tests.weights import writers

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed"
)


@pytest.mark.parametrize("way", [{}, {"grouped": False}, {"grouped": False, "channels_last": True}])
def test_images_and_gradients_are_those_of_nvidias_program(way):
    import torch

    tensors, config, data = writers.golden("stylegan2_nv_32")
    _, params = weights.from_state_dict(tensors, config)
    codes = torch.tensor(data["in/ws_plus"], requires_grad=True)
    images = torch_stylegan2.synthesis(params, **way)(codes)
    (images * torch.tensor(data["in/cotangent"])).sum().backward()
    np.testing.assert_allclose(
        images.detach().numpy(), data["out/img_plus_const"], rtol=0, atol=5e-5
    )
    # of numbers up to 144
    np.testing.assert_allclose(codes.grad.numpy(), data["grad/ws_plus"], rtol=0, atol=2e-4)
