"""The recipe's schema: its keys and values, typed, closed and frozen.

Every part forbids unknown keys and converts nothing: `"3"` is not a number and `no` is not a boolean. The reader
(`edgeattn.recipe.reader`) turns pydantic's errors into errors with a line and a remedy; a validator here raises
ValueError("key: fact; remedy"). `edgeattn.recipe.consistency` checks the keys against each other.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from edgeattn.quantize import DEFAULT, METHODS
from edgeattn.recipe.tasks import TaskPart
from edgeattn.registry import Registry, did_you_mean
from edgeattn.validation import Count, Distinct, Many, Part, described, options_of

SCHEMA_VERSION = 1

_LAYER_RANGE = re.compile(r"(\d{1,4})-(\d{1,4})")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    return value


Finite = BeforeValidator(_finite)
LearningRate = Annotated[float, Finite, Field(gt=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


def _divisors_near(number: int, of: int) -> str:
    """The divisors of `of` next below and next above `number`, which does not divide it: "4 or 8"."""
    below = max(divisor for divisor in range(1, min(number, of) + 1) if of % divisor == 0)
    above = next((divisor for divisor in range(number + 1, of + 1) if of % divisor == 0), None)
    return f"{below} or {above}" if above else str(below)


class PretrainedModel(Part):
    """A teacher that exists already."""

    source: str = Field(
        max_length=300,
        description="hub:ORG/NAME, package:MODULE/FOLDER (inside an installed package), "
        "or a folder relative to the recipe",
    )
    revision: str | None = Field(
        default=None,
        pattern=r"^[0-9A-Za-z][0-9A-Za-z._/-]{0,99}$",
        description="hub only: a commit, tag or branch",
    )
    digest: str | None = Field(
        None,
        pattern=r"^sha256:[0-9a-f]{64}$",
        description="SHA-256 of model.safetensors, or of what sha256sum prints for its shards; another stops the run",
    )
    extend_positions: Count | None = Field(
        None,
        description="grow learned position embeddings to this length by copying them, as Longformer does",
    )


class TrainTeacher(Part):
    """How a teacher is trained from scratch on the recipe's own labelled data."""

    epochs: Count = Field(default=20, description="passes over the training data")
    batch_size: Count = 64
    learning_rate: LearningRate = 1e-3
    seed: int = Field(default=0, ge=0, lt=2**32)


class NewViT(Part):
    """A small vision transformer, trained from scratch by the recipe."""

    architecture: Literal["vit"]
    image_size: Count = Field(description="pixels, height and width")
    patch_size: Count = Field(description="pixels, height and width of a patch")
    channels: Count = 3
    hidden_size: Count = 64
    layers: Annotated[int, Field(ge=1, le=1000)] = 4
    heads: Count = 4
    mlp_size: Count = 128
    train: TrainTeacher = TrainTeacher()

    @model_validator(mode="after")
    def _divides(self) -> NewViT:
        for part, whole in (("heads", "hidden_size"), ("patch_size", "image_size")):
            number, of = getattr(self, part), getattr(self, whole)
            if of % number:
                near = _divisors_near(number, of)
                raise ValueError(f"{part}: {number} does not divide {whole} {of}; use {near}")
        return self


class Columns(Part):
    """Which columns of the data hold what."""

    text: str | None = None
    text_pair: str | None = None
    score: str | None = Field(default=None, description="gold similarity of the pair")
    image: str | None = None
    label: str | None = None


class Source(Part):
    """Where samples come from."""

    source: str = Field(
        max_length=300,
        description="builtin:python-docs, builtin:python-docstrings, builtin:python-texts (both), builtin:digits, "
        "hub:ORG/NAME, or a file relative to the recipe (csv, tsv, jsonl, txt, parquet; .gz too)",
    )
    revision: str | None = Field(default=None, pattern=r"^[0-9A-Za-z][0-9A-Za-z._/-]{0,99}$")
    split: Name = "train"
    columns: Columns = Columns()
    names: Distinct[str] | None = Field(
        default=None, description="column names of a csv or tsv file without a header line"
    )
    quoting: bool = Field(default=True, description="false: quotation marks in csv or tsv are ordinary characters")
    limit: Count | None = Field(default=None, description="take only so many samples, spread evenly over all")


class Data(Part):
    """Training and held-out samples."""

    train: Source
    eval: Source


Options = dict[str, bool | int | float | str]


class LayerRule(Part):
    """An entry of a registry, with its options, for some layers."""

    layers: Literal["all"] | Distinct[Annotated[int, Field(ge=0)]] | str = Field(
        default="all", description='"all", a list such as [0, 2], or a range such as "1-4"'
    )
    key: ClassVar[str]  # the field that holds the entry's name

    @field_validator("layers", mode="after")
    @classmethod
    def _range(cls, value: Any) -> Any:
        if not isinstance(value, str) or value == "all":
            return value
        match = _LAYER_RANGE.fullmatch(value)
        if not match:
            raise ValueError(f'layers: {value!r} is neither "all", a list, nor a range; write 0-3 for a range')
        if int(match[1]) > int(match[2]):
            raise ValueError(f"layers: the range {value} has no layer; write {match[2]}-{match[1]}")
        return value

    @field_validator("variant", "reducer", check_fields=False)
    @classmethod
    def _known_entry(cls, name: str) -> str:
        registry = cls.registry()
        if name not in registry:
            raise ValueError(f"unknown {registry.kind} {name!r}; {did_you_mean(name, list(registry))}")
        return name

    @field_validator("options", check_fields=False)
    @classmethod
    def _known_options(cls, options: Options, info: ValidationInfo) -> Options:
        from edgeattn.attention import check_options

        if cls.key in info.data:  # else the name is the error
            check_options(info.data[cls.key], options, cls.registry())
        return options

    @classmethod
    def registry(cls) -> Registry[Any]:
        """The registry that the rule's entry is in. Loaded when asked: a variant's file needs torch."""
        raise NotImplementedError

    @property
    def entry(self) -> str:
        """The name of the variant or reducer."""
        return str(getattr(self, self.key))

    def indices(self, count: int) -> tuple[int, ...]:
        """The layers of the rule in a model of `count` layers; one that the model does not have is kept."""
        if self.layers == "all":
            return tuple(range(count))
        if isinstance(self.layers, tuple):
            return self.layers
        first, last = map(int, self.layers.split("-"))
        return tuple(range(first, last + 1))


