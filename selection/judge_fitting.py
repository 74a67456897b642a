"""`apfgan judge fit`: a SegFormer fine-tuned on a data set's training pairs, in a folder that transformers loads and `score` takes.

    OUT/config.json, OUT/model.safetensors   as transformers' save_pretrained writes them
    OUT/judge.json                           what it was made of, who was held out, and what it is worth on those
    OUT/fit_state.safetensors                while it is being fitted: where to go on from

Every draw follows from the seed and the step, so a fit that was killed ends with the weights that it would have had anyway, bit for bit on a
CPU with the same number of threads. The network is in the folder only when it is finished.
"""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from apfgan.data import Pair, check_dataset, hold_out, read_pair, set_hashes
from apfgan.errors import UsageError, WeightsError
from apfgan.files import hash_value, lock_folder, remove_temporaries, write_bytes, write_json
from apfgan.health import broken_arrays
from apfgan.labels import Classes
from apfgan.progress import SILENT, Progress
from apfgan.runs import versions
from apfgan.sealed import read_sealed, write_sealed
from apfgan.threads import in_threads
from apfgan.training import never
from metrics.pretrained import WEIGHT_FILES, pretrained_identity, save_pretrained
from metrics.segformer import SegformerJudge
from metrics.segformer_crops import training_crop
from metrics.segformer_recipe import Recipe
from metrics.segformer_training import Learner, adapted_segformer, new_segformer
from selection.judge_card import CARD, FittedJudge, Request, name_of, parse_request, plain, read_fitted, require_same
from selection.judge_check import Check, check, judge_photos


def fit_judge(
    data: Path,
    out: Path,
    *,
    classes: Classes,
    recipe: Recipe,
    pretrained: Path | None = None,
    size: str = "b0",
    share: float = 0.05,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = SILENT,
    stop: Callable[[], bool] = never,
    state_seconds: float = 600.0,
) -> FittedJudge | None:
    """Fit a judge to the training pairs of `data` but for a `share` of them, from where `out` stands.

    It begins with the network in the folder `pretrained`, or with random weights of a `size`. The state is saved every `state_seconds`, before
    the network is judged, and when `stop`, asked after each step, says so: then None is returned. Raises `UsageError` when `out` holds
    something else, `DataError` that lists what is wrong with the pairs, and `WeightsError` when the loss is no longer finite or what `out`
    holds is damaged.
    """
    with lock_folder(out):
        remove_temporaries(out)
        report = check_dataset(data, classes, progress=progress)
        report.raise_problems()
        learned, held = hold_out(report.pairs, share)
        request = Request(
            begins_with={"size": size} if pretrained is None else pretrained_identity(pretrained),
            recipe=recipe,
            classes=classes,
            hold_out=share,
            seed=seed,
            data=hash_value(set_hashes(report.hashes)),
        )
        state = out / "fit_state.safetensors"
        if not state.exists() and (fitted := read_fitted(out)) is not None:
            require_same(fitted.request, request, out)
            return fitted
        network = new_segformer(size, classes, seed=seed) if pretrained is None else adapted_segformer(pretrained, classes, seed=seed)
        learner = Learner(network, recipe, seed=seed, device=device)
        first = _resume(learner, state, request) if state.exists() else 0
        if first == 0:
            _refuse_foreign(out, state)
            progress.say(_beginning(recipe, size, pretrained, pairs=len(learned), held=len(held)))
        done = _learn(learner, learned, request, state, first=first, progress=progress, stop=stop, state_seconds=state_seconds)
        if done < recipe.steps:
            return None
        with TemporaryDirectory() as folder:
            save_pretrained(learner.network, Path(folder))
            found = _check(Path(folder), held, request, device=device, progress=progress)
            fitted = FittedJudge(
                request=request,
                pairs=len(learned),
                held_out={name_of(pair): report.hashes[pair.stem].photo for pair in held},
                accuracy=found.accuracy.estimate if found else None,
                mean_iou=found.iou.estimate if found else None,
                versions=versions(),
            )
            _publish(Path(folder), fitted, out)
        state.unlink()
    return fitted


