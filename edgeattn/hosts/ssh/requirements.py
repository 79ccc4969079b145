"""The packages that edgeattn needs on a device: markers in its metadata are about that device, not this machine.

`pip download --platform` chooses wheels for another platform and still reads markers as those of its own.
"""

from __future__ import annotations

import importlib.metadata

from packaging.requirements import Requirement


def requirements(extra: str | None, *, machine: str, python: tuple[int, int, int]) -> list[str]:
    """What an extra of edgeattn needs, or the device half (None), such as ["polygraphy<0.54,>=0.53"].

    machine: of the device, as `uname -m` says it. python: the version there.
    """
    environment = {
        "platform_machine": machine,
        "python_version": f"{python[0]}.{python[1]}",
        "python_full_version": ".".join(map(str, python)),
    }
    found = []
    for text in importlib.metadata.requires("edgeattn") or ():
        requirement = Requirement(text)
        marker, requirement.marker = requirement.marker, None
        always = marker is None or marker.evaluate({**environment, "extra": ""})
        wanted = always if extra is None else not always and marker and marker.evaluate({**environment, "extra": extra})
        if wanted:
            found.append(str(requirement))
    return found
