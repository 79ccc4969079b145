"""The recipe's schema: what a recipe may say, typed, closed and frozen.

Every part forbids unknown keys and converts nothing: `"3"` is not a number and `no` is not a boolean. The
reader (`edgeattn.recipe.reader`) turns what pydantic finds wrong into errors with a line and a remedy: a
validator here raises ValueError("key: fact; remedy").
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from edgeattn.registry import Registry, did_you_mean

SCHEMA_VERSION = 1

_LAYER_RANGE = re.compile(r"(\d{1,4})-(\d{1,4})")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    return value


Finite = BeforeValidator(_finite)
Count = Annotated[int, Field(ge=1, le=1_000_000)]
LearningRate = Annotated[float, Finite, Field(gt=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


def _divisors_near(number: int, of: int) -> str:
    """The divisors of `of` on both sides of `number`, which is none itself: "4 or 8"."""
    below = max(divisor for divisor in range(1, min(number, of) + 1) if of % divisor == 0)
    above = next((divisor for divisor in range(number + 1, of + 1) if of % divisor == 0), None)
    return f"{below} or {above}" if above else str(below)


class Part(BaseModel):
    """A closed, strict, frozen part of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


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
        description="SHA-256 of model.safetensors; the run stops if it is another",
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
    layers: Count = 4
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


class TextEmbedding(Part):
    """Sentence embeddings: masked mean pooling and L2 normalisation, inside the exported graph."""

    kind: Literal["text-embedding"]
    max_length: Count = Field(default=128, description="tokens kept of a text, in distillation and evaluation")


