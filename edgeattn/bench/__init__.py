"""Timing of a bundle's two engines side by side, and the check that their outputs are still right.

`session.run(bundle)` is the benchmark, `accuracy.check(bundle)` the verification, `compare.quick_compare` the
short timing that candidates are chosen by.
"""
