"""Verdicts on claims of the literature: holds here, does not hold here, or cannot tell, and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite, sqrt
from typing import Any, Literal

from lab.faces import Facts, faced, written
from lab.statistics.interval import LEVEL, Interval
from lab.statistics.multiplicity import holm
from lab.statistics.quantiles import student_t

Judgement = Literal["holds here", "does not hold here", "cannot tell"]

FEWEST = 5
"""Independent units below which nothing is decided: the t interval of four is still wide for reasons of chance, and the
smallest two-sided p of an exact test with four signs is 1/8."""

MOST_UNITS = 1000
"""More units than this are not named as what would decide a claim: the effect, if any, is too small for it."""


def _facts(verdict: Verdict) -> Facts:
    low, found, high = (
        written(value) for value in (verdict.measured.low, verdict.measured.estimate, verdict.measured.high)
    )
    return {
        "claim": verdict.claim, verdict.quantity: f"{found} [{low}, {high}]",
        "claimed": f"{verdict.side} {verdict.threshold:.4g}", "n": f"{verdict.measured.n} {verdict.unit}",
        "why not": verdict.reason or None, "source": verdict.source, "setting": verdict.setting,
    }  # fmt: skip


@faced(_facts, lambda verdict: verdict.answer)
@dataclass(frozen=True)
class Verdict:
    """What measurements say of one claim.

    The claim is that a quantity lies above (or below) a threshold. It holds here when its whole interval does, does
    not when the whole interval lies on the other side, and otherwise the measurements cannot tell. They cannot tell
    either where fewer than `FEWEST` units were drawn at random, nor where the verdict does not survive the correction
    for the statements it is judged together with (`judged`).

    Args:
        claim: the statement, in one sentence.
        source: who says so.
        quantity: what was measured, with its unit.
        measured: estimate and interval.
        threshold: what separates true from false.
        side: on which side of the threshold the claim puts the quantity.
        setting: models, tasks, methods and seeds the measurement covers.
        figure: name of the figure that shows it.
        unit: what was drawn at random, in the plural: "seeds", "tasks", "methods". n of the interval counts these.
        number: of the claim of the source text it belongs to (`lab.source_claims`); None: it belongs to none.
        exact: nothing was drawn at random: an identity, the worst case of a bound, a count. There is no smallest
            number of units then, and no chance to correct for.
        commands: what made the records; `lab.study.verdicts_of` fills it in.
        adjusted: p of the threshold, adjusted for its family by Holm's rule; None: it stands alone.
        together: statements in that family; 1 of one on too few units, which is no member.
        models: the PLMs that were measured; `lab.study.verdicts_of` fills them in.
        weaker: settings of the same statement left out in its favour (`strongest`).
    """

    claim: str
    source: str
    quantity: str
    measured: Interval
    threshold: float
    side: Literal["above", "below"]
    setting: str
    figure: str
    unit: str
    number: int | None = None
    exact: bool = False
    commands: tuple[str, ...] = ()
    adjusted: float | None = None
    together: int = 1
    models: tuple[str, ...] = ()
    weaker: int = 0

    @property
    def answer(self) -> Judgement:
        """The verdict in words."""
        undecided = self.too_few or (self.adjusted is not None and self.adjusted > 1 - LEVEL)
        return "cannot tell" if undecided else self.alone

    @property
    def family(self) -> str:
        """What it is judged together with: its claim of the source text, or else the paper."""
        return self.paper if self.number is None else str(self.number)

    @property
    def paper(self) -> str:
        """The source without section, figure or remark."""
        return re.split(r"[,;(]", self.source)[0].strip()

    @property
    def alone(self) -> Judgement:
        """What the interval says by itself, whatever the number of units and of statements."""
        low, high = self.measured.low - self.threshold, self.measured.high - self.threshold
        if self.side == "below":
            low, high = -high, -low
        if low > 0:
            return "holds here"
        return "does not hold here" if high < 0 else "cannot tell"

    @property
    def too_few(self) -> bool:
        """Whether fewer units than `FEWEST` were drawn at random."""
        return not self.exact and self.measured.n < FEWEST

    @property
    def reason(self) -> str:
        """Why it cannot be told; "" where it can."""
        if self.answer != "cannot tell":
            return ""
        if self.too_few:
            return f"n = {self.measured.n} {self.unit}; needs at least {FEWEST}"
        if self.alone == "cannot tell":
            return "the interval holds the threshold"
        told = self.alone.replace("holds", "would hold").replace("does not hold", "would not hold")
        return f"alone it {told.removesuffix(' here')}, among {self.together} statements p = {self.adjusted:.2g}"

    @property
    def units_needed(self) -> int | None:
        """Units at which it would be decided among `together` statements if estimate and spread stayed as they are.

        half(n') = half(n)·√(n/n')·t'_{n'−1}/t_{n−1} < |estimate − threshold|, with t' at the strictest level that
        Holm's rule can ask for, 1 − (1 − level)/together, and no fewer than `FEWEST`. None where the interval bounds
        nothing, where more than `MOST_UNITS` would be needed, and where nothing is random.
        """
        m, t = self.measured, (1 + LEVEL) / 2
        strictest = 1 - (1 - t) / self.together
        distance = abs(m.estimate - self.threshold)
        half = m.high - m.estimate if m.estimate < self.threshold else m.estimate - m.low
        if self.exact or m.n < 2 or not isfinite(half) or not distance > 0:
            return None
        spread = half * sqrt(m.n) / student_t(t, m.n - 1)
        for n in range(max(FEWEST, m.n), MOST_UNITS + 1):
            if spread * student_t(strictest, n - 1) / sqrt(n) < distance:
                return n
        return None


@dataclass(frozen=True)
class Evidence:
    """What several verdicts have alike; each adds its claim and the quantity that decides it.

    Args:
        source, setting, figure, unit, number, exact: as in `Verdict`; a verdict can have its own instead.

    Example:
        >>> evidence = Evidence("a source", "a setting", "performance", "seeds")
        >>> evidence.above(0.0, Interval(0.5, 0.4, 0.6, 5), "It helps.", "gain [1]").answer
        'holds here'
    """

    source: str
    setting: str
    figure: str
    unit: str
    number: int | None = None
    exact: bool = False

    def above(self, threshold: float, measured: Interval, claim: str, quantity: str, **own: Any) -> Verdict:
        """The verdict on a claim that the quantity lies above a threshold."""
        given = vars(self) | own
        return Verdict(claim, quantity=quantity, measured=measured, threshold=threshold, side="above", **given)

    def below(self, threshold: float, measured: Interval, claim: str, quantity: str, **own: Any) -> Verdict:
        """The verdict on a claim that the quantity lies below a threshold."""
        given = vars(self) | own
        return Verdict(claim, quantity=quantity, measured=measured, threshold=threshold, side="below", **given)


def strongest(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Without those on too few units where the same statement about the same PLMs stands on enough, in their order.

    Three seeds decide nothing whatever they show, so beside eight of the same claim, PLMs and kind of unit they are
    no open question. They stay in the store and in the figures; `Verdict.weaker` counts them. Settings on enough units
    are all kept, whatever they say.
    """
    enough = {_statement(v) for v in verdicts if not v.too_few}
    left_out = Counter(_statement(v) for v in verdicts if v.too_few)
    kept, told = [], set()
    for v in verdicts:
        of = _statement(v)
        if v.too_few and of in enough:
            continue
        first = of in enough and of not in told
        told.add(of)
        kept.append(replace(v, weaker=left_out[of]) if first and left_out[of] else v)
    return kept


def _statement(v: Verdict) -> tuple[str, str, tuple[str, ...], str]:
    return v.family, v.claim, v.models, v.unit


def judged(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Verdicts corrected for those of the same family, in their order.

    A family is all that is said of one claim of the source text, or by one other source: of twenty statements on their
    thresholds one comes out at 95 %, on average. Holm's rule keeps the chance of any false one in a family at 5 % (Holm
    1979; of verdicts for the wrong side, Shaffer 1980, for independent statements). What has fewer units than `FEWEST`
    is no test, since its answer does not depend on what was measured; what is exact has no chance.

    Raises:
        ValueError: a measured interval that is known at one confidence only, and is not exact.
    """
    found = list(verdicts)
    for family in dict.fromkeys(v.family for v in verdicts):
        own = [i for i, v in enumerate(verdicts) if v.family == family and not v.exact and not v.too_few]
        p_values = holm([verdicts[i].measured.p_value(verdicts[i].threshold) for i in own])
        for i, p in zip(own, p_values, strict=True):
            found[i] = replace(verdicts[i], adjusted=p, together=len(own))
    return found
