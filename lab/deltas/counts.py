"""How many parameters each method trains and stores on a PLM, beside the published percentages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from lab.deltas.delta import Counts, Delta
from lab.deltas.method import DeltaMethod
from lab.deltas.prefix import Prefix
from lab.deltas.presets import combination_study, delta_tuning_study
from lab.deltas.selective import SelectiveModule
from lab.models import PLM


@dataclass(frozen=True)
class CountRow:
    """One line of the table.

    Attributes:
        method: what is counted.
        counts: its counts.
        published: the percentage a paper prints for it, as printed; "" where there is none.
        note: what to know when comparing the two.
    """

    method: str
    counts: Counts
    published: str = ""
    note: str = ""

    @property
    def percent_stored(self) -> float:
        """100·stored / (D + added), without what is discarded after training."""
        discarded = self.counts.trained - self.counts.stored
        return 100 * self.counts.stored / (self.counts.native + max(0, self.counts.added - discarded))


def count_table(plm: PLM, methods: Sequence[type[DeltaMethod]] = ()) -> tuple[CountRow, ...]:
    """Trained and stored parameters of the source texts' methods on a PLM; weights are not needed (`meta_plm`).

    RoBERTa-large with its language-model head gives the columns of Ding et al. 2023, Table 2; T5-v1.1-base gives Ding
    et al. 2022's percentages, of which 7.93 (prefix) counts the MLP that is discarded after training. Any other PLM
    gets the rows of the second table.

    Args:
        plm: on which they are counted.
        methods: of which to add a row with their defaults, where they apply to the PLM and are not yet in the table.
    """
    if plm.name == "roberta-large" and not plm.new_names:
        rows, shown = _combinations(plm), combination_study()
    else:
        rows, shown = _comparison(plm, published=plm.name == "t5-v1.1-base"), delta_tuning_study(plm)
    others = [method for method in methods if method not in {type(other) for other in shown.values()}]
    return (*rows, *_defaults(plm, others))


def _defaults(plm: PLM, methods: Sequence[type[DeltaMethod]]) -> list[CountRow]:
    rows = []
    for method in methods:
        try:
            counts = method().on(plm).counts
        except ValueError:  # no biases to move, no head to probe with, fewer dimensions than layers
            continue
        rows.append(CountRow(method.name, counts, note=_settings(method())))
    return rows


def _settings(method: DeltaMethod) -> str:
    """ "rank 8, alpha 16": the hyperparameters that are numbers or words."""
    values = {name: value for name, value in method.to_json().items() if name not in ("method", "head")}
    told = [
        f"{name.replace('_', ' ')} {value}" for name, value in values.items() if isinstance(value, int | float | str)
    ]
    return ", ".join(told)


_TABLE_2: Mapping[str, str] = MappingProxyType(
    {"AP": "1.75", "BF": "0.09", "BF+AP": "1.84", "PT": "0.003", "PT+AP": "1.76", "PT+BF": "0.09", "PT+BF+AP": "1.85"}
)


def _combinations(plm: PLM) -> tuple[CountRow, ...]:
    parts = {name: method.on(plm) for name, method in combination_study().items()}
    rows = []
    for name, published in _TABLE_2.items():
        first, *others = name.split("+")
        total: Delta = parts[first]
        for other in others:
            total = total + parts[other]
        rows.append(CountRow(name, total.counts, published, "Ding et al. 2023, Table 2"))
    return tuple(rows)


# embedding 64, hidden 384: one of the pairs of widths that train the published 7.93 %; the paper does not print them
_WITH_MLP = Prefix(tokens=5, mlp=384, embedding=64)
_NORMS = SelectiveModule(patterns=("*layer_norm",), head="frozen")


def _comparison(plm: PLM, *, published: bool) -> tuple[CountRow, ...]:
    study = {name: method.on(plm) for name, method in delta_tuning_study(plm).items()}
    rows = [
        CountRow("prompt", study["prompt"].counts, "0.03"),
        CountRow("prefix", study["prefix"].counts, "", "the prefix itself: what is stored"),
        CountRow(
            "prefix through its MLP", _WITH_MLP.on(plm).counts, "7.93", "published: trained, most of it not stored"
        ),
        CountRow("LoRA", study["LoRA"].counts, "", "of rank 8 on every query and value"),
    ]
    if published:
        norms = study["LoRA"] + _NORMS.on(plm)
        rows.append(
            CountRow("LoRA and all norms", norms.counts, "0.38", "published: with the layer norms trained along")
        )
    rows += [
        CountRow("adapter", study["adapter"].counts, "2.38", "published: with norms trained, inside the adapters too"),
        CountRow("fine-tuning", study["fine-tuning"].counts, "100"),
    ]
    return tuple(rows) if published else tuple(CountRow(row.method, row.counts) for row in rows)


def percentage(value: float) -> str:
    """As the papers print it: two decimals, but one significant digit below 0.01.

    Example:
        >>> [percentage(x) for x in (1.7536, 0.0029, 100.0)]
        ['1.75', '0.003', '100']
    """
    return f"{value:.1g}" if 0 < value < 0.01 else f"{value:.2f}".removesuffix(".00")
