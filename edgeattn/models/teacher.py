"""A teacher's files, checked and copied, and the model they hold."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from edgeattn.errors import ModelError
from edgeattn.models.checks import check_digest, check_folder
from edgeattn.models.files import CONFIG, model_files, weight_files
from edgeattn.models.fit import check_fit
from edgeattn.models.locate import locate
from edgeattn.models.positions import extend_positions as grow
from edgeattn.models.reading import empty_model, models_fault
from edgeattn.recipe.schema import PretrainedModel
from edgeattn.tasks import Task

_SPARE = 2**26  # parameters that the file need not hold: a pooler or head that the task does not use


def fetch_teacher(spec: PretrainedModel, root: Path, out: Path) -> str:
    """Copies the teacher's files to `out`, checked, and returns the digest of its weights."""
    source = locate(spec, root)
    check_folder(source)
    digest = check_digest(source, spec.digest)
    for file in model_files(source):
        shutil.copyfile(file, out / file.name)  # follows the links of a hub cache
    return digest


def load_teacher(folder: Path, task: Task, *, extend_positions: int | None = None) -> PreTrainedModel:
    """The dense model of a checked folder, in evaluation mode.

    Raises ModelError for a config that no model can be made of, and for weights that do not fit it.
    """
    _check_size(folder, empty_model(folder, task.auto_model))
    with models_fault(folder):
        model, info = task.auto_model.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # check_fit names them
            output_loading_info=True,
        )
    check_fit(model, info, task, folder)
    if extend_positions:
        grow(model, extend_positions)
    return model.eval()  # type: ignore[no-any-return]


def check_output(model: PreTrainedModel, task: Task, feeds: Mapping[str, Tensor], place: Path) -> None:
    """Raise ModelError where the teacher does not run on `feeds`, or an output is not finite. place: its folder."""
    with models_fault(place, "check that the data fits the model"), torch.no_grad():
        outputs = task.exportable(model)(**feeds)
    for name in task.outputs:
        bad = ~outputs[name].isfinite().flatten(1).all(1)
        if bool(bad.any()):
            raise ModelError(
                f"its {name} is NaN or infinite for {int(bad.sum())} of the first {len(bad)} samples",
                where=str(place),
                fix=f"check the numbers in {CONFIG}, such as a layer norm's epsilon, or take an earlier checkpoint",
            )


def _check_size(folder: Path, model: PreTrainedModel) -> None:
    """Raise ModelError for a config that asks for much more memory than the weights fill."""
    held = sum(path.stat().st_size for path in weight_files(folder))  # bytes: a parameter takes one at least
    parameters: dict[str, Any] = dict(model.named_parameters())
    asked = sum(parameter.numel() for parameter in parameters.values())
    if asked > held + _SPARE:
        name = max(parameters, key=lambda name: parameters[name].numel())
        raise ModelError(
            f"it describes {asked} parameters, among them {name} {list(parameters[name].shape)}, "
            f"but the weights are {held} bytes",
            where=str(folder / CONFIG),
            fix=f"give the {CONFIG} that was saved with these weights",
        )
