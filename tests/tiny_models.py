"""Tiny transformers models with random weights, a tiny tokenizer, and the tasks that use them. Nothing is downloaded.

model, feeds = tiny_models.make("bert")
task = tiny_models.text_task(tmp_path)
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from edgeattn.data.rows import Rows
from edgeattn.recipe.tasks import ImageClassification, TextClassification, TextEmbedding, TextGeneration
from edgeattn.tasks.image_classification import ImageClassificationTask
from edgeattn.tasks.text_classification import TextClassificationTask
from edgeattn.tasks.text_embedding import TextEmbeddingTask
from edgeattn.tasks.text_generation import TextGenerationTask

VOCABULARY, WIDTH, HEADS, LENGTH = 48, 16, 2, 24
_COMMON = {"vocab_size": VOCABULARY, "initializer_range": 0.4, "pad_token_id": 0}
_TEXT = {**_COMMON, "hidden_size": WIDTH, "num_attention_heads": HEADS, "intermediate_size": 24, "layer_norm_eps": 1e-5}
_CAUSAL = {"bos_token_id": 1, "eos_token_id": 2}
_BARE = {key: value for key, value in _TEXT.items() if key not in ("vocab_size", "pad_token_id")}
_IMAGE = {**_BARE, "image_size": 8, "patch_size": 2, "num_channels": 1}
_ROTARY = {**{key: value for key, value in _TEXT.items() if key != "layer_norm_eps"}, **_CAUSAL}
_CLIP_TEXT = {**_BARE, **_CAUSAL, "vocab_size": VOCABULARY, "max_position_embeddings": 32}
_WHISPER = {
    **_CAUSAL, "vocab_size": VOCABULARY, "pad_token_id": 0, "decoder_start_token_id": 1, "num_mel_bins": 4,
    "d_model": WIDTH, "encoder_attention_heads": HEADS, "decoder_attention_heads": HEADS, "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24, "max_source_positions": 12, "max_target_positions": 32, "suppress_tokens": None,
    "begin_suppress_tokens": None,
}  # fmt: skip

# name -> (config class, model class, options of the config, options that hold the number of layers)
_MODELS = {
    "bert": ("BertConfig", "BertModel", {**_TEXT, "max_position_embeddings": 32}, "num_hidden_layers"),
    "roberta": ("RobertaConfig", "RobertaModel", {**_TEXT, "max_position_embeddings": 40}, "num_hidden_layers"),
    "distilbert": (
        "DistilBertConfig",
        "DistilBertModel",
        {**_COMMON, "dim": WIDTH, "n_heads": HEADS, "hidden_dim": 24, "max_position_embeddings": 32},
        "n_layers",
    ),
    "albert": ("AlbertConfig", "AlbertModel", {**_TEXT, "embedding_size": 8}, "num_hidden_layers"),
    "t5": (
        "T5Config",
        "T5EncoderModel",
        {"vocab_size": VOCABULARY, "d_model": WIDTH, "num_heads": HEADS, "d_kv": 8, "d_ff": 24, "dropout_rate": 0.0},
        "num_layers",
    ),
    "beit": ("BeitConfig", "BeitModel", {**_IMAGE, "use_relative_position_bias": True}, "num_hidden_layers"),
    "swin": (  # the second layer shifts its windows; layers are those of `depths`
        "SwinConfig",
        "SwinModel",
        {"image_size": 16, "patch_size": 2, "embed_dim": WIDTH, "num_heads": [HEADS], "depths": [2], "window_size": 4,
         "drop_path_rate": 0.0},
        "",
    ),
    "modernbert": (
        "ModernBertConfig",
        "ModernBertModel",
        {**_TEXT, **_CAUSAL, "local_attention": 8, "cls_token_id": 1, "sep_token_id": 2},
        "num_hidden_layers",
    ),
    "vit": ("ViTConfig", "ViTForImageClassification", {**_IMAGE, "num_labels": 10}, "num_hidden_layers"),
    "deit": ("DeiTConfig", "DeiTModel", _IMAGE, "num_hidden_layers"),
    "dinov2": ("Dinov2Config", "Dinov2Model", {**_IMAGE, "mlp_ratio": 2}, "num_hidden_layers"),
    "clip_text": ("CLIPTextConfig", "CLIPTextModel", _CLIP_TEXT, "num_hidden_layers"),
    "clip_vision": ("CLIPVisionConfig", "CLIPVisionModel", _IMAGE, "num_hidden_layers"),
    "clip": (
        "CLIPConfig",
        "CLIPModel",
        {"text_config": _CLIP_TEXT, "vision_config": _IMAGE, "projection_dim": 8},
        "text_config.num_hidden_layers vision_config.num_hidden_layers",
    ),
    "siglip": (
        "SiglipConfig",
        "SiglipModel",
        {"text_config": {**_CLIP_TEXT, "projection_size": WIDTH}, "vision_config": _IMAGE},
        "text_config.num_hidden_layers vision_config.num_hidden_layers",
    ),
    "whisper": ("WhisperConfig", "WhisperModel", _WHISPER, "encoder_layers decoder_layers"),
    "whisper_encoder": ("WhisperConfig", "WhisperModel", _WHISPER, "encoder_layers decoder_layers"),
    "wav2vec2": (
        "Wav2Vec2Config",
        "Wav2Vec2Model",
        {
            **_TEXT, "conv_dim": (8, 8), "conv_kernel": (4, 4), "conv_stride": (4, 4), "num_conv_pos_embeddings": 4,
            "num_conv_pos_embedding_groups": 2, "num_feat_extract_layers": 2, "feat_extract_norm": "layer",
            "do_stable_layer_norm": True, "mask_time_prob": 0.0,
        },
        "num_hidden_layers",
    ),
    "ast": (
        "ASTConfig",
        "ASTModel",
        {**_BARE, "patch_size": 4, "max_length": 16, "num_mel_bins": 8, "frequency_stride": 2, "time_stride": 2},
        "num_hidden_layers",
    ),
    "patchtst": (
        "PatchTSTConfig",
        "PatchTSTModel",
        {
            "num_input_channels": 3, "context_length": 24, "patch_length": 4, "patch_stride": 2, "d_model": WIDTH,
            "num_attention_heads": HEADS, "ffn_dim": 24, "share_embedding": True,
        },
        "num_hidden_layers",
    ),
    "gpt2": (
        "GPT2Config",
        "GPT2Model",
        {**_COMMON, **_CAUSAL, "n_embd": WIDTH, "n_head": HEADS, "n_positions": 32},
        "n_layer",
    ),
    "eurobert": ("EuroBertConfig", "EuroBertModel", {**_ROTARY, "mask_token_id": 3}, "num_hidden_layers"),
    "nomic_bert": ("NomicBertConfig", "NomicBertModel", _TEXT, "num_hidden_layers"),
    "llama": ("LlamaConfig", "LlamaModel", {**_ROTARY, "num_key_value_heads": 1}, "num_hidden_layers"),
    "qwen3": ("Qwen3Config", "Qwen3Model", {**_ROTARY, "num_key_value_heads": 1, "head_dim": 8}, "num_hidden_layers"),
    "fnet": (
        "FNetConfig",
        "FNetModel",
        {key: value for key, value in _TEXT.items() if key != "num_attention_heads"},
        "num_hidden_layers",
    ),
    "bloom": ("BloomConfig", "BloomModel", {**_COMMON, "hidden_size": WIDTH, "n_head": HEADS}, "n_layer"),
}  # fmt: skip
NAMES = tuple(_MODELS)
BIDIRECTIONAL = ("bert", "distilbert", "albert", "t5", "modernbert", "vit")
CAUSAL = ("gpt2", "llama")
_MASKLESS = ("fnet", "siglip")
# What a model reads beside, or instead of, text: name -> shape of one sample.
_SHAPES = {
    **{name: {"pixel_values": (1, 8, 8)} for name in
       ("vit", "deit", "dinov2", "beit", "clip_vision", "clip", "siglip")},
    "swin": {"pixel_values": (3, 16, 16)},
    **{name: {"input_features": (4, 24)} for name in ("whisper", "whisper_encoder")},
    "ast": {"input_values": (16, 8)},
    "patchtst": {"past_values": (24, 3)},
}  # fmt: skip
_TEXTLESS = ("vit", "deit", "dinov2", "clip_vision", "beit", "swin", "whisper_encoder", "ast", "patchtst")


def config(name: str, layers: int = 3, **options: object) -> transformers.PreTrainedConfig:
    kind, _, fixed, count = _MODELS[name]
    given = copy.deepcopy({**fixed, **options})
    for path in count.split():
        *parents, key = path.split(".")
        place = given
        for parent in parents:
            place = place[parent]
        place.setdefault(key, layers)
    return getattr(transformers, kind)(**given)


def make(
    name: str, layers: int = 3, *, seed: int = 0, head: str | None = None, **options: object
) -> tuple[PreTrainedModel, dict[str, Tensor]]:
    """(model in evaluation mode, a batch of three of unequal length). head: a class with another head."""
    torch.manual_seed(seed)
    model = getattr(transformers, head or _MODELS[name][1])(config(name, layers, **options))
    for parameter in model.parameters():  # an attention that sees everything alike would hide what it computes
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    return (model.encoder if name == "whisper_encoder" else model).eval(), feeds(name)


def feeds(name: str, lengths: tuple[int, ...] = (LENGTH, 9, 1), seed: int = 1) -> dict[str, Tensor]:
    """A batch of `len(lengths)`; lengths count tokens, and fours of audio samples for wav2vec2."""
    generator = torch.Generator().manual_seed(seed)
    found = {key: torch.rand(len(lengths), *shape, generator=generator) for key, shape in _SHAPES.get(name, {}).items()}
    if name in _TEXTLESS:
        return found
    if name == "wav2vec2":
        lengths = tuple(16 * length for length in lengths)
    shape = len(lengths), max(lengths)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    if name == "wav2vec2":
        return {"input_values": torch.randn(shape, generator=generator) * mask, "attention_mask": mask}
    ids = torch.randint(5, VOCABULARY, shape, generator=generator) * mask
    if name == "whisper":
        return {**found, "decoder_input_ids": ids, "decoder_attention_mask": mask}
    found = {"input_ids": ids, **found}
    return found if name in _MASKLESS else {**found, "attention_mask": mask}


def real(hidden: Tensor, feeds: dict[str, Tensor]) -> Tensor:
    """The rows of hidden [B, N, C] that are no padding."""
    mask = feeds.get("attention_mask")
    return hidden.flatten(0, 1) if mask is None else hidden[mask.bool()]


def tokenizer(folder: Path, side: str = "right") -> Path:
    """Writes a word-piece tokenizer of single letters to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(ord("a") + i) for i in range(26)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join([*words, *(f"w{i}" for i in range(VOCABULARY - len(words)))]) + "\n")
    made = transformers.BertTokenizerFast(vocab=str(vocabulary), padding_side=side)
    made.save_pretrained(folder)
    return folder


