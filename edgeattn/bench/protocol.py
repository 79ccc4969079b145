"""How long engines are warmed up and timed."""

from __future__ import annotations

from dataclasses import dataclass

START_S = 1.0  # for a process to start and load an engine
MEMORY_PROCESSES = 4  # per length: with and without the engine, for dense and efficient


@dataclass(frozen=True)
class Protocol:
    """Parameters of a session. All times in seconds, per process."""

    name: str = "full"
    window_s: float = 1.0  # of warm-up: three window medians in a row must agree ...
    agree: float = 0.01  # ... within this share
    warm_min_s: float = 3.0
    warm_max_s: float = 60.0  # after that the process is recorded as not steady
    blocks: int = 4  # dense and efficient take turns this often within a pair
    block_s: float = 1.0
    samples: int = 64  # the fewest inferences that a process times (the floor of a p90) ...
    measure_max_s: float = 30.0  # ... unless that takes longer than this
    energy_s: float = 10.0
    feeds: int = 8  # different inputs, used in rotation
    seed: int = 0

    def seconds(self, lengths: int, pairs: int) -> tuple[float, float]:
        """The least and the most seconds of a session: every process is steady at once, or none ever is."""

        def session(warm_s: float, timed_s: float) -> float:
            processes = 2 * pairs
            timing = processes * (START_S + warm_s + timed_s) + 2 * self.energy_s
            return lengths * (MEMORY_PROCESSES * START_S + timing)

        return (
            session(self.warm_min_s, self.blocks * self.block_s),
            session(self.warm_max_s, max(self.measure_max_s, self.blocks * self.block_s)),
        )

    @classmethod
    def quick(cls) -> Protocol:
        """For the end of a compile and for a first look: a few seconds per process."""
        return cls(
            name="quick",
            window_s=0.25,
            warm_min_s=1.0,
            warm_max_s=5.0,
            blocks=2,
            block_s=0.5,
            measure_max_s=5.0,
            energy_s=3.0,
        )
