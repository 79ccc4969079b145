"""The kinds of work of `edgeattn.profiling.kinds`, in words."""

from __future__ import annotations

KINDS = {
    "attention": "its products, softmax and feature maps",
    "matmul": "products with weights: projections, feed-forward, convolutions",
    "norm": "normalizations of a layer's values",
    "activation": "functions between the products of the feed-forward",
    "elementwise": "sums and products of single elements, such as residuals",
    "reduction": "sums and means outside attention, such as pooling",
    "embedding": "look-ups of embeddings",
    "data movement": "copies: reshapes, transposes, gathers, casts",
    "quantization": "conversions to and from integers",
    "fused": "operators of the runtime that do attention and products with weights at once",
    "other": "what could not be attributed, and small kinds together",
}
