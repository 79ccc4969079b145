"""Timing of a bundle's two engines side by side, and the check that they still compute what they should.

`session.run(bundle)` is the benchmark, `accuracy.check(bundle)` the verification, `compare.quick_compare` the
short timing that choices are made by.
"""
