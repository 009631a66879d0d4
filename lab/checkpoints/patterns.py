"""Regular expressions from files, matched without backtracking: time is states × characters, whatever the pattern.

A backtracking matcher such as Python's `re` takes exponential time on (a+)+ and polynomial time of high degree on
.*.*.*.*; anybody may have written the pattern. Here it becomes a nondeterministic automaton (Thompson 1968) whose set
of states moves along the text once. The language is that of `re`, less what no automaton has (references to groups,
lookbehind) and what module paths have no use for (flags); repetitions inside repetitions and long patterns are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

LONGEST = 2000  # characters of a pattern
REPETITIONS, CHOICES = 6, 24  # one after the other
COUNT = 64  # the largest n of {n}
_LIGHT = (2, 8)  # repetitions and choices that a backtracking matcher may be given, with a path of 200 characters


class PatternError(ValueError):
    """A pattern outside of the language; the message completes "expected …"."""


@dataclass(frozen=True)
class Pattern:
    """A regular expression for module paths.

    Attributes:
        text: as written.

    Raises:
        PatternError: it is none, or could take for ever in a backtracking matcher.
    """

    text: str
    _start: _State = field(init=False, repr=False, compare=False)
    _weight: tuple[int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.text) > LONGEST:
            raise PatternError(f"a pattern of at most {LONGEST} characters")
        try:
            re.compile(self.text)
        except (re.error, OverflowError, RecursionError) as error:
            raise PatternError(f"a regular expression ({error})") from error
        tree = _Parser(self.text).whole()
        weight = tree.weight
        if weight[0] > REPETITIONS or weight[1] > CHOICES:
            raise PatternError(f"at most {REPETITIONS} repetitions and {CHOICES} choices one after the other")
        object.__setattr__(self, "_weight", weight)
        object.__setattr__(self, "_start", tree.before(_State()))

    @property
    def light(self) -> bool:
        """Whether a backtracking matcher is quick with it, too."""
        return self._weight[0] <= _LIGHT[0] and self._weight[1] <= _LIGHT[1]

    def fullmatch(self, text: str) -> bool:
        """Whether the whole text matches, as `re.fullmatch`."""
        return len(text) in _Reading(text).ends(self._start, 0)

    def ends(self, path: str) -> bool:
        """Whether a path, or what follows one of its dots, matches: peft's rule for `rank_pattern`."""
        reading = _Reading(path)
        starts = [0, *(at + 1 for at, character in enumerate(path) if character == ".")]
        return any(len(path) in reading.ends(self._start, start) for start in starts)


@dataclass(eq=False)
class _State:
    """A place in the pattern: what it reads, or what it asks of the position, and where it leads."""

    reads: re.Pattern[str] | None = None
    asks: str = ""  # "^", "$", "b", or "=" and "!" with `inner`
    inner: _State | None = None
    after: list[_State] = field(default_factory=list)


class _Reading:
    """One text, and what lookaheads found at its positions."""

    def __init__(self, text: str):
        self.text = text
        self.looked: dict[tuple[int, int], bool] = {}

    def ends(self, start: _State, at: int) -> set[int]:
        """Positions at which a match that begins at `at` can end; a state with nothing after it is the end."""
        ends, states = set(), self.closed([start], at)
        while states:
            if any(not state.after for state in states):
                ends.add(at)
            if at == len(self.text):
                break
            reading = [s for s in states if s.reads is not None and s.reads.match(self.text[at])]
            at += 1
            states = self.closed([following for state in reading for following in state.after], at)
        return ends

    def closed(self, states: list[_State], at: int) -> list[_State]:
        """The states that are reached without reading."""
        seen: dict[int, _State] = {}
        waiting = list(states)
        while waiting:
            state = waiting.pop()
            if id(state) in seen or not self.holds(state, at):
                continue
            seen[id(state)] = state
            if state.reads is None:
                waiting += state.after
        return list(seen.values())

    def holds(self, state: _State, at: int) -> bool:
        if state.inner is not None:
            asked = id(state), at
            if asked not in self.looked:
                self.looked[asked] = bool(self.ends(state.inner, at)) == (state.asks == "=")
            return self.looked[asked]
        if state.asks == "^":
            return at == 0
        if state.asks == "$":
            return self.text[at:] in ("", "\n")
        if state.asks == "b":
            before, after = (
                bool(re.match(r"\w", part)) for part in (self.text[max(at - 1, 0) : at], self.text[at : at + 1])
            )
            return before != after
        return True


