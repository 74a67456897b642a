"""A program for one engine: what it computes of the same weights and inputs, learns from the same batches, and makes of the other's files.

    python -m tests.engine_runs learn FOLDER PERCEPTUAL
    python -m tests.engine_runs go_on FOLDER PERCEPTUAL OTHER

`learn` leaves two trained runs and `learned.npz` in FOLDER; `go_on` goes on from the runs in the folder OTHER and leaves `continued.npz` in FOLDER.
PERCEPTUAL holds the weights of the perceptual networks.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from apfgan.augment import augment, draw
from apfgan.backend import Tensor, from_numpy, no_gradients, one_hot, set_training, state_arrays, to_numpy
from apfgan.checkpoints import load_weights, save_checkpoint
from apfgan.config import PRESETS, Config, DataConfig, ModelConfig, TrainConfig
from apfgan.data import Batch
from apfgan.engines import chosen_engine
from apfgan.losses import adversarial, feature_matching, hinge_fake, hinge_real, perceptual
from apfgan.networks import build_discriminators, build_painter, start_noise
from apfgan.networks.perceptual import load_perceptual
from apfgan.players import Players
from apfgan.randomness import layered_noise, random_source
from apfgan.runs import Run
from apfgan.sampling import load_painter, sample
from apfgan.schedule import Plan, Stage, plan_epoch, roles_at
from apfgan.training_state import Position, TrainingState, load_state, save_state, state_path
from tests.observing import gradients

WIDTH, HEIGHT, IMAGES, CLASSES = 144, 96, 2, 5
DATA = DataConfig(classes=tuple("abcde"), width=WIDTH, height=HEIGHT, load_width=WIDTH)
SHAPE = {"width": 4, "hidden": 4, "upsamplings": 3, "levels": 3, "init_gain": 1.0, "seg_noise_init": "xavier"}
ORIGINAL = PRESETS["original"]
MODELS = {
    "ours": ModelConfig(**SHAPE, spectral_norm=True),
    "original's": replace(ORIGINAL.model, **SHAPE),
}
LAST = 9
PHASES = ({1: 3, 3: 3, 4: 1, 7: 3}, {LAST: 10})
"""How many batches are learned of which epochs: ten of the first phase, at each size and fading, and ten of the second, from fresh networks each."""
FURTHER = 2
"""Batches behind the end that are learned with what was saved there."""

Arrays = dict[str, np.ndarray]


def config(name: str, files: Path) -> Config:
    """The settings of a training: those that we train with, or the original's; at a tenth of the usual rates.

    At the full ones these small networks are chaotic, since a step of Adam follows the sign of a gradient however small: with its initial weights
    changed by 1e-7 of their size, PyTorch parts from itself by up to 1e-2 of a loss within ten steps; at a tenth by 7e-6. So do, at any
    rate, the many layers of Inception where each normalises six values by themselves: those statistics are compared without steps.
    """
    base = TrainConfig() if name == "ours" else ORIGINAL.train
    settings = {
        "progressive_epochs": 8,
        "epochs": LAST,
        "progressive_batch": IMAGES,
        "batch": IMAGES,
        "generator_rate": base.generator_rate / 10,
        "discriminator_rate": base.discriminator_rate / 10,
        "progressive_perceptual": "vgg19",
        "perceptual": "inception",
        "inception_statistics": "running",
        **{f"{network}_weights": str(files / f"{network}.safetensors") for network in ("vgg19", "inception")},
    }
    return Config(data=DATA, model=MODELS[name], train=replace(base, **settings))


def pictures(*key: str | int, images: int = IMAGES) -> Batch:
    """Patches of classes, and a photo that has a colour for each of them and some grain."""
    source = random_source("pictures", *key)
    patches = source.integers(0, CLASSES, (images, HEIGHT // 8, WIDTH // 8)).astype(np.uint8)
    label_maps = patches.repeat(8, axis=1).repeat(8, axis=2)
    photos = source.uniform(-0.7, 0.7, (CLASSES, 3)).astype(np.float32)[label_maps].transpose(0, 3, 1, 2)
    grain = source.uniform(-0.3, 0.3, photos.shape).astype(np.float32)
    return Batch(np.ascontiguousarray(photos + grain), label_maps, tuple(map(str, range(images))))


def tensor(array: np.ndarray) -> Tensor:
    return from_numpy(array, device="cpu")


def networks() -> Iterator[tuple[str, np.ndarray]]:
    """What the networks make of the same weights and inputs, and the gradients of what they are trained by."""
    batch = pictures("networks")
    onehot, photos = one_hot(batch.label_maps, CLASSES, device="cpu"), tensor(batch.photos)
    for name, model in MODELS.items():
        settings = Config(data=DATA, model=model)
        painter, judges = build_painter(settings, seed=1), build_discriminators(settings, seed=1)
        start_noise(painter, random_source("noise weights"), gain=1.0)
        sources = [random_source("noise", image) for image in range(IMAGES)]
        noise = [tensor(layer) for layer in layered_noise(sources, painter.generator.noise_shapes(HEIGHT, WIDTH))]
        for training in (False, True):
            for network in (painter, judges):
                set_training(network, training)
            mode = f"{name} {'in training' if training else 'drawing'}"
            with no_gradients():
                yield f"encoder {mode}", to_numpy(painter.encoder(onehot))
                for stage in (Stage(0), Stage(0, 0.5), Stage(1), Stage(1, 0.25), None):
                    yield f"painter {mode} {stage}", to_numpy(painter(onehot, noise=None, stage=stage))
                yield f"painter {mode} with noise", to_numpy(painter(onehot, noise=noise, stage=None))
        yield from ((f"statistics {name} {each}", array) for each, array in state_arrays(painter).items() if ".norm.running_" in each)
        set_training(judges, False)
        for epoch in (1, 3, 5, 7, 8):
            roles = roles_at(epoch, model, progressive_epochs=8, fade_in=True)
            with no_gradients():
                seen = judges(onehot, photos, roles=roles)
            yield from ((f"discriminators {name} {role} {at}", to_numpy(x)) for role, xs in zip(roles, seen, strict=True) for at, x in enumerate(xs))
        fakes = painter(onehot, noise=noise, stage=None)
        fake, real = (judges(onehot, images, roles=roles) for images in (fakes, photos))
        losses = {
            "adversarial": adversarial(fake),
            "feature_matching": feature_matching(fake, real),
            "hinge_fake": hinge_fake(fake),
            "hinge_real": hinge_real(real),
        }
        yield from ((f"loss {name} {each}", to_numpy(loss).ravel()) for each, loss in losses.items())
        found = gradients(painter, losses["adversarial"] + losses["feature_matching"])
        yield from ((f"gradient {name} {each}", array) for each, array in found.items())


def perceptual_networks(files: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Features of both networks, and the loss."""
    photos, others = (tensor(pictures("perceptual", index, images=6).photos) for index in range(2))
    for name, statistics in (("vgg19", "running"), ("inception", "running"), ("inception", "batch")):
        settings = replace(config("ours", files).train, inception_statistics=statistics)
        network = load_perceptual(name, settings, device="cpu")
        with no_gradients():
            features, wanted = network(photos), network(others)
            loss = perceptual(features, wanted, weights=network.weights)
        yield from ((f"{name} {statistics} {index}", to_numpy(feature)) for index, feature in enumerate(features))
        yield f"loss {name} {statistics}", to_numpy(loss).ravel()


