"""TensorRT and TensorRT for RTX, both driven through NVIDIA's Polygraphy.

`library` is the one or the other, `parse` reads a graph, `plan` builds it in a worker, `try_build` builds it without a
GPU to show that it can be built.
"""
