"""Decides whether a candidate bundle is worse than a baseline bundle, with a known rate of false alarms.

`run.gate(candidate, baseline)` is the gate; `rule` and `sequential` are its decision, which takes paired differences
from any source; `session` takes them from real processes.
"""
