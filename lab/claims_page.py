"""What the records say of each claim, as a page that a person can read: a paragraph, a forest plot, details folded."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import get_args

from lab.reports import number
from lab.source_claims import OTHER_SOURCES, SOURCE_CLAIMS, SourceClaim
from lab.statistics import FEWEST, LEVEL, Judgement, Verdict, error_of_looks, expected_false

ANSWERS: tuple[Judgement, ...] = get_args(Judgement)
IMAGES = "img/claims"
"""Folder of the forest plots, beside the page."""

HEAD = """# What holds here

Made by `deltalab claims --store gallery --out docs/claims.md` from the records in `gallery/`; do not edit.

The source text and the papers behind it make claims; some questions are this laboratory's own, and say so. Each is
turned into statements about one quantity that should lie above or below a threshold, and the records answer: it **holds
here** when the quantity's whole 95 % interval lies on the claimed side, it **does not hold here** when the whole
interval lies on the other, both only with enough units and after the correction for many statements (below), and
otherwise they **cannot tell**. "Here" is small: small models, few steps, few seeds. It is no verdict on the setting of
a paper.

* **Units.** n counts what is taken as drawn at random, and the plots name it: tasks, seeds, methods. Seeds were drawn;
  tasks and methods were chosen, and an interval over them speaks of others as far as those are alike. With fewer than
  {fewest} units nothing is decided, whatever the interval looks like.
* **Many statements.** All that is said of one claim is one family, corrected by Holm's rule: with n settled beforehand,
  the chance that it holds any false verdict is at most 5 %. If every quantity lay on its threshold, of the {tested}
  statements that chance could decide at most {expected:.1f} would come out for their claim without that rule, on
  average, and at most as many against.
* **Looked at twice.** An interval supposes that n was settled beforehand. Where seeds, tasks or steps are added because
  the first ones left a question open (in the gallery: those of `combination`, `performance`, `convergence`,
  `robustness`, `intrinsic_dimension`, `predicted_dimension`, `transfer`, `subspace_similarity`, `shared_subspace`,
  `merging`, `scale` and `template`, three times those of `combination` and `shared_subspace`), it errs more often than
  its 5 %: at most {two:.1%} for two looks and {three:.1%} for three (Šidák
  1967), and a family more often than its own. No p on this page corrects for it.
* **No chance.** Identities, proven bounds and counts have no sampling error: the worst of the cases tried decides, and
  says nothing of cases that were not.
* Records of another model, budget or scale are a setting and a statement of their own. Settings on fewer than {fewest}
  units ({weaker} here) are left out where the same statement about the same PLM stands on more; they decide nothing
  either way, and stay in the gallery and its figures. Of two records that differ in their seeds alone, the one whose
  seeds the other holds too is the same runs again, and counts once. `FOLDER` in a command is the
  folder above that of a task which is no package (docs/tasks.md).

In the plots a vertical line is the threshold, a filled circle holds, a square does not, an open diamond cannot tell; an
arrow is an end that nothing bounds.

