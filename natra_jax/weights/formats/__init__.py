"""Formats: the bytes of a stranger's file -> a `natra_jax.weights.tensors.Checkpoint`.

A checkpoint is checked arrays by name, and the plain values of its configuration. Nothing that a
file says is run; its sizes are checked before anything is allocated; every error is one line. This
room knows nothing of networks: what the names mean is the `converters`' business.

In reading order:

    detect                 tells a file's format from its bytes and calls the format's reader
    bounded                what every reader needs: bounded reads, sizes, JSON
    npz                    NumPy archives, and the checks of any zip archive
    safetensors            .safetensors
    huggingface            folders of config.json and weights
    restricted_unpickler   a pickle's instructions, without the power to run anything
    pickle_globals         the classes that such a pickle may name
    pickle_origin          the program that wrote a pickle, from its opcodes alone
    numpy_pickle           dicts of arrays of numpy.save and of pickle.dump
    torch_save             .pt, .pth, .bin: archives and streams of torch.save
    state_dict             tensors by dotted names in what a pickle held; plain values
    nvidia_torch           NVIDIA's .pkl of PyTorch networks
    nvidia_tensorflow      NVIDIA's .pkl of TensorFlow networks
"""
