"""What a paper's numbers are from: records, commands, versions, machines, as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lab.paper.piece import Origin, Piece
from lab.paper.venues import Venue
from lab.runs import SHOWN_KEY


def provenance(pieces: Sequence[Piece], venue: Venue, command: str) -> str:
    """The text of PROVENANCE.md. Whatever comes from files stands in it as code, which no reader runs."""
    parts = ["# Where the numbers are from\n", f"This folder, in the style of {venue.name}:\n", _code([command])]
    for piece in pieces:
        parts += [f"## {piece.figure.title} (`{piece.name}`)\n"]
        keyed = [origin for origin in piece.origins if origin.key]
        if keyed:
            parts += [f"{len(keyed)} records; `deltalab show KEY` prints one whole.\n"]
            parts += [_code([f"{origin.key[:SHOWN_KEY]}  {_about(origin.provenance)}" for origin in keyed])]
        read = {
            label: digest for origin in piece.origins for label, digest in origin.provenance.get("files", {}).items()
        }
        if read:
            parts += ["Files, by their sha256:\n", _code([f"{digest} {label}" for label, digest in read.items()])]
        parts += ["Again:\n", _code(list(dict.fromkeys(origin.command for origin in piece.origins)))]
        parts += ["This piece alone:\n", _code([piece.command])]
    origins = [origin for piece in pieces for origin in piece.origins]
    parts += ["## Versions\n", _code(_versions(origins)), "## Machines\n", _code(_machines(origins))]
    parts += ["## Sources\n", "".join(f"- {s.citation}: {s.title}\n" for s in _cited(pieces))]
    return "\n".join(parts)


def _cited(pieces: Sequence[Piece]) -> list[Any]:
    return list({source.key: source for piece in pieces for source in piece.figure.source}.values())


def _code(lines: Sequence[str]) -> str:
    """An indented block: nothing inside ends it."""
    return "".join(f"    {' '.join(line.split())}\n" for line in lines or ["(not recorded)"])


def _about(made: Mapping[str, Any]) -> str:
    seeds = made.get("seeds") or []
    facts = [str(made["started"])] if made.get("started") else []
    facts += [f"seeds {', '.join(map(str, seeds))}"] if seeds else []
    facts += [f"{float(made['seconds']):.0f} s"] if isinstance(made.get("seconds"), int | float) else []
    return ", ".join(facts)


def _versions(origins: Sequence[Origin]) -> list[str]:
    sets = []
    for origin in origins:
        made = origin.provenance
        packages = {name: str(version) for name, version in (made.get("packages") or {}).items()}
        commit = f"commit {str(made['commit'])[:SHOWN_KEY]}" if made.get("commit") else ""
        changed = " (with changes)" if made.get("dirty") else ""
        python = f"python {made['python']}" if made.get("python") else ""
        sets.append(", ".join(filter(None, [f"{commit}{changed}", python, *(f"{n} {v}" for n, v in packages.items())])))
    return [text for text in dict.fromkeys(sets) if text]


def _machines(origins: Sequence[Origin]) -> list[str]:
    known = ("device", "processors", "threads", "memory_bytes", "platform")
    found = [{name: origin.provenance[name] for name in known if name in origin.provenance} for origin in origins]
    return [text for text in dict.fromkeys(json.dumps(one, ensure_ascii=False) for one in found) if text != "{}"]
