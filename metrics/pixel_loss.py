"""Cross-entropy of a segmenter's small logits against full-size label maps, without full-size logits of the whole batch.

N images, C classes, H×W pixels of the label maps, h×w of the logits. At 512x512 and 182 classes an image's full-size logits take 190 MB, and
what autograd keeps for them as much again: so the gradient is taken with the loss, a few images at a time.
"""

from typing import Any

import torch
from torch.nn import functional

UNLABELLED = -100
"""The target of a pixel that counts for nothing."""

_LOGITS = 1 << 22
"""Full-size logits that exist together, if one image has no more. A whole batch of 182 classes mostly waited for fresh memory."""


def pixel_cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean over the labelled pixels of target, int64 (N, H, W), the logits (N, C, h, w) brought to their size bilinearly; 0 without any.

    A scalar; its gradient goes to `logits` and is computed at once, where one is wanted.
    """
    loss: torch.Tensor = _PixelCrossEntropy.apply(logits, target)
    return loss


class _PixelCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        images = max(1, _LOGITS // (logits.shape[1] * target[0].numel()))
        labelled = (target != UNLABELLED).sum().clamp(min=1)  # a batch without a label must not divide by zero
        total = logits.new_zeros(())
        gradients = []
        for few, wanted in zip(logits.split(images), target.split(images), strict=True):
            with torch.enable_grad():
                leaf = few.detach().requires_grad_(ctx.needs_input_grad[0])
                large = functional.interpolate(leaf, size=wanted.shape[1:], mode="bilinear", align_corners=False)
                loss = functional.cross_entropy(large, wanted, ignore_index=UNLABELLED, reduction="sum") / labelled
            if ctx.needs_input_grad[0]:
                gradients += torch.autograd.grad(loss, leaf)
            total += loss.detach()
        ctx.save_for_backward(*([torch.cat(gradients)] if gradients else []))
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, weight: torch.Tensor) -> tuple[torch.Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return weight * gradient, None
