"""The variants of attention in a few words each; docs/attention.md has more."""

from __future__ import annotations

VARIANTS = {
    "dense": "the usual attention: every token sees every other, so its cost grows with the square of the length.",
    "hedgehog": "linear attention: its cost grows with the length; learned features imitate the usual attention.",
    "relu_linear": "linear attention with ReLU as its features, and a small convolution of the values.",
    "elu_linear": "linear attention with fixed features: the control for learned ones.",
    "luna": "linear attention whose features are learned functions of single numbers.",
    "sliding_window": "each token sees its near neighbours, and a few leading tokens that all see.",
    "dilated_window": "each token sees as many others, from a wider range with gaps.",
    "window_2d": "each patch of an image sees those of its own window.",
    "block_topk": "each block of tokens chooses, by content, the blocks that it sees.",
    "window_linear": "exact attention to near tokens, linear attention to the others.",
    "agent": "a few pooled queries gather from all tokens, and every token reads from them.",
    "gated_delta": "a state of constant size that every token decays, corrects and writes to.",
    "identity": "no mixing of tokens at all: the control that shows whether a layer needs attention.",
}
