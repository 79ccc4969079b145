"""The JSON Schema of a recipe, for editors: with the names of the variants and the options of each."""

from __future__ import annotations

from typing import Any

from edgeattn.attention import ATTENTION
from edgeattn.recipe.schema import Recipe


def recipe_json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a recipe file."""
    schema = Recipe.model_json_schema()
    rule = schema["$defs"]["AttentionRule"]
    rule["properties"]["variant"]["enum"] = list(ATTENTION)
    # `options` is an open mapping in the model, since each variant's file holds its own.
    rule["allOf"] = [
        {
            "if": {"properties": {"variant": {"const": name}}},
            "then": {"properties": {"options": ATTENTION[name].Options.model_json_schema()}},
        }
        for name in ATTENTION
    ]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
