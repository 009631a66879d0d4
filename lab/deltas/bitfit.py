"""BitFit (Ben Zaken et al. 2022): only the biases move."""

from __future__ import annotations

from dataclasses import dataclass

from lab.deltas.additive import Additive
from lab.deltas.delta import Delta
from lab.deltas.method import DeltaMethod, body_names
from lab.models import PLM


@dataclass(frozen=True)
class BitFit(DeltaMethod):
    """b ↦ b + φ_b for every pre-trained bias, LayerNorm's included (Ben Zaken et al. 2022, section 3).

    Families without biases (T5, Llama, Gemma) have nothing to train; adding random biases would change the PLM at φ₀,
    so that is refused.
    """

    name = "bitfit"
    shown = "BitFit"
    family = "specification"

    def body(self, plm: PLM, seed: int) -> Delta:
        names = [name for name in body_names(plm) if name.rsplit(".", 1)[-1] == "bias"]
        if not names:
            raise ValueError(
                f"BitFit needs biases, and {plm.name!r} ({plm.architecture.family}) has none. "
                "Use a family with biases (BERT, RoBERTa, GPT-2) or another method, e.g. LoRA."
            )
        return Additive(plm, names)
