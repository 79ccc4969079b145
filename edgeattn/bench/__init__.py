"""Times engines side by side, and checks that their outputs are still right.

`bundles.bench([bundle, ...])` is the benchmark of bundles, `run.run` that of any named engines,
`accuracy.check(bundle)` the verification; `compare` has the short timings that choose among candidates.
"""
