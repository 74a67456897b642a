"""Files of pretrained weights, as every engine reads them."""

import pickle
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from apfgan.errors import WeightsError


def read_pretrained(path: Path) -> dict[str, np.ndarray]:
    """Named arrays of a `.safetensors` file or of a `torch.save`d state dict; nothing in the file is executed.

    Raises `WeightsError` when there is no such file or it holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        import torch  # the one reader of its files, also where another engine computes

        state = torch.load(path, map_location="cpu", weights_only=True)
        return {name: value.numpy() for name, value in state.items()}
    except FileNotFoundError as error:
        raise WeightsError(f"there is no weights file {path}: download it and name it in the configuration") from error
    except (OSError, RuntimeError, EOFError, AttributeError, SafetensorError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path} is not a readable weights file ({reason}): fetch it again") from error
