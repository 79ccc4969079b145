"""How long engines are warmed up and timed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

START_S = 1.0  # for the processes of a pair to start, which they do at the same time
LOAD_S = 0.5  # for a process to load its engine


@dataclass(frozen=True)
class Protocol:
    """Parameters of a session. All times in seconds, per process and length."""

    name: str = "full"
    window_s: float = 1.0  # of warm-up: three window medians in a row must agree ...
    agree: float = 0.01  # ... within this share
    warm_min_s: float = 3.0
    warm_max_s: float = 60.0  # after that the process is recorded as not steady
    blocks: int = 4  # the contestants take turns this often within a pair
    block_s: float = 1.0
    samples: int = 64  # the fewest inferences that a process times (the floor of a p90) ...
    measure_max_s: float = 30.0  # ... unless that takes longer than this
    p99_s: float = 10.0  # the fewest are 662 (the floor of a p99) where those take no longer than this
    energy_s: float = 10.0  # of a window in which energy is read, once per contestant; 0: over the timed blocks.
    # A slow sensor makes it longer. A window as long, with no engine running, is the idle baseline.
    feeds: int = 8  # different inputs, used in rotation
    seed: int = 0

    def seconds(self, lengths: int, pairs: int, contestants: int = 2, *, slowness: float = 1.0) -> tuple[float, float]:
        """The least and the most seconds of a session: every process is steady at once, or none ever is.

        slowness: of its meter (`edgeattn.meters.slowness`); 0 without a meter. Pairs that are taken again, and a board
        that has to cool, come on top.
        """

        def session(warm_s: float, timed_s: float) -> float:
            pair_s = START_S + contestants * (LOAD_S + lengths * (warm_s + timed_s))
            return pairs * pair_s + (contestants * lengths + 1) * self.energy_s * slowness

        return (
            session(self.warm_min_s, self.blocks * self.block_s),
            session(self.warm_max_s, max(self.measure_max_s, self.blocks * self.block_s)),
        )

    def facts(self) -> dict[str, Any]:
        """The parameters, and what was done in words, as JSON."""
        return {
            **asdict(self),
            "processes": "a fresh one per contestant and pair, timed at every length, blocks in random order",
            "cold_start": "loading the engine and its first run, at the shortest length",
            "memory": "the process's peak after its warm-up at a length, less its peak before it loaded the engine",
            "energy": f"a window of {self.energy_s:g} s, longer for a slow sensor, per contestant and length; "
            "idle: one as long with every engine loaded and none running, at the same power mode and governor"
            if self.energy_s
            else "over the timed blocks, no idle baseline",
        }

    @classmethod
    def quick(cls) -> Protocol:
        """For the end of a compile and for a first look: about two seconds per process and length."""
        return cls(
            name="quick",
            window_s=0.15,
            agree=0.02,
            warm_min_s=0.45,
            warm_max_s=0.9,
            blocks=2,
            block_s=0.35,
            samples=24,  # too few for a p90 where an inference takes more than 11 ms
            measure_max_s=3.0,
            p99_s=0.0,
            energy_s=0.0,
        )
