"""Where a pretrained teacher lies: on the hub, in a folder, or in a folder inside an installed package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from edgeattn.errors import DeviceError, ModelError
from edgeattn.recipe import inside
from edgeattn.recipe.schema import PretrainedModel

# What a teacher's folder may hold of use; pickles and code are never among it.
FILES = (
    "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "vocab.txt", "vocab.json", "merges.txt", "spm.model", "sentencepiece.bpe.model", "preprocessor_config.json",
)  # fmt: skip


def locate(spec: PretrainedModel, root: Path) -> Path:
    """The folder of the teacher's files, downloaded first if it comes from the hub.

    Raises ModelError for a source that does not exist, DeviceError for a package that is not installed.
    """
    kind, _, name = spec.source.partition(":")
    if kind == "package":
        module, _, inner = name.partition("/")
        found = importlib.util.find_spec(module)
        if found is None or not found.submodule_search_locations:
            package = module.replace("_", "-")
            raise DeviceError(f"the package {module} is not installed", where=spec.source, fix=f"pip install {package}")
        return Path(next(iter(found.submodule_search_locations))) / inner
    if kind == "hub":
        return _download(name, spec.revision)
    return inside(root, spec.source)


def cached(spec: PretrainedModel, root: Path) -> Path | None:
    """As `locate`, but nothing is downloaded: None for a hub model whose weights are not in the hub's cache."""
    if not spec.source.startswith("hub:"):
        return locate(spec, root)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        name = spec.source.removeprefix("hub:")
        folder = Path(snapshot_download(name, revision=spec.revision, local_files_only=True))
        return folder if any(folder.glob("*.safetensors")) else None
    except LocalEntryNotFoundError:
        return None


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(FILES)))
    except LocalEntryNotFoundError as error:
        raise DeviceError(
            "the hub cannot be reached and the model is not in its cache",
            where=f"hub:{name}",
            fix="go online once, or give a local folder as model.source",
        ) from error
    except (HfHubHTTPError, HFValidationError) as error:
        raise ModelError(f"the hub refuses: {error}", where=f"hub:{name}", fix="check the name and revision") from error