def text_classification_task(folder: Path, labels: int = 3, max_length: int = 16) -> TextClassificationTask:
    spec = TextClassification(kind="text-classification", labels=labels, max_length=max_length)
    return TextClassificationTask(spec, tokenizer(folder))


def text_generation_task(folder: Path, max_length: int = 16) -> TextGenerationTask:
    return TextGenerationTask(TextGeneration(kind="text-generation", max_length=max_length), tokenizer(folder))


def text_task(folder: Path, max_length: int = 16, side: str = "right") -> TextEmbeddingTask:
    spec = TextEmbedding(kind="text-embedding", max_length=max_length)
    return TextEmbeddingTask(spec, tokenizer(folder, side))


def image_task(folder: Path, labels: int = 10) -> ImageClassificationTask:
    return ImageClassificationTask(ImageClassification(kind="image-classification", labels=labels), folder)


def sentences(count: int, seed: int = 0) -> list[str]:
    """Different "sentences" of 1 to 12 single-letter words."""
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(chr(ord("a") + i) for i in rng.integers(0, 26, size=rng.integers(1, 13)))] = None
    return list(found)


def text_rows(count: int, seed: int = 0) -> Rows:
    return Rows({"text": sentences(count, seed)})


def images(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Samples of an image task: a bright row tells the label."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 8, size=count)
    pixels = rng.normal(scale=0.1, size=(count, 1, 8, 8)).astype(np.float32)
    pixels[np.arange(count), 0, label] += 1
    return {"pixel_values": pixels, "label.classes": label}