**{n} statements: {tally}.**
"""


@dataclass(frozen=True)
class Section:
    """All statements of one family.

    Attributes:
        name: of its anchor and its image.
        said: what is claimed, in plain words.
        verdicts: what was measured.
    """

    name: str
    said: SourceClaim
    verdicts: tuple[Verdict, ...]

    @property
    def heading(self) -> str:
        return f"{self.name}. {self.said.title}" if self.name.isdigit() else self.said.title

    @property
    def digest(self) -> str:
        """Of what its plot shows, to six digits: a plot that bears it needs no drawing."""
        shown = [
            [v.claim, v.setting, v.quantity, v.answer, v.unit, v.measured.n]
            + [f"{x:.6g}" for x in (v.measured.estimate, v.measured.low, v.measured.high, v.threshold)]
            for v in self.verdicts
        ]
        return sha256(json.dumps(shown).encode()).hexdigest()


def sections(verdicts: Sequence[Verdict]) -> list[Section]:
    """The claims of the source text in its order, those without a record too; then other sources as they come."""
    of: dict[str, list[Verdict]] = {str(n): [] for n in SOURCE_CLAIMS}
    for verdict in verdicts:
        of.setdefault(verdict.family, []).append(verdict)
    return [Section(_slug(family), _said(family), tuple(own)) for family, own in of.items()]


def claims_page(verdicts: Sequence[Verdict]) -> str:
    """Claims and what was measured, as a page of Markdown.

    Args:
        verdicts: corrected for each other (`lab.statistics.judged`).
    """
    found = sections(verdicts)
    tested = sum(not v.exact and not v.too_few for v in verdicts)
    counts: dict[str, object] = {"n": len(verdicts), "tally": tally(verdicts), "tested": tested, "fewest": FEWEST}
    counts |= {"two": error_of_looks(2, LEVEL), "three": error_of_looks(3, LEVEL)}
    counts["weaker"] = sum(v.weaker for v in verdicts)
    parts = [HEAD.format(expected=expected_false(tested, LEVEL), **counts)]
    parts += ["\n## At a glance\n\n| claim | statements | here |\n|---|---|---|\n"]
    for s in found:
        link = f"[{s.heading}](#{_anchor(s.heading)})"
        parts.append(_cells(link, str(len(s.verdicts) or "–"), tally(s.verdicts, every=False) or "no record"))
    parts.append("\n## The source text\n\nIn the order of Ding et al. 2022.\n")
    others = False
    for s in found:
        if not s.name.isdigit() and not others:
            others = True
            parts.append("\n## Other sources\n")
        parts.append(_section(s))
    return "".join(parts)


def tally(verdicts: Sequence[Verdict], *, every: bool = True) -> str:
    """How many hold, do not hold and cannot tell; the answers that none has only if `every`."""
    counted = Counter(verdict.answer for verdict in verdicts)
    plural = {"holds here": "hold here", "does not hold here": "do not hold here"}
    return ", ".join(
        f"{counted[answer]} {answer if counted[answer] == 1 else plural.get(answer, answer)}"
        for answer in ANSWERS
        if every or counted[answer]
    )


def _section(s: Section) -> str:
    claimed = f"**Claimed.** {s.said.says} **Measured here.** {s.said.here}"
    answer = []
    if s.verdicts:
        answer.append(f"**Answer.** {' '.join(_answers(s.verdicts))}")
        if undecided := " ".join(_remedies(s.verdicts)):
            answer.append(f"**What would decide it.** {undecided}")
    if s.said.missing:
        answer.append(f"**Not tested here.** {s.said.missing}")
    parts = [f"\n### {s.heading}\n\n{claimed}\n", f"\n{' '.join(answer)}\n" if answer else ""]
    if s.verdicts:
        parts.append(f"\n![{s.said.title}: {tally(s.verdicts)}]({IMAGES}/{s.name}.svg)\n")
        parts.append(_details(s.verdicts))
    return "".join(parts)


def _answers(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Which statements hold and which do not, each once, in how many of its settings; how many are open."""
    settings = Counter(_clause(v.claim) for v in verdicts)
    for answer, told in (("holds here", "It holds that"), ("does not hold here", "It does not hold that")):
        own = Counter(_clause(v.claim) for v in verdicts if v.answer == answer)
        where = {c: f" (in {n} of {settings[c]} settings)" if settings[c] > 1 else "" for c, n in own.items()}
        if own:
            yield f"{told} {'; that '.join(f'{c}{place}' for c, place in where.items())}."
    if n := sum(v.answer == "cannot tell" for v in verdicts):
        which = f"{n} of {len(verdicts)} statements" if len(verdicts) > 1 else "the one statement"
        yield f"The records leave {which} open."


