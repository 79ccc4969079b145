"""How a student learns from its teacher."""

from edgeattn.distill.run import distill, train_classifier

__all__ = ["distill", "train_classifier"]
