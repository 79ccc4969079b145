"""The `task` part of a recipe, one class per task: what it reads of the data, and its options."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from edgeattn.validation import Count, Part


class TextEmbedding(Part):
    """Sentence embeddings: masked mean pooling and L2 normalisation, inside the exported graph."""

    columns: ClassVar = ("text", "text_pair", "score")  # that the task reads
    kind: Literal["text-embedding"]
    max_length: Count = Field(default=128, description="tokens kept of a text, in distillation and evaluation")


class TextClassification(Part):
    """One label per text."""

    columns: ClassVar = ("text", "label")
    kind: Literal["text-classification"]
    labels: Count = Field(description="number of classes")
    max_length: Count = Field(default=128, description="tokens kept of a text, in distillation and evaluation")


class TextGeneration(Part):
    """A causal language model: the next token at every place of a text."""

    columns: ClassVar = ("text",)
    kind: Literal["text-generation"]
    max_length: Count = Field(default=128, description="tokens kept of a text, in distillation and evaluation")


class ImageClassification(Part):
    """One label per image."""

    columns: ClassVar = ("image", "label")
    kind: Literal["image-classification"]
    labels: Count = Field(description="number of classes")


AnyTask = TextEmbedding | TextClassification | TextGeneration | ImageClassification
TaskPart = Annotated[AnyTask, Field(discriminator="kind")]
