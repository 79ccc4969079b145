"""Makes engines of a bundle's candidates on the device that runs them, and chooses what ships.

`run.build(bundle)` is the job: it builds every candidate for every runtime and configuration (`trials`, `engines`),
times them (`timing`), scores the fastest first until one keeps the accuracy floor (`choice`, `scoring`), and keeps that
one.
"""
