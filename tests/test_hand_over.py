"""The first epoch of a discriminator, against one written out in plain tensors where both discriminators hold the very same ones."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from torch.nn import functional

from apfgan.backend import Tensor, from_numpy, mean, state_arrays
from apfgan.config import Config, DataConfig, ModelConfig, TrainConfig
from apfgan.data import Batch
from apfgan.players import Players
from apfgan.randomness import random_source
from apfgan.schedule import Role, plan_epoch
from tests.observing import gradients

Weights = dict[str, torch.nn.Parameter]


def config(levels: int, **model: object) -> Config:
    """Of `levels` levels, each six epochs long: it fades in the last two of them, and begins to in epoch 4, 10, ..."""
    settings = ModelConfig(**({"width": 4, "hidden": 4, "upsamplings": levels, "levels": levels, "init_gain": 1.0, "hand_over": "shared"} | model))
    return Config(
        data=DataConfig(classes=("a", "b", "c"), width=2 * settings.stride, height=settings.stride, load_width=2 * settings.stride),
        model=settings,
        train=TrainConfig(progressive_epochs=6 * (levels - 1), epochs=6 * levels, discriminator_rate=1e-3),
    )


def batches(settings: Config, count: int) -> list[Batch]:
    source, shape = random_source("pictures"), (settings.data.height, settings.data.width)
    return [
        Batch(source.standard_normal((2, 3, *shape), dtype=np.float32), source.integers(0, 3, (2, *shape)).astype(np.uint8), ("a", "b"))
        for _ in range(count)
    ]


def judge(level: int, weights: Weights, pictures: Tensor, fade: float) -> Tensor:
    """The prediction of the discriminator of a level (spec: method, 2.5)."""

    def conv(x: Tensor, name: str, stride: int) -> Tensor:
        return functional.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), stride=stride, padding=2)

    def layer(x: Tensor, name: str, stride: int) -> Tensor:
        return functional.leaky_relu(functional.instance_norm(conv(x, name, stride)), 0.2)

    layers = [(f"grow.{index}", 2) for index in reversed(range(level))] + [(f"body.{index}", 2 if index < 3 else 1) for index in range(4)]
    x = functional.leaky_relu(conv(pictures, f"from_image.{level}", 1), 0.2)
    if fade > 0:
        below = functional.leaky_relu(conv(functional.avg_pool2d(pictures, 2), f"from_image.{level - 1}", 1), 0.2)
        x = (1 - fade) * below + fade * layer(x, *layers.pop(0))
    for each in layers:
        x = layer(x, *each)
    return conv(x, "predict", 1)


class Reference:
    """The discriminators of `players` as they are, which learn from what those are shown."""

    def __init__(self, players: Players) -> None:
        arrays = state_arrays(players.discriminators)
        self.steps = players.config.train.adam_steps
        self.weights: list[Weights] = [
            {
                name.removeprefix(f"levels.{level}."): torch.nn.Parameter(torch.tensor(array))
                for name, array in arrays.items()
                if f"levels.{level}." in name
            }
            for level in range(players.config.model.levels)
        ]
        self.optimizer = torch.optim.Adam([each for weights in self.weights for each in weights.values()], lr=1e-3, betas=(0.0, 0.9), eps=1e-8)

    def step(self, pictures: Tensor, roles: tuple[Role, ...], *, heir: int | None) -> dict[str, np.ndarray]:
        """Learn from fakes and photos [fake; real]; `heir` holds every tensor of the same name that the one below it holds.

        Returns the weights below the heir as they were before.
        """
        held = list(self.weights)
        if heir is not None:
            held[heir] = self.weights[heir] | self.weights[heir - 1]
        before = {name: value.detach().numpy().copy() for name, value in held[0 if heir is None else heir - 1].items()}
        loss, count = torch.zeros(()), len(pictures) // 2
        for index, role in enumerate(roles):
            if index > 0:
                pictures = functional.avg_pool2d(pictures, 3, stride=2, padding=1, count_include_pad=False)
            prediction = judge(role.discriminator, held[role.discriminator], pictures, role.fade)
            loss = loss + (functional.relu(1 + prediction[:count]).mean() + functional.relu(1 - prediction[count:]).mean()) / len(roles)
        self.optimizer.zero_grad()
        loss.backward()
        if self.steps == "common":
            for weights in self.weights:
                for value in weights.values():
                    value.grad = torch.zeros_like(value) if value.grad is None else value.grad
        self.optimizer.step()
        return before


def largest_difference(players: Players, weights: list[dict[str, np.ndarray]]) -> float:
    arrays = state_arrays(players.discriminators)
    return max(float(np.abs(arrays[f"levels.{level}.{name}"] - value).max()) for level, each in enumerate(weights) for name, value in each.items())


@pytest.mark.parametrize("steps", ["common", "own"])
@pytest.mark.parametrize(("levels", "heir", "epoch"), [(2, 1, 4), (3, 1, 4), (3, 2, 10)])
def test_the_first_epoch_and_the_one_behind_it(levels: int, heir: int, epoch: int, steps: Literal["common", "own"]) -> None:
    settings = config(levels)
    players = Players(replace(settings, train=replace(settings.train, adam_steps=steps)), device="cpu")
    # In float64, since a step of Adam is as large as the rate however small the gradient, and so rounding would show.
    players.discriminators.double()
    reference, seen = Reference(players), []

    def watch(_module: object, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        given = tuple(each.double() for each in given)
        seen.append(torch.cat(given, dim=1).detach())
        return given

    players.discriminators.register_forward_pre_hook(watch)
    for now, count in ((epoch, 3), (epoch + 1, 2)):
        plan = plan_epoch(now, players.config)
        assert plan.heir == (heir if now == epoch else None)
        assert plan.roles[0].discriminator == heir and plan.roles[0].fade > 0
        players.begin(plan)
        for index, batch in enumerate(batches(players.config, count)):
            players.learn(batch, plan, index=index)
            below = reference.step(seen[-1], plan.roles, heir=plan.heir)
        expected = [{name: value.detach().numpy().copy() for name, value in weights.items()} for weights in reference.weights]
        if now == epoch:
            assert expected[heir - 1].keys() <= expected[heir].keys() and len(expected[heir]) == len(expected[heir - 1]) + 3
            # The last step moved what both hold; the heir keeps it as it was before.
            expected[heir] |= below
            assert all((value != expected[heir - 1][name]).any() for name, value in below.items() if name.startswith("body"))
            for name, value in below.items():
                reference.weights[heir][name].data.copy_(torch.tensor(value))
        assert largest_difference(players, expected) < 1e-9


@pytest.mark.both_engines
def test_both_paths_add_up_to_the_gradient_of_what_is_shared() -> None:
    """One discriminator alone gets the sum of what two get that are equal and apart."""
    shared, apart = (Players(config(2, hand_over=rule), device="cpu") for rule in ("shared", "copied"))
    plan = plan_epoch(4, apart.config)
    apart.begin(plan)
    pictures = random_source("pictures").standard_normal((4, 6, 8, 16), dtype=np.float32)
    labels, images = (from_numpy(part, device="cpu") for part in (pictures[:, :3], pictures[:, 3:]))
    found = []
    for players in (shared, apart):
        one, other = players.discriminators(labels, images, roles=plan_epoch(4, players.config).roles)
        found.append(gradients(players.discriminators, mean(one[-1] ** 2, axes=None) + mean(other[-1] ** 2, axes=None)))
    one, two = found
    common = [name for name in one if name.startswith("levels.0.") and "from_image" not in name]
    assert {name.split(".")[2] for name in common} == {"body", "predict"}
    for name in common:
        upper = name.replace("levels.0.", "levels.1.")
        np.testing.assert_allclose(one[name], two[name] + two[upper], rtol=1e-3, atol=1e-6)
        assert upper not in one and np.abs(two[upper]).max() > 0