def _learn(
    learner: Learner,
    pairs: Sequence[Pair],
    request: Request,
    state: Path,
    *,
    first: int,
    progress: Progress,
    stop: Callable[[], bool],
    state_seconds: float,
) -> int:
    """Take the steps from `first` on; returns how many were taken in all, which is what the state on the disk holds."""
    saved = time.monotonic()
    steps = request.recipe.steps
    with progress.task("fit the judge", steps, done=first, unit="steps") as task, closing(_batches(pairs, request, first=first)) as batches:
        for step, (photos, targets) in enumerate(batches, start=first):
            loss = learner.learn(photos, targets, step=step)
            if not np.isfinite(loss):
                raise WeightsError(
                    f"the loss is no longer finite at step {step + 1} of {steps}: the fit has diverged. "
                    f"Fit into another folder with a lower --rate than {request.recipe.rate:g}."
                )
            task.note(f"loss {loss:.3f}")
            task.advance()
            stopped = stop()
            if stopped or step + 1 == steps or time.monotonic() - saved > state_seconds:
                _save(learner, state, request, step=step + 1)
                saved = time.monotonic()
            if stopped:
                return step + 1
    return steps


def _batches(pairs: Sequence[Pair], request: Request, *, first: int) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """Photos uint8 (N, H, W, 3) and targets int64 (N, H, W) of each step from `first` on."""
    recipe = request.recipe
    with closing(in_threads(partial(_sample, pairs, request), range(first * recipe.batch, recipe.steps * recipe.batch))) as samples:
        for _ in range(first, recipe.steps):
            photos, targets = zip(*islice(samples, recipe.batch), strict=True)
            yield np.stack(photos), np.stack(targets)


def _sample(pairs: Sequence[Pair], request: Request, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The crop of a number, which follows from it and the seed alone: the pairs come in another order each time they all were seen."""
    turn, place = divmod(number, len(pairs))
    order = np.random.default_rng([request.seed, 0, turn]).permutation(len(pairs))
    photo, label_map = read_pair(pairs[order[place]], request.classes)
    return training_crop(photo, label_map, request.recipe, ignore=request.classes.ignore, source=np.random.default_rng([request.seed, 1, number]))


def _save(learner: Learner, state: Path, request: Request, *, step: int) -> None:
    arrays = learner.arrays()
    if broken := broken_arrays(arrays):
        raise WeightsError(f"the fit has diverged after step {step}: {broken[0]}. Fit into another folder with a lower --rate.")
    write_sealed(state, arrays, {"step": step, "request": plain(request)})


def _resume(learner: Learner, state: Path, request: Request) -> int:
    """Load the state; returns the steps that were taken."""
    try:
        arrays, header = read_sealed(state)
        began, step = parse_request(header["request"]), int(header["step"])
    except (OSError, KeyError, ValueError) as error:
        raise WeightsError(f"{state} is damaged ({error}). Restore it from a copy, or delete it to begin anew.") from error
    require_same(began, request, state.parent)
    learner.load(arrays, source=state)
    return step


def _check(folder: Path, held: Sequence[Pair], request: Request, *, device: str, progress: Progress) -> Check | None:
    """How far the network in `folder` agrees with the pairs that it did not see; None where they hold no labelled pixel."""
    if not held:
        return None
    judge = SegformerJudge(folder, request.classes, device=device, batch=1)  # photos of many sizes would fill no batch
    confusion = judge_photos(judge, held, request.classes, size=request.recipe.crop, progress=progress)
    return check(confusion, request.classes) if confusion.any() else None


def _refuse_foreign(out: Path, state: Path) -> None:
    if found := next((out / name for name in ("config.json", *WEIGHT_FILES) if (out / name).exists()), None):
        raise UsageError(f"{found} is there already, and no {state.name} or {CARD} tells that it was fitted here. Choose another --out.")


def _beginning(recipe: Recipe, size: str, pretrained: Path | None, *, pairs: int, held: int) -> str:
    """What is said before the first step."""
    network = f"begins with {pretrained}" if pretrained else f"SegFormer-{size} begins with random weights: pretrained ones (--from) learn far faster"
    warm_up = (
        "" if recipe.warm_up_steps == recipe.warm_up else f"; warm-up: {recipe.warm_up_steps} steps, a tenth of all, instead of {recipe.warm_up}"
    )
    return f"{network}; {pairs} pairs to learn from, {held} held out{warm_up}"


def _publish(written: Path, fitted: FittedJudge, out: Path) -> None:
    """Move what transformers wrote to `out`, durably, with `judge.json`. Last comes what makes the folder a network."""
    for path in sorted(written.iterdir(), key=lambda each: each.name == "config.json"):
        if path.name == "config.json":
            write_json(out / CARD, plain(fitted))
        write_bytes(out / path.name, path.read_bytes())
