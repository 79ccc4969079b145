"""Where the time of an engine goes: what its runtime's own profiler says, by layer of the model and by kind of work.

Read in this order: `layers` and `kinds` (what a node of a graph belongs to), `attribute` (an engine's operators to
these), `leg` (one engine in a process of its own), `run` (the document of a bundle, profile.json).
"""
