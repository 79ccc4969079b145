"""What a model is for: one file per task, behind a closed registry."""

from edgeattn.registry import Registry
from edgeattn.tasks.base import Samples, Task

TASKS: Registry[type[Task]] = Registry(
    "task",
    {
        "text-embedding": "edgeattn.tasks.text_embedding:TextEmbeddingTask",
        "text-classification": "edgeattn.tasks.text_classification:TextClassificationTask",
        "text-generation": "edgeattn.tasks.text_generation:TextGenerationTask",
        "image-classification": "edgeattn.tasks.image_classification:ImageClassificationTask",
    },
)

__all__ = ["TASKS", "Samples", "Task"]
