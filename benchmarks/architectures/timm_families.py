"""timm's vision transformers, a small model of each family, through transformers' wrapper of timm."""

from __future__ import annotations

from transformers import TimmWrapperConfig

from edgeattn.versions import installed_version

PREFIX = "timm/"
IMAGE_SIZE = 64  # pixels, height and width
# One of each module of timm that has attention; "depth" is not an option of those with stages.
_FAMILIES = (
    "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "deit3_small_patch16_224",
    "vit_small_patch14_reg4_dinov2", "vit_base_patch16_siglip_224", "vit_base_patch16_clip_224", "flexivit_small",
    "vit_wee_patch16_reg1_gap_256", "vit_small_r26_s32_224", "vit_relpos_small_patch16_224", "samvit_base_patch16",
    "beit_base_patch16_224", "eva02_tiny_patch14_224", "vit_small_patch16_dinov3", "aimv2_large_patch14_224",
    "vitamin_small_224", "naflexvit_base_patch16_gap", "cait_xxs24_224", "xcit_nano_12_p16_224", "tnt_s_patch16_224",
    "visformer_tiny",
)  # fmt: skip
_STAGED = ("swin_tiny_patch4_window7_224", "levit_128s", "volo_d1_224", "crossvit_tiny_240", "pit_ti_224",
           "twins_pcpvt_small", "hiera_tiny_224", "mvitv2_tiny", "maxvit_tiny_rw_224", "coatnet_0_rw_224")  # fmt: skip


def timm_types() -> list[str]:
    """The types of this file, none where timm is not installed."""
    installed = installed_version("timm") is not None
    return [f"{PREFIX}{name}" for name in (*_FAMILIES, *_STAGED)] if installed else []


def timm_config(model_type: str) -> TimmWrapperConfig:
    """The config of a type of this file: two layers where it has no stages, on small images."""
    name = model_type.removeprefix(PREFIX)
    options = {"img_size": IMAGE_SIZE} if name in _STAGED else {"img_size": IMAGE_SIZE, "depth": 2}
    return TimmWrapperConfig(architecture=name, model_args=options, image_size=IMAGE_SIZE)
