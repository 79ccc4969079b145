"""No mixing at all: the control that shows whether a layer needs attention."""

from __future__ import annotations

from torch import Tensor

from edgeattn.attention.variant import Cost, Shape, State, Variant, VariantOptions


class Identity(Variant):
    """Each token gets its own value. The accuracy that remains comes from the rest of the model."""

    name = "identity"
    Options = VariantOptions
    source = "a control: the limit of a window of one token"
    causal = True
    rotation_invariant = True

    def reference(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
        return v.float()

    def forward(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
        return v.clone()  # an exported graph may not hand an input out as its output

    def initial_state(self, batch: int, value_dim: int) -> State:
        return ()

    def step(self, q: Tensor, k: Tensor, v: Tensor, state: State) -> tuple[Tensor, State]:
        return v, state

    @classmethod
    def cost(cls, options: VariantOptions, length: int, shape: Shape) -> Cost:
        return Cost(flops=0, bytes=4 * 2 * shape.heads * length * shape.head_dim)
