"""`DeltaMethod`: hyperparameters only. Its one verb is `on(plm, seed=…) -> Delta`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from typing import Any, ClassVar, Literal, Self

from lab.deltas.additive import Additive
from lab.deltas.delta import Delta
from lab.faces import Facts, faced
from lab.models import PLM

HeadTreatment = Literal["free", "inside", "frozen"]


# What other libraries call the same: peft's names.
_ALSO = {
    "r": "rank",
    "lora_alpha": "alpha",
    "target_modules": "targets",
    "use_rslora": "rslora",
    "num_virtual_tokens": "tokens",
}


def _facts(method: DeltaMethod) -> Facts:
    return {"family": method.family, **{one.name: getattr(method, one.name) for one in fields(method)}}


@faced(_facts, lambda method: method.title, plain=False)
@dataclass(frozen=True)
class DeltaMethod(ABC):
    """A delta method: a frozen, hashable, JSON-able set of hyperparameters.

    A classification head is new, not pre-trained, so every method says what happens to it:

    * ``"free"``: trained beside φ, every entry its own coordinate (they count in d). The default, as in peft, whose
      sequence-classification adapters train `classifier` and `score` in full (`peft.utils.SEQ_CLS_HEAD_NAMES`).
    * ``"frozen"``: kept at its random initialisation.
    * ``"inside"``: only for subspace methods (DID, SAID): the head is one more slice of θ₀ + Pφ, as in Li et al. 2018,
      where P acts on all parameters. Their default: a free head may solve the task alone.

    Attributes:
        head: see above.
    """

    head: HeadTreatment = field(default="free", kw_only=True)

    name: ClassVar[str]
    family: ClassVar[Literal["addition", "specification", "reparameterisation", "full", "combination"]]
    heads: ClassVar[tuple[HeadTreatment, ...]] = ("free", "frozen")
    shown: ClassVar[str] = ""
    sized: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __post_init__(self) -> None:
        if self.head not in self.heads:
            raise ValueError(f"{type(self).__name__}: head must be one of {self.heads}; got {self.head!r}.")

    def __new__(cls, *_values: Any, **named: Any) -> Self:
        """Refuses a hyperparameter that there is none of, and names those there are."""
        known = [one.name for one in fields(cls)]
        for wrong in (name for name in named if name not in known):
            near = get_close_matches(_ALSO.get(wrong, wrong), known, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise TypeError(f"{cls.__name__} has no hyperparameter {wrong!r}; it has {', '.join(known)}.{meant}")
        return super().__new__(cls)

    @property
    def title(self) -> str:
        """What a figure calls it: "LoRA r = 8", "BitFit", "adapter 16".

        Made from the class's `shown` (by default its name) and `sized`: fields that tell two of its kind apart, each
        with the form it is written in.
        """
        parts = [form.format(value) for name, form in self.sized if (value := getattr(self, name)) is not None]
        return " ".join([self.shown or self.name, *parts])

    @abstractmethod
    def body(self, plm: PLM, seed: int) -> Delta:
        """The delta of the pre-trained part, without any head."""

    def on(self, plm: PLM, *, seed: int = 0) -> Delta:
        """The delta of this method on a PLM.

        Args:
            plm: the frozen PLM; it is not changed.
            seed: seed of every random choice (initial factors, projections, chosen modules).

        Raises:
            TypeError: something else than a PLM.
        """
        if not isinstance(plm, PLM):
            opened = f'; write on(load_plm("{plm}"))' if isinstance(plm, str) else ""
            raise TypeError(
                f"{type(self).__name__}(…).on takes a PLM, which load_plm opens; got {type(plm).__name__}{opened}."
            )
        delta = self.body(plm, seed)
        delta = delta + Additive(plm, head_names(plm)) if self.head == "free" and plm.new_names else delta
        delta.title = self.title
        return delta

    def to_json(self) -> dict[str, Any]:
        """{"method": name, hyperparameters…}; `method_from_json` reads it back."""
        return {"method": self.name, **asdict(self)}

    @classmethod
    def from_fields(cls, values: dict[str, Any]) -> DeltaMethod:
        """This method from its JSON fields; unknown fields raise."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"{cls.__name__} has no hyperparameter {unknown}; it has {sorted(known)}.")
        arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**arguments)


def head_names(plm: PLM) -> tuple[str, ...]:
    """Names of the newly initialised head's parameters, in the PLM's order."""
    return tuple(name for name in plm.layout.names if name in plm.new_names)


def body_names(plm: PLM) -> tuple[str, ...]:
    """Names of the pre-trained parameters, in the PLM's order."""
    return tuple(name for name in plm.layout.names if name not in plm.new_names)
