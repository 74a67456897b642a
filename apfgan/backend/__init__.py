"""The words in which networks, losses, augmentation and training are written; the engine of this process stands behind them.

Two rules make two engines possible. A word has no default that could differ between them: sizes, strides, slopes and resize rules are always
named (PyTorch's `interpolate` means nearest, Jittor's means bilinear; so there is no `interpolate`). And a word means one thing, stated where
PyTorch's is defined and tested in both. Arithmetic, slicing and `.shape` of tensors are common to all engines.
"""

from typing import TYPE_CHECKING

from apfgan.engines import Engine, chosen_engine

if TYPE_CHECKING or chosen_engine() is Engine.pytorch:
    from apfgan.backend.pytorch import *  # noqa: F403
else:
    from apfgan.backend.jittor import *  # noqa: F403
