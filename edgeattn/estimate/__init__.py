"""What a graph takes on a device by arithmetic: operations, bytes moved, and the roofline's latency and energy.

Read in this order: `graph` (a graph and the size of each of its tensors), `count` (the work of each node), `fuse`
(nodes to kernels), `rates` (what a machine reaches), `roofline` (the time of kernels), `predict` (a bundle's or a
recipe's forms on a device). Nothing here is measured on the device; `calibrate` measures the rates of this machine.
"""
