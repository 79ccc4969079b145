"""Every error a user can meet: the fact, the place, the remedy, and the exit code.

The exit code belongs to the class, so that a command never has to choose one:

    1    regression, failed verification, missing metric
    2    bad input: recipe, model, data, bundle
    3    inconclusive
    4    environment: wrong device, missing runtime, unreachable host
    5    tool or resource failure: crash of a native library, disk full, out of memory
    130  interrupted
"""

from __future__ import annotations


class EdgeattnError(Exception):
    """Base of all errors that edgeattn raises on purpose.

    fact: what is wrong, with the numbers or names involved.
    where: the place, such as "kws.yaml:14", "layer 3" or a file's path.
    fix: what the user can do about it, as an imperative.
    """

    exit_code = 5

    def __init__(self, fact: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(fact)
        self.fact = fact
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        remedy = f"\n  fix: {self.fix}" if self.fix else ""
        return f"{place}{self.fact}{remedy}"


class VerificationError(EdgeattnError):
    """The result is wrong: outputs drift, or the accuracy is below its floor."""

    exit_code = 1


class InputError(EdgeattnError):
    """Bad input from the user."""

    exit_code = 2


class RecipeError(InputError):
    """A recipe that cannot be read, or that asks for something impossible."""


class ModelError(InputError):
    """A model that is missing, unsafe, damaged or unsuited."""


class DataError(InputError):
    """Data that is missing, empty or of the wrong shape."""


class BundleError(InputError):
    """A bundle that is missing, incomplete, tampered with or of a newer schema."""


class InconclusiveError(EdgeattnError):
    """The measurement is inconclusive."""

    exit_code = 3


class DeviceError(EdgeattnError):
    """Something is missing in the environment: a device, a runtime, a library, a sensor."""

    exit_code = 4


class ToolError(EdgeattnError):
    """A tool or native library failed."""

    exit_code = 5


class ResourceError(ToolError):
    """Disk, memory or time ran out."""


class TrainingError(ToolError):
    """Training could not continue, for example because the loss became NaN."""
