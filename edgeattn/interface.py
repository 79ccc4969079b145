"""The inputs and outputs of a bundle's graphs, and the axes whose sizes may change.

A tensor's dimensions are sizes or names. The first is the batch; every other name is an axis, which says what it counts
and which input tells padding from content. Nothing else in the device half knows an axis or a mask by its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from edgeattn.validation import Count, Part

BATCH = "batch"

TensorName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,199}$")]
AxisName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


class Axis(Part):
    """A dimension beside the batch whose size may change.

    unit: what it counts, in the plural, for reports: "tokens", "frames", "patches".
    mask: the input [batch, axis] that is 0 at padding and nowhere else; None: the axis is never padded.
    longest: the most that the model takes; None: it has no limit, or none that is known.
    """

    unit: Annotated[str, Field(pattern=r"^[a-z][a-z -]{0,31}$")]
    mask: TensorName | None = None
    longest: Count | None = None


class TensorSpec(Part):
    """An input or output of both graphs. Dimensions are sizes or names: "batch", or an axis."""

    name: TensorName
    dtype: Literal["bool", "int8", "uint8", "int32", "int64", "float16", "float32", "float64"]
    dims: Annotated[tuple[Count | AxisName, ...], Field(min_length=1, max_length=8)]

    @field_validator("dims")
    @classmethod
    def _names_stand_once(cls, dims: tuple[int | str, ...]) -> tuple[int | str, ...]:
        names = [dim for dim in dims if isinstance(dim, str)]
        if len(set(names)) < len(names):
            raise ValueError(f"{list(dims)} has one name for two dimensions")
        return dims


class Carried(TensorSpec):
    """An input of a graph for one token that carries what a layer keeps of the tokens before.

    next: the output that is this input for the token after. Before the first token it is zeros, and each named axis but
    the batch is empty: it grows by one with each token.
    in_place: the input may have more rows along that axis, which are not read, and the output may be the same memory:
    then a token writes its own row and copies nothing.
    """

    next: TensorName
    in_place: bool = False


def _present(axes: Any) -> Any:
    if axes is None:
        raise ValueError("missing; an edgeattn that did not know axes yet compiled this bundle")
    return axes


class Interface(Part):
    """What goes into the graphs of a bundle and what comes out.

    length_axis: the axis that lengths are about: those that are timed, and those of graphs with a fixed length.
    """

    inputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1)]
    outputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1)]
    axes: Annotated[dict[AxisName, Axis], BeforeValidator(_present)] = Field(default=None, validate_default=True)
    length_axis: AxisName | None = None

    @property
    def length_unit(self) -> str | None:
        """What lengths count, such as "tokens"; None for a model whose inputs have one size."""
        return None if self.length_axis is None else self.axes[self.length_axis].unit

    @property
    def dims(self) -> dict[str, tuple[int | str, ...]]:
        """name -> dimensions of each input and output."""
        return {tensor.name: tensor.dims for tensor in (*self.inputs, *self.outputs)}

    @model_validator(mode="after")
    def _fits_together(self) -> Interface:
        for fault in self._faults():
            raise ValueError(fault)
        return self

    def _faults(self) -> Iterator[str]:
        tensors = (*self.inputs, *self.outputs)
        if len({tensor.name for tensor in tensors}) < len(tensors):
            yield "two inputs or outputs have the same name"
        first = {tensor.dims[0] for tensor in tensors}
        if len(first) > 1:
            yield "the first dimensions of inputs and outputs differ; it is the batch in all of them"
        if isinstance(name := first.pop(), str) and name != BATCH:
            yield f"the first dimension of inputs and outputs is the batch, not {name!r}"
        for tensor in tensors:
            for dim in tensor.dims[1:]:
                if isinstance(dim, str) and dim not in self.axes:
                    yield f"{tensor.name!r} has the axis {dim!r}, which is not among the axes"
        inputs = {tensor.name: tensor.dims for tensor in self.inputs}
        for name, axis in self.axes.items():
            if not any(name in tensor.dims[1:] for tensor in tensors):
                yield f"axes: no input or output has the axis {name!r}"
            if axis.mask is not None and axis.mask not in inputs:
                yield f"axes: the mask of {name!r} is {axis.mask!r}, which is not an input"
            if axis.mask is not None and inputs[axis.mask][1:] != (name,):
                yield f"axes: the mask of {name!r} has the dimensions {list(inputs[axis.mask])}, not [batch, {name}]"
        if self.length_axis is not None and not any(self.length_axis in dims[1:] for dims in inputs.values()):
            yield f"length_axis: no input has the axis {self.length_axis!r}"
