"""How judges run their networks: images as tensors, float32 arithmetic that is really float32, and weights files that are read whole."""

import pickle
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from apfgan.errors import WeightsError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@contextmanager
def exact_inference() -> Iterator[None]:
    """No gradients, and on CUDA neither TF32 nor kernels chosen by a benchmark: the same numbers on each run, close to a CPU's."""
    chosen = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(chosen)


def image_tensor(images: np.ndarray, device: str) -> torch.Tensor:
    """Images uint8 (N, H, W, 3) as float32 (N, 3, H, W) in 0..1."""
    return torch.tensor(np.ascontiguousarray(images), device=device).permute(0, 3, 1, 2).contiguous().float() / 255


def normalise(images: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """(images - mean) / std, channel by channel, of images (N, 3, H, W)."""
    shape = (1, 3, 1, 1)
    return (images - images.new_tensor(mean).view(shape)) / images.new_tensor(std).view(shape)


def in_batches(
    images: Sequence[np.ndarray], prepare: Callable[[np.ndarray], torch.Tensor], look: Callable[[torch.Tensor], np.ndarray], *, batch: int
) -> np.ndarray:
    """What `look` makes of images uint8 (H, W, 3), one row an image; they may differ in size where `prepare` makes them equal.

    `prepare` turns one image into the network's input (3, h, w). `look` always gets `batch` of these, zeros at the end where there are fewer:
    kernels are chosen by the shape of a batch, and so an image's numbers do not depend on how many others come with it.
    """
    rows = []
    with exact_inference():
        for start in range(0, len(images), batch):
            inputs = torch.stack([prepare(image) for image in images[start : start + batch]])
            filled = torch.cat([inputs, inputs.new_zeros(batch - len(inputs), *inputs.shape[1:])])
            rows.append(look(filled)[: len(inputs)])
    return np.concatenate(rows)


def largest_logit(logits: torch.Tensor, *sizes: tuple[int, int]) -> np.ndarray:
    """The class of the largest logit at each pixel, (N, H, W), after the logits (N, C, h, w) were brought to each of `sizes` (H, W) in turn,
    bilinearly.

    One image at a time: full-size logits of 150 classes take 118 MB each at 512x384.
    """
    rows = []
    for image in logits.split(1):
        for size in sizes:
            image = functional.interpolate(image, size=size, mode="bilinear", align_corners=False)
        rows.append(image[0].argmax(0).cpu().numpy())
    return np.stack(rows)


def freeze(network: nn.Module, device: str) -> nn.Module:
    """The network in evaluation mode on `device`, without gradients."""
    return network.to(device).eval().requires_grad_(False)


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a `.pth` file, read without executing anything in it. Raises `WeightsError`."""
    if is_torchscript(path):
        raise WeightsError(f"{path} is a TorchScript network, as clean-fid's inception-2015-12-05.pt, and not a file of weights alone")
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"there is no weights file {path}") from error
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise WeightsError(f"{path} is no file of plain weights, or it is damaged ({reason(error)}); get it again: apfgan weights fetch") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(
            f"{path} holds a {type(state).__name__} and not a dictionary of tensors; was the whole network saved instead of its weights?"
        )
    return state


def is_torchscript(path: Path) -> bool:
    """Whether the file is an archive of weights together with the program that uses them, which is run by PyTorch's own interpreter."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def load_state(network: nn.Module, state: dict[str, torch.Tensor], source: Path) -> None:
    """Load strictly; raises `WeightsError` that lists what is missing, too much, or of another shape."""
    expected = network.state_dict()
    problems = [f"missing {name}" for name in expected if name not in state]
    problems += [f"unexpected {name}" for name in state if name not in expected]
    problems += [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise WeightsError(f"{source} does not fit {type(network).__name__}: {'; '.join(problems[:5])}{more}. Is it the file of another network?")
    network.load_state_dict(state)


def reason(error: Exception) -> str:
    """The first line of what an error says, or else what it is."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
