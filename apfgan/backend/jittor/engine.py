"""Jittor itself, imported once what it needs is set."""

from apfgan.jittor_setup import load_jittor

load_jittor()

import jittor as jt  # noqa: E402
from jittor import Var as Tensor  # noqa: E402

__all__ = ["Tensor", "jt"]
