"""A SegFormer under training: where it begins, its parameter groups, its steps, and all that has to be kept to go on.

The draws of a step (dropout, stochastic depth) follow from the seed and the step alone, so that no random state has to be kept.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from apfgan.errors import UsageError, WeightsError
from apfgan.labels import Classes
from metrics.inference import IMAGENET_MEAN, IMAGENET_STD, image_tensor, load_state, normalise
from metrics.pixel_loss import pixel_cross_entropy
from metrics.pretrained import adapt_pretrained
from metrics.segformer_recipe import SIZES, Recipe

_HEAD = "decode_head."


def new_segformer(size: str, classes: Classes, *, seed: int) -> SegformerForSemanticSegmentation:
    """A SegFormer of one of `SIZES` with seeded random weights; raises `UsageError` for a size that there is not."""
    if size not in SIZES:
        raise UsageError(f"there is no SegFormer of size {size!r}; known: {', '.join(SIZES)}")
    shape = SIZES[size]
    config = SegformerConfig(
        hidden_sizes=list(shape.widths),
        depths=list(shape.depths),
        decoder_hidden_size=shape.decoder_width,
        id2label=dict(enumerate(classes.names)),
        label2id={name: index for index, name in enumerate(classes.names)},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SegformerForSemanticSegmentation(config)


def adapted_segformer(folder: Path, classes: Classes, *, seed: int) -> SegformerForSemanticSegmentation:
    """The SegFormer in `folder` for these classes: its encoder, and of its decode head what fits them; the rest begins with seeded weights.

    An encoder alone will do (the ImageNet ones with which the authors began). Raises `WeightsError` for anything else.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return adapt_pretrained(SegformerForSemanticSegmentation, folder, classes.names, fresh=_HEAD)


def parameter_groups(network: SegformerForSemanticSegmentation, recipe: Recipe) -> list[dict[str, Any]]:
    """AdamW's groups: the encoder's weights, its norms (which do not decay), and the decode head (which learns faster).

    The head's own norm decays: of the recipe's rules that name a parameter, the first alone counts.
    """
    norms = {id(each) for part in network.segformer.modules() if isinstance(part, nn.LayerNorm) for each in part.parameters()}
    encoder = list(network.segformer.parameters())
    return [
        {"params": [each for each in encoder if id(each) not in norms], "lr": recipe.rate, "weight_decay": recipe.weight_decay},
        {"params": [each for each in encoder if id(each) in norms], "lr": recipe.rate, "weight_decay": 0.0},
        {"params": list(network.decode_head.parameters()), "lr": recipe.rate * recipe.head_rate, "weight_decay": recipe.weight_decay},
    ]


class Learner:
    """Takes the steps of a recipe with `network`, which is moved to `device`."""

    def __init__(self, network: SegformerForSemanticSegmentation, recipe: Recipe, *, seed: int, device: str = "cpu") -> None:
        self.network = network.to(device)
        self._recipe, self._seed, self._device = recipe, seed, device
        self._optimiser = torch.optim.AdamW(parameter_groups(network, recipe), betas=recipe.betas)
        self._rates = [group["lr"] for group in self._optimiser.param_groups]

    def learn(self, photos: np.ndarray, targets: np.ndarray, *, step: int) -> float:
        """Take one step, counted from 0, on photos uint8 (N, H, W, 3) and targets int64 (N, H, W); returns the loss.

        A loss that is not finite leaves the weights as they are.
        """
        self.network.train()
        for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * self._recipe.rate_at(step)
        with torch.random.fork_rng(devices=[self._device] if self._device.startswith("cuda") else []):
            torch.manual_seed(int(np.random.SeedSequence([self._seed, step]).generate_state(1, np.uint64)[0] >> 1))
            pixels = normalise(image_tensor(photos, self._device), IMAGENET_MEAN, IMAGENET_STD)
            loss = pixel_cross_entropy(self.network(pixels).logits, torch.from_numpy(targets).to(self._device))
        value = float(loss.detach())
        if np.isfinite(value):
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()
        return value

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights, statistics and the optimiser's memory by name: all that `load` needs."""
        arrays = {f"network.{name}": tensor.cpu().numpy() for name, tensor in self.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            for key, value in self._optimiser.state[parameter].items():
                arrays[f"{key}.{name}"] = value.cpu().numpy()
        return arrays

    def load(self, arrays: Mapping[str, np.ndarray], *, source: Path) -> None:
        """Go on from `arrays`, which were in `source`; raises `WeightsError` when they do not fit."""
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for name, array in arrays.items():
            part, _, key = name.partition(".")
            parts.setdefault(part, {})[key] = torch.from_numpy(array)
        load_state(self.network, parts.pop("network", {}), source)
        for name, parameter in self.network.named_parameters():
            state = {key: tensors[name] for key, tensors in parts.items() if name in tensors}
            if len(state) < len(parts):
                raise WeightsError(f"{source} lacks the optimiser's memory of {name}: it was written by another version of this program")
            # AdamW counts its steps on the CPU.
            self._optimiser.state[parameter] = {key: value if value.ndim == 0 else value.to(self._device) for key, value in state.items()}
