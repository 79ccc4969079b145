"""Times a bundle's two engines side by side, and checks that their outputs are still right.

`session.run(bundle)` is the benchmark, `accuracy.check(bundle)` the verification, `compare.quick_compare` the short
timing that chooses among candidates.
"""
