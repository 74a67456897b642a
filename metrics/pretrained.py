"""Networks of transformers from a folder (`metrics.weights` finds it): hashed, and loaded without a word and without the network."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from apfgan.errors import WeightsError
from apfgan.files import hash_file
from metrics.inference import reason
from metrics.weights import WEIGHT_FILES, find_pretrained, weights_of


def required_pretrained(name: str) -> Path:
    """The folder of `name`, a folder or a hub id (`find_pretrained`); raises `WeightsError` when it is not here."""
    if (folder := find_pretrained(name)) is None:
        raise WeightsError(f"{name} is no folder with config.json and weights, nor in the hub's cache. Bring it here: apfgan weights list")
    return folder


def pretrained_identity(folder: Path) -> dict[str, str]:
    """Hashes of the configuration and the weights in `folder`."""
    return {"weights": hash_file(_required_weights(folder)), "config": hash_file(folder / "config.json")}


def load_pretrained(kind: Any, folder: Path) -> Any:
    """The network of class `kind` (one of transformers' models) in `folder`, in float32 whatever the file holds.

    Raises `WeightsError` where it is not one, or lacks weights.
    """
    return _load(kind, folder, {}, fresh=None)


def adapt_pretrained(kind: Any, folder: Path, names: Sequence[str], *, fresh: str) -> Any:
    """The same network for classes of other `names`, to be fine-tuned.

    Weights whose names begin with `fresh` may be missing or of another shape: they are drawn from torch's random numbers.
    """
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    return _load(kind, folder, labels | {"ignore_mismatched_sizes": True}, fresh=fresh)


def save_pretrained(network: Any, folder: Path) -> None:
    """Write one of transformers' networks to `folder` as transformers does: `config.json` and weights."""
    with _silence():
        network.save_pretrained(folder)


def _load(kind: Any, folder: Path, options: Mapping[str, Any], *, fresh: str | None) -> Any:
    _required_weights(folder)
    _require_kind(kind, folder)
    try:
        with _silence():
            network, report = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True, dtype=torch.float32, **options)
    except Exception as error:  # transformers raises anything from OSError to KeyError for files that are not what they say
        raise WeightsError(f"{folder} does not load as {kind.__name__}: {reason(error)}") from error
    missing = {*report["missing_keys"], *(key if isinstance(key, str) else key[0] for key in report["mismatched_keys"])}
    wrong = sorted(name for name in missing if fresh is None or not name.startswith(fresh))
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise WeightsError(
            f"{folder} lacks weights of {kind.__name__}: {', '.join(wrong[:5])}{more}. Was it trained for another task? "
            "A checkpoint of mmsegmentation or open_clip has to be converted to a model of transformers first, and saved by save_pretrained"
        )
    return network


def _require_kind(kind: Any, folder: Path) -> None:
    """Compare what `config.json` says the network is; transformers itself would warn, and make up all weights."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        named = str(config["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{folder / 'config.json'} is no configuration of transformers ({reason(error)}); get it again") from error
    wanted = kind.config_class
    if named != wanted.model_type and wanted.base_config_key not in config:
        raise WeightsError(f"{folder} holds a {named}, and {kind.__name__} is wanted: it is another network")


def _required_weights(folder: Path) -> Path:
    if (weights := weights_of(folder)) is None:
        raise WeightsError(
            f"{folder} is no pretrained network: that is a folder with config.json and {' or '.join(WEIGHT_FILES)}, as save_pretrained writes it"
        )
    return weights


@contextmanager
def _silence() -> Iterator[None]:
    """No warnings or bars of transformers; its settings are put back."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
