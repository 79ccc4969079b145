"""The JSON Schema of a recipe, for editors, with the names and options of all variants, reducers and methods."""

from __future__ import annotations

from typing import Any

from edgeattn.attention import ATTENTION, REDUCERS
from edgeattn.quantize import METHODS
from edgeattn.recipe.schema import Recipe
from edgeattn.registry import Registry


def recipe_json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a recipe file."""
    schema = Recipe.model_json_schema()
    _name_options(schema["$defs"]["AttentionRule"], "variant", ATTENTION)
    _name_options(schema["$defs"]["ReduceRule"], "reducer", REDUCERS)
    _name_options(schema["$defs"]["QuantizeMethod"], "method", METHODS)
    methods = schema["$defs"]["Quantize"]["properties"]["methods"]
    methods["items"] = {"anyOf": [{"enum": list(METHODS)}, methods["items"]]}  # a bare name means its defaults
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _name_options(rule: dict[str, Any], key: str, registry: Registry[Any]) -> None:
    rule["properties"][key]["enum"] = list(registry)
    # `options` is an open mapping in the model: each entry's own file defines its options.
    rule["allOf"] = [
        {
            "if": {"properties": {key: {"const": name}}},
            "then": {"properties": {"options": registry[name].Options.model_json_schema()}},
        }
        for name in registry
    ]
