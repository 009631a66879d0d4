"""Verdicts on claims of the literature: holds here, does not hold here, or cannot tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lab.faces import Facts, faced
from lab.statistics.interval import Interval

Judgement = Literal["holds here", "does not hold here", "cannot tell"]


def _facts(verdict: Verdict) -> Facts:
    low, found, high = (
        f"{value:.4g}" for value in (verdict.measured.low, verdict.measured.estimate, verdict.measured.high)
    )
    return {
        "claim": verdict.claim, verdict.quantity: f"{found} [{low}, {high}]",
        "claimed": f"{verdict.side} {verdict.threshold:.4g}", "source": verdict.source, "setting": verdict.setting,
    }  # fmt: skip


@faced(_facts, lambda verdict: verdict.answer)
@dataclass(frozen=True)
class Verdict:
    """What measurements say of one claim.

    The claim is that a quantity lies above (or below) a threshold. It holds here when its whole interval does, does
    not when the whole interval lies on the other side, and otherwise the measurements cannot tell.

    Args:
        claim: the statement, in one sentence.
        source: who says so.
        quantity: what was measured, with its unit.
        measured: estimate and interval.
        threshold: what separates true from false.
        side: on which side of the threshold the claim puts the quantity.
        setting: models, tasks, methods and seeds the measurement covers.
        figure: name of the figure that shows it.
        number: of the claim of the source text it belongs to (`lab.source_claims`); None: it belongs to none.
        commands: what made the records; `lab.study.verdicts_of` fills it in.
    """

    claim: str
    source: str
    quantity: str
    measured: Interval
    threshold: float
    side: Literal["above", "below"]
    setting: str
    figure: str
    number: int | None = None
    commands: tuple[str, ...] = ()

    @property
    def answer(self) -> Judgement:
        """The verdict in words."""
        low, high = self.measured.low - self.threshold, self.measured.high - self.threshold
        if self.side == "below":
            low, high = -high, -low
        if low > 0:
            return "holds here"
        return "does not hold here" if high < 0 else "cannot tell"


@dataclass(frozen=True)
class Evidence:
    """What several verdicts have alike; each adds its claim and the quantity that decides it.

    Args:
        source, setting, figure, number: as in `Verdict`; a verdict can have its own instead.

    Example:
        >>> measured = Interval(0.5, 0.4, 0.6, 3)
        >>> Evidence("a source", "a setting", "performance").above(0.0, measured, "It helps.", "gain [1]").answer
        'holds here'
    """

    source: str
    setting: str
    figure: str
    number: int | None = None

    def above(self, threshold: float, measured: Interval, claim: str, quantity: str, **own: Any) -> Verdict:
        """The verdict on a claim that the quantity lies above a threshold."""
        given = vars(self) | own
        return Verdict(claim, quantity=quantity, measured=measured, threshold=threshold, side="above", **given)

    def below(self, threshold: float, measured: Interval, claim: str, quantity: str, **own: Any) -> Verdict:
        """The verdict on a claim that the quantity lies below a threshold."""
        given = vars(self) | own
        return Verdict(claim, quantity=quantity, measured=measured, threshold=threshold, side="below", **given)
