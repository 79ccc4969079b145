"""TensorRT and TensorRT for RTX, both driven through NVIDIA's Polygraphy.

`library` is the one or the other. `runtime` is what the rest of edgeattn uses: it has engines built in a worker
(`building`, `plan`, `parse`) and loads them (`session`). `try_build` builds a graph without a GPU, to show that it can.
"""
