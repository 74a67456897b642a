"""Features for the benchmarks, and what other programs form of features before they take a distance."""

import numpy as np


def draw_features(count: int, dimensions: int, *, seed: int, shift: float = 0.0) -> np.ndarray:
    """Features float32 (count, dimensions) like a network's: not negative, correlated, and with a spectrum that falls off.

    All sets of as many dimensions have the same correlations; `shift` moves one away from the others.
    """
    mixing = np.random.default_rng(dimensions).normal(size=(dimensions, dimensions)) / np.sqrt(dimensions)
    normal = np.random.default_rng(seed).normal(size=(count, dimensions)) + shift
    mixed: np.ndarray = (normal * np.arange(1, dimensions + 1) ** -0.5) @ mixing
    return np.maximum(10 * mixed + 0.5, 0).astype(np.float32)


def form_statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean float64 (D,) and covariance float64 (D, D) of features (N, D)."""
    exact = features.astype(np.float64)
    return exact.mean(axis=0), np.cov(exact, rowvar=False)
