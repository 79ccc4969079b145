"""edgeattn: efficient attention models for edge devices.

Give it an attention model, a device and a budget; it returns a bundle that runs there, with the evidence that
it is faster, smaller or cheaper and still right. `edgeattn/pipeline.py` is the page to read first.
"""

__version__ = "0.1.0"