@dataclass(frozen=True)
class _Node:
    """A part of a pattern: how to build its states before a given one, and what it costs a backtracking matcher."""

    kind: str  # "atom", "asks", "look", "sequence", "choice", "repeat"
    text: str = ""
    parts: tuple[_Node, ...] = ()
    least: int = 1
    most: int | None = 1

    @property
    def weight(self) -> tuple[int, int]:
        """(repetitions, choices) one after the other; of alternatives the heaviest counts."""
        inner = [part.weight for part in self.parts]
        if self.kind == "sequence":
            return sum(r for r, _ in inner), sum(c for _, c in inner)
        r, c = max((r for r, _ in inner), default=0), max((c for _, c in inner), default=0)
        if self.kind in ("choice", "look"):
            return r, c + 1
        if self.kind != "repeat":
            return r, c
        many = self.most is None or self.most > 1
        if many and (r or c):
            raise PatternError("a pattern without repetitions or choices inside a repetition")
        return (r + 1, c) if many else (r, c + (self.least == 0))

    def before(self, end: _State) -> _State:
        """The first of new states that lead to `end`."""
        if self.kind == "atom":
            return _State(reads=re.compile(self.text), after=[end])
        if self.kind == "asks":
            return _State(asks=self.text, after=[end])
        if self.kind == "look":
            return _State(asks=self.text, inner=self.parts[0].before(_State()), after=[end])
        if self.kind == "choice":
            return _State(after=[part.before(end) for part in self.parts])
        if self.kind == "sequence":
            for part in reversed(self.parts):
                end = part.before(end)
            return end
        part = self.parts[0]
        if self.most is None:
            loop = _State(after=[end])
            loop.after.append(part.before(loop))
            end = loop
        else:
            for _ in range(self.most - self.least):
                end = _State(after=[part.before(end), end])
        for _ in range(self.least):
            end = part.before(end)
        return end


class _Parser:
    """Recursive descent over the text; `re` has found it well-formed before."""

    def __init__(self, text: str):
        self.text, self.at = text, 0

    def whole(self) -> _Node:
        tree = self.choice()
        if self.at < len(self.text):
            raise PatternError(f"a regular expression of module paths (unexpected {self.text[self.at :][:10]!r})")
        return tree

    def take(self, pattern: str) -> re.Match[str] | None:
        found = re.compile(pattern).match(self.text, self.at)
        self.at = found.end() if found else self.at
        return found

    def choice(self, depth: int = 0) -> _Node:
        if depth > 20:
            raise PatternError("groups nested at most 20 deep")
        parts = [self.sequence(depth)]
        while self.take(r"\|"):
            parts.append(self.sequence(depth))
        return parts[0] if len(parts) == 1 else _Node("choice", parts=tuple(parts))

    def sequence(self, depth: int) -> _Node:
        parts = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            parts.append(self.repeated(self.item(depth)))
        return _Node("sequence", parts=tuple(parts))

    def item(self, depth: int) -> _Node:
        if group := self.take(r"\((?:\?([:=!]|P<\w+>))?(?!\?)"):
            inner = self.choice(depth + 1)
            if not self.take(r"\)"):
                raise PatternError("closed groups")
            return _Node("look", group[1], (inner,)) if group[1] in ("=", "!") else inner
        if self.text.startswith("(?", self.at):
            raise PatternError(f"a pattern without {self.text[self.at : self.at + 4]!r}; it is not needed for paths")
        if found := self.take(r"\^|\$|\\b"):
            return _Node("asks", found[0][-1])
        if found := self.take(r"\[\^?\]?(?:\\.|[^\]\\])*\]|\\[dDwWsS]|\\[^0-9a-zA-Z]|\\[ntrfv]|[^\\\[]"):
            literal = len(found[0]) == 1 and found[0] != "."
            return _Node("atom", re.escape(found[0]) if literal else found[0])
        raise PatternError(f"a pattern without {self.text[self.at : self.at + 4]!r}; it is not needed for paths")

    def repeated(self, node: _Node) -> _Node:
        found = self.take(r"(\*|\+|\?|\{\d+\}|\{\d*,\d*\})([?+])?")
        if not found:
            return node
        if found[2] == "+":
            raise PatternError("a pattern without possessive repetitions")
        bounds = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        least, most = bounds[found[1]] if found[1] in bounds else _counts(found[1])
        if max(least, most or 0) > COUNT:
            raise PatternError(f"counts of at most {COUNT}")
        return _Node("repeat", parts=(node,), least=least, most=most)


def _counts(text: str) -> tuple[int, int | None]:
    low, comma, high = text[1:-1].partition(",")
    least = int(low or 0)
    return least, (int(high) if high else None) if comma else least


@lru_cache(maxsize=256)
def pattern(text: str) -> Pattern:
    """`Pattern(text)`, built once."""
    return Pattern(text)