def augmentation() -> Iterator[tuple[str, np.ndarray]]:
    """What each part of the augmentation makes of a batch, and all of them together."""
    batch, fakes = pictures("photos"), pictures("fakes")
    for policy in (("color",), ("crop",), ("translation",), ("color", "crop", "translation")):
        draws = draw(random_source("draws", 1), policy, images=IMAGES, height=HEIGHT, width=WIDTH)
        made = augment(
            draws, photos=tensor(batch.photos), fakes=tensor(fakes.photos), labels=one_hot(batch.label_maps, CLASSES, device="cpu"), device="cpu"
        )
        yield from ((f"augmentation {'+'.join(policy)} {kind}", to_numpy(x)) for kind, x in zip(("photos", "fakes", "labels"), made, strict=True))


def learned(players: Players, plan: Plan, indices: range) -> Iterator[dict[str, float]]:
    """The losses of some batches of an epoch."""
    return (players.learn(pictures(plan.epoch, index), plan, index=index) for index in indices)


def further(players: Players) -> np.ndarray:
    """The losses of a few batches more of the last epoch, (batches, losses)."""
    plan, done = plan_epoch(LAST, players.config), PHASES[-1][LAST]
    return np.array([[*losses.values()] for losses in learned(players, plan, range(done, done + FURTHER))])


def drawn(run: Run) -> np.ndarray:
    """Images of a run's last checkpoint, (N, 3, H, W)."""
    painter = load_painter(load_weights(run, str(LAST)), run.config, origin=str(run.path))
    batch = pictures("drawn")
    return np.stack([image for _, _, image in sample(painter, zip(batch.stems, batch.label_maps, strict=True), classes=CLASSES, seed=0)])


def learn(folder: Path, files: Path) -> Arrays:
    """Everything that an engine computes by itself."""
    arrays: Arrays = {**dict(networks()), **dict(perceptual_networks(files)), **dict(augmentation())}
    for name in MODELS:
        run = Run.create(folder / name, config(name, files))
        for phase in PHASES:
            players = Players(run.config, device="cpu")
            for epoch, steps in phase.items():
                plan = plan_epoch(epoch, run.config)
                players.begin(plan)
                for index, losses in enumerate(learned(players, plan, range(steps))):
                    arrays |= {f"step {name} {epoch}.{index} {each}": np.array(loss) for each, loss in losses.items()}
        save_checkpoint(run, str(LAST), state_arrays(players.painter), epoch=LAST)
        state = TrainingState(Position(epoch=LAST - 1, batches=steps), players.arrays(), engine=chosen_engine())
        save_state(state_path(run), state, config=run.config, data="")
        arrays |= {f"images {name}": drawn(run), f"further {name}": further(players)}
    return arrays


def go_on(other: Path) -> Arrays:
    """What an engine makes of the other's files."""
    arrays: Arrays = {}
    for name in MODELS:
        run = Run.open(other / name)
        state = load_state(run, data="")
        assert state is not None and state.engine != chosen_engine()
        players = Players(run.config, device="cpu")
        players.load(state.arrays, origin=str(run.path))
        arrays |= {f"images {name}": drawn(run), f"further {name}": further(players)}
    return arrays


if __name__ == "__main__":
    job, folder, files, *others = sys.argv[1:]
    if job == "learn":
        np.savez(Path(folder) / "learned.npz", **learn(Path(folder), Path(files)))
    else:
        np.savez(Path(folder) / "continued.npz", **go_on(Path(*others)))