def _remedies(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Why statements are open, by reason, and how many units would close them, among all statements of their claim, if
    estimates and spreads stayed."""
    open_ones = [v for v in verdicts if v.answer == "cannot tell"]
    members = sum(not v.exact and not v.too_few for v in verdicts)
    few: dict[tuple[int, str], list[Verdict]] = {}
    for v in open_ones:
        if v.too_few:
            few.setdefault((v.measured.n, v.unit), []).append(v)
    for (n, unit), own in few.items():
        joining = [replace(v, together=members + 1) for v in own]
        yield f"{_counted(len(own), 'statement')} with n = {n} {unit}: at least {FEWEST} are needed{_enough(joining)}."
    held = [v for v in open_ones if not v.too_few and v.alone == "cannot tell"]
    if held:
        units = ", ".join(dict.fromkeys(f"n = {v.measured.n} {v.unit}" for v in held))
        yield f"{_counted(len(held), 'interval')} ({units}) with the threshold inside: narrower ones{_enough(held)}."
    lost = [v for v in open_ones if not v.too_few and v.alone != "cannot tell"]
    if lost:
        told = f"{_counted(len(lost), 'statement')} decided alone and not among all of this claim: more units"
        yield f"{told}{_enough(lost)}."


def _enough(verdicts: Sequence[Verdict]) -> str:
    """How many units the estimates and spreads seen would need."""
    needed = sorted(n for v in verdicts if (n := v.units_needed) is not None)
    if not needed:
        return ""
    ends = f"{needed[0]}" if needed[0] == needed[-1] else f"{needed[0]} to {needed[-1]}"
    beyond = len(verdicts) - len(needed)
    more = f" ({_counted(beyond, 'statement')} would need far more, or nothing bounds them yet)" if beyond else ""
    return f"; with estimate and spread as seen, n = {ends} would do{more}"


def _details(verdicts: Sequence[Verdict]) -> str:
    columns = ("statement", "measured", "95 % interval", "n", "claimed", "p (Holm)", "here", "figure", "made by")
    commands = list(dict.fromkeys(command for v in verdicts for command in v.commands))
    parts = [f"\n<details><summary>{_counted(len(verdicts), 'statement')} with numbers and commands</summary>\n\n"]
    parts += [_cells(*columns), "|---" * len(columns) + "|\n"]
    for v in verdicts:
        m = v.measured
        p = "–" if v.adjusted is None else f"{number(v.adjusted)} of {v.together}"
        here = f"**{v.answer}**" + (f": {v.reason}" if v.reason else "")
        made = ", ".join(str(commands.index(command) + 1) for command in v.commands) or "–"
        interval = "no sampling error" if v.exact else f"{number(m.low)} to {number(m.high)}"
        claimed, drawn = f"{v.side} {number(v.threshold)}", f"`{v.figure}`"
        beside = (
            f"; beside it {_counted(v.weaker, 'setting')} on fewer than {FEWEST} units, left out" if v.weaker else ""
        )
        measured = f"{v.quantity}: {number(m.estimate)}; {v.setting}{beside}"
        parts.append(_cells(v.claim, measured, interval, f"{m.n} {v.unit}", claimed, p, here, drawn, made))
    if commands:
        parts.append("\n```bash\n")
        parts += [f"{command}  # {i}\n" for i, command in enumerate(commands, 1)]
        parts.append("```\n")
    return "".join([*parts, "\n</details>\n"])


def _said(family: str) -> SourceClaim:
    if family.isdigit():
        return SOURCE_CLAIMS[int(family)]
    return OTHER_SOURCES.get(family, SourceClaim(family, "See the statements.", "See the statements."))


def _clause(claim: str) -> str:
    """A sentence as part of another: small first letter where the first word is an ordinary one."""
    first = claim.split(" ")[0]
    plain = first[1:].islower() or len(first) == 1
    return (claim[0].lower() + claim[1:] if plain else claim).rstrip(".")


def _slug(family: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", family.lower()).strip("-")


def _anchor(heading: str) -> str:
    """As GitHub makes it: small letters, no punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |\n"