class AttentionRule(LayerRule):
    """One variant for some layers. Layers that no rule names keep their dense attention."""

    key = "variant"
    variant: str = Field(description="a name that `edgeattn recipes schema` lists")
    options: Options = Field(default_factory=dict, validate_default=True)

    @classmethod
    def registry(cls) -> Registry[Any]:
        from edgeattn.attention import ATTENTION

        return ATTENTION


class ReduceRule(LayerRule):
    """One token reducer after each of some layers."""

    key = "reducer"
    reducer: str = Field(description="a name that `edgeattn recipes schema` lists")
    options: Options = Field(default_factory=dict, validate_default=True)

    @classmethod
    def registry(cls) -> Registry[Any]:
        from edgeattn.attention import REDUCERS

        return REDUCERS


class Phase(Part):
    """One phase of training."""

    steps: Count
    learning_rate: LearningRate
    batch_size: Count = 32


class Distill(Part):
    """How the student learns from the teacher."""

    transfer: Phase | None = Field(
        None,
        description="attention transfer: only the new attention parameters learn, each layer from the "
        "teacher's inputs and outputs",
    )
    finetune: Phase | None = Field(default=None, description="end-to-end: every parameter learns")
    max_length: Count | None = Field(default=None, description="tokens kept of a training text; the task's when absent")
    checkpoint_every: Count = Field(default=50, description="steps between checkpoints that a killed run resumes from")
    seed: int = Field(default=0, ge=0, lt=2**32)


class Export(Part):
    """How the graph is written."""

    opset: int | None = Field(
        default=None, ge=17, le=26, description="ONNX opset; the highest of the target when absent"
    )
    buckets: Distinct[Count] | None = Field(
        default=None,
        description="tokens; also writes one graph of fixed length per entry, and pads inputs to the next of them",
    )


class QuantizeMethod(Part):
    """A quantization method to try, with its options. In a recipe, a bare name means the method with its defaults."""

    name: str = Field(alias="method", description="a name that `edgeattn recipes schema` lists")
    # Each method's own file defines its options.
    options: Annotated[SerializeAsAny[Part], WithJsonSchema({"type": "object"})] = Field(
        default_factory=dict, validate_default=True
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"method": value}
        if not isinstance(value, dict):
            raise ValueError(f"a name or a mapping is expected, not {described(value)}; write a name, such as fp32")
        return value

    @field_validator("name")
    @classmethod
    def _known_method(cls, name: str) -> str:
        if name not in METHODS:
            raise ValueError(f"unknown {METHODS.kind} {name!r}; {did_you_mean(name, list(METHODS))}")
        return name

    @field_validator("options", mode="before")
    @classmethod
    def _known_options(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, dict):
            return value
        name = info.data.get("name")
        return options_of(name, value, METHODS[name].Options) if name else Part()  # without it, the name is the error


def _each_once(methods: tuple[QuantizeMethod, ...]) -> tuple[QuantizeMethod, ...]:
    names = [method.name for method in methods]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"names {twice} twice; name it once")
    return methods


class Quantize(Part):
    """Which methods are tried. The target's fastest one within the accuracy floor is shipped."""

    methods: Annotated[Many[QuantizeMethod], AfterValidator(_each_once), Field(min_length=1)] = Field(
        default=DEFAULT, validate_default=True
    )
    prefer: Literal["latency", "size"] = "latency"


class Accept(Part):
    """The accuracy floor of what is shipped."""

    metric: str | None = Field(default=None, description="the task's first metric when absent")
    of_teacher: Annotated[float, Finite, Field(gt=0, le=1)] = Field(
        default=0.99, description="share of the dense fp32 teacher's own value that must be kept"
    )


class Bench(Part):
    """What is timed at the end of a compile."""

    lengths: Distinct[Count] | None = Field(
        default=None, description="of samples, along the axis of the task that varies"
    )
    batch_size: Count = 1
    pairs: Annotated[int, Field(ge=3, le=100)] = Field(
        default=6, description="pairs of fresh processes, dense and efficient"
    )


class Recipe(Part):
    """A teacher, its task and data, the new attention, and how it is trained, checked and shipped."""

    schema_version: Literal[1] = Field(alias="schema")
    name: Name
    description: str = Field(max_length=500)
    model: PretrainedModel | NewViT
    task: TaskPart
    data: Data
    attention: Many[AttentionRule]
    reduce: Many[ReduceRule] = ()
    distill: Distill | None = None
    export: Export = Export()
    quantize: Quantize = Field(default_factory=Quantize)  # late: the files of the methods need numpy
    accept: Accept = Accept()
    bench: Bench = Bench()

    @field_validator("model", mode="before")
    @classmethod
    def _which_model(cls, value: Any) -> Any:
        # Chosen by its key, not by trying both, so that an error is about the one that was meant.
        if isinstance(value, dict):
            return (NewViT if "architecture" in value else PretrainedModel).model_validate(value)
        return value
