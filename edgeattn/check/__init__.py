"""Graph check: whether the parsers of a device's runtimes will take a graph, said before any device is asked.

What differs by version is data, in devices/operators; the rules are in `edgeattn.check.rules`. Graphs are read in a
worker, after `edgeattn.check.files` has refused broken files without native code.
"""
