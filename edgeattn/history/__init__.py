"""The history of benches: what every `edgeattn bench` has measured on this machine and from it, in one SQLite file.

A history shows trends. It decides nothing: `edgeattn gate` measures candidate and baseline again, side by side.
"""
