"""What a bench session asks of an engine: single requests, batches, requests at random, or tokens one by one."""

from __future__ import annotations

from edgeattn.bench.scenarios.base import OPTIONS, Block, Budget, Scenario
from edgeattn.errors import InputError
from edgeattn.registry import Registry

__all__ = ["DEFAULT", "SCENARIOS", "Block", "Budget", "Scenario", "document_name", "scenario_of"]

DEFAULT = "single"
SCENARIOS = Registry[type[Scenario]](
    "scenario",
    {
        "single": "edgeattn.bench.scenarios.single:Single",
        "offline": "edgeattn.bench.scenarios.offline:Offline",
        "server": "edgeattn.bench.scenarios.server:Server",
        "decode": "edgeattn.bench.scenarios.decode:Decode",
    },
)


def scenario_of(name: str = DEFAULT, *, rate_per_s: float | None = None, batch_size: int | None = None) -> Scenario:
    """The scenario called `name`, for one session. Raises InputError for an option that it does not take."""
    kind = SCENARIOS[name]
    given = {"rate_per_s": rate_per_s, "batch_size": batch_size}
    for option, value in given.items():
        if value is not None and option not in kind.options:
            takers = [each for each in SCENARIOS if option in SCENARIOS[each].options]
            raise InputError(
                f"the scenario {name!r} does not take it",
                where=OPTIONS[option],
                fix=f"leave it out, or use --scenario {' or '.join(takers)}",
            )
    return kind(**{option: value for option, value in given.items() if option in kind.options})


def document_name(scenario: str) -> str:
    """The file in a bundle that holds the document of a scenario's session: bench.json is that of the default."""
    return "bench.json" if scenario == DEFAULT else f"bench-{scenario}.json"
