"""How many tokens a model takes, read from its table of positions, and the extension of a learned one.

A table may reserve its first rows: RoBERTa counts from behind its padding index, so that 514 rows are 512 tokens, and
BART from an offset. The module says so itself, so no model is asked for its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from edgeattn.errors import ModelError

# position_embeddings, embed_positions, positions_embed, pos_encoding, wpe; not x_position_embeddings, position_ids
_POSITION = re.compile(r"(embed_)?pos(ition(s|al)?)?(_(emb|enc)\w*)?|wpe")
_ROWS = "max_position_embeddings"  # in a config; transformers maps an architecture's own name to it


def token_limit(model: nn.Module) -> int | None:
    """The most tokens of a text that `model` takes, None for no limit. An encoder-decoder's is that of its encoder.

    Only shapes are read, so the model may be on the meta device. Rotary and relative positions have no limit: there
    the config's `max_position_embeddings` is the length that the model was trained on. It limits the model only where
    a table of as many rows exists (GPT-J, RoFormer), and where rotary frequencies change at that length (dynamic
    scaling), since an exported graph keeps the frequencies of its example.
    """
    for parent, table in _tables(model):
        return int(table.weight.shape[0]) - _reserved(parent, table)
    rows: int | None = getattr(_text_config(model), _ROWS, None)
    for module in model.modules():
        if "dynamic" in str(getattr(module, "rope_type", "")):
            return rows
        for name, tensor in _own_tensors(module):
            if _POSITION.fullmatch(name) and tensor.ndim > 1 and tensor.shape[0] == rows:
                return rows
    return None


def extend_positions(model: nn.Module, length: int) -> None:
    """Grows the learned position embeddings of `model`, in place, until it takes `length` tokens.

    The rows of tokens are copied over and over (Longformer, section 5); reserved rows stay as they are. A model that
    takes as many tokens already is left alone. Raises ModelError for a model without one table of such embeddings.
    """
    config, tables = _text_config(model), list(_tables(model))
    if len(tables) != 1 or not isinstance(getattr(config, _ROWS, None), int):
        found = "several tables of position embeddings" if tables else "no learned position embeddings to extend"
        raise ModelError(f"{type(model).__name__} has {found}", fix="drop model.extend_positions")
    parent, table = tables[0]
    first = _reserved(parent, table)
    reserved, rows = table.weight.data[:first], table.weight.data[first:]
    added = length - len(rows)
    if added <= 0:
        return
    table.weight = nn.Parameter(torch.cat((reserved, rows.repeat(-(-length // len(rows)), 1)[:length])))
    if isinstance(table, nn.Embedding):
        table.num_embeddings += added
    for name, buffer in list(parent.named_buffers(recurse=False)):
        size = (*buffer.shape[:-1], buffer.shape[-1] + added)
        if name == "position_ids":
            setattr(parent, name, (torch.arange(size[-1]) + buffer.flatten()[0]).expand(size))
        elif name == "token_type_ids":
            setattr(parent, name, buffer.new_zeros(size))
    setattr(config, _ROWS, getattr(config, _ROWS) + added)


def _text_config(model: nn.Module) -> Any:
    config: Any = getattr(model, "config", None)
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def _tables(model: nn.Module) -> Iterator[tuple[Any, Any]]:
    """(embeddings, their table of positions): the first in each module that also holds a table of the vocabulary."""
    vocabulary = getattr(_text_config(model), "vocab_size", None)
    for parent in model.modules():
        children = {name: child for name, child in parent.named_children() if _is_table(child)}
        if any(child.weight.shape[0] == vocabulary for child in children.values()):
            yield from [(parent, child) for name, child in children.items() if _POSITION.fullmatch(name)][:1]


def _is_table(module: Any) -> bool:
    # Quantized embeddings (I-BERT) are no nn.Embedding, but have its weight.
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim == 2 and not isinstance(module, nn.Linear)


def _reserved(parent: Any, table: Any) -> int:
    """Rows of `table` before that of the first token."""
    padding, counted = getattr(table, "padding_idx", None), getattr(parent, "position_ids", None)
    # YOSO has two rows more than positions to count.
    spare = table.weight.shape[0] - counted.shape[-1] if isinstance(counted, Tensor) else 0
    return max(spare, getattr(table, "offset", 0) if padding is None else padding + 1)


def _own_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_buffers(recurse=False)
    yield from module.named_parameters(recurse=False)
    yield from ((name, child.weight) for name, child in module.named_children() if isinstance(child, nn.Embedding))