class ImageClassification(Part):
    """One label an image."""

    kind: Literal["image-classification"]
    labels: Count = Field(description="number of classes")


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
        description="builtin:python-docs, builtin:digits, hub:ORG/NAME, or a file relative to the recipe "
        "(csv, tsv, jsonl, txt, parquet; .gz too)",
    )
    revision: str | None = Field(default=None, pattern=r"^[0-9A-Za-z][0-9A-Za-z._/-]{0,99}$")
    split: Name = "train"
    columns: Columns = Columns()
    names: tuple[str, ...] | None = Field(
        default=None, description="column names of a csv or tsv file without a header line"
    )
    quoting: bool = Field(default=True, description="false: quotation marks in csv or tsv are ordinary characters")
    limit: Count | None = Field(default=None, description="take only so many samples, spread evenly over all")

    @field_validator("names", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class Data(Part):
    """Training and held-out samples."""

    train: Source
    eval: Source


Options = dict[str, bool | int | float | str]


class LayerRule(Part):
    """Something for some layers."""

    layers: Literal["all"] | tuple[Annotated[int, Field(ge=0)], ...] | str = Field(
        default="all", description='"all", a list such as [0, 2], or a range such as "1-4"'
    )

    @field_validator("layers", mode="before")
    @classmethod
    def _layers(cls, value: Any) -> Any:
        if isinstance(value, list):
            return tuple(value)
        if isinstance(value, str) and value != "all" and not _LAYER_RANGE.fullmatch(value):
            raise ValueError(f'layers: {value!r} is neither "all", a list, nor a range; write 0-3 for a range')
        return value

    def indices(self, count: int) -> tuple[int, ...]:
        """The layers meant, in a model of `count` layers; names outside it are returned as they are."""
        if self.layers == "all":
            return tuple(range(count))
        if isinstance(self.layers, tuple):
            return self.layers
        match = _LAYER_RANGE.fullmatch(self.layers)
        assert match is not None  # _layers checked it
        return tuple(range(int(match[1]), int(match[2]) + 1))


class AttentionRule(LayerRule):
    """One variant for some layers. Layers that no rule names keep their dense attention."""

    variant: str = Field(description="a name that `edgeattn recipes schema` lists")
    options: Options = Field(default_factory=dict, validate_default=True)

    @field_validator("variant")
    @classmethod
    def _known_variant(cls, value: str) -> str:
        # Imported here: a variant's own file, which holds its options, needs torch.
        from edgeattn.attention import ATTENTION

        return _entry_of(ATTENTION, value)

    @field_validator("options")
    @classmethod
    def _known_options(cls, value: Options, info: ValidationInfo) -> Options:
        from edgeattn.attention import ATTENTION

        return _options_of(ATTENTION, info.data.get("variant"), value)

    @property
    def entry(self) -> str:
        return self.variant


class ReduceRule(LayerRule):
    """One token reducer after each of some layers."""

    reducer: str = Field(description="a name that `edgeattn recipes schema` lists")
    options: Options = Field(default_factory=dict, validate_default=True)

    @field_validator("reducer")
    @classmethod
    def _known_reducer(cls, value: str) -> str:
        from edgeattn.attention import REDUCERS

        return _entry_of(REDUCERS, value)

    @field_validator("options")
    @classmethod
    def _known_options(cls, value: Options, info: ValidationInfo) -> Options:
        from edgeattn.attention import REDUCERS

        return _options_of(REDUCERS, info.data.get("reducer"), value)

    @property
    def entry(self) -> str:
        return self.reducer


def _entry_of(registry: Registry[Any], name: str) -> str:
    if name not in registry:
        raise ValueError(f"unknown {registry.kind} {name!r}; {did_you_mean(name, list(registry))}")
    return name


def _options_of(registry: Registry[Any], name: str | None, options: Options) -> Options:
    from edgeattn.attention import check_options

    if name is not None:  # else the name is the error
        check_options(name, options, registry)
    return options


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
    buckets: tuple[Count, ...] | None = Field(
        default=None,
        description="tokens; beside the graph for any length one is written for each of these, and inputs are padded "
        "to the next",
    )

    @field_validator("buckets", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


Precision = Literal["fp32", "int8-dynamic"]


class Quantize(Part):
    """Which precisions are tried. The target's fastest one within the accuracy floor is shipped."""

    precisions: tuple[Precision, ...] = ("fp32", "int8-dynamic")
    prefer: Literal["latency", "size"] = "latency"

    @field_validator("precisions", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        if isinstance(value, list):
            if not value:
                raise ValueError("precisions: an empty list leaves nothing to ship; name at least fp32")
            return tuple(value)
        return value


class Accept(Part):
    """The accuracy floor of what is shipped."""

    metric: str | None = Field(default=None, description="the task's first metric when absent")
    of_teacher: Annotated[float, Finite, Field(gt=0, le=1)] = Field(
        default=0.99, description="share of the dense fp32 teacher's own value that must be kept"
    )


class Bench(Part):
    """What is timed at the end of a compile."""

    lengths: tuple[Count, ...] | None = Field(default=None, description="tokens, for models with a sequence input")
    batch_size: Count = 1
    pairs: Annotated[int, Field(ge=3, le=100)] = Field(
        default=6, description="pairs of fresh processes, dense and efficient"
    )

    @field_validator("lengths", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class Recipe(Part):
    """A teacher, its task and data, the new attention, and how it is trained, checked and shipped."""

    schema_version: Literal[1] = Field(alias="schema")
    name: Name
    description: str = Field(max_length=500)
    model: PretrainedModel | NewViT
    task: Annotated[TextEmbedding | ImageClassification, Field(discriminator="kind")]
    data: Data
    attention: tuple[AttentionRule, ...]
    reduce: tuple[ReduceRule, ...] = ()
    distill: Distill | None = None
    export: Export = Export()
    quantize: Quantize = Quantize()
    accept: Accept = Accept()
    bench: Bench = Bench()

    @field_validator("model", mode="before")
    @classmethod
    def _which_model(cls, value: Any) -> Any:
        # Chosen here and not by trying both, so that an error speaks of the one that was meant.
        if isinstance(value, dict):
            return (NewViT if "architecture" in value else PretrainedModel).model_validate(value)
        return value

    @field_validator("attention", "reduce", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value
