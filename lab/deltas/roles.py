"""The roles and places a method asks for, as far as a family has them."""

from __future__ import annotations

from collections.abc import Iterable

from lab.models import PLM
from lab.models.architecture import Place, WeightMatrix


def require_tuple(method: str, name: str, roles: tuple[str, ...] | str) -> None:
    """Refuses a bare string where a tuple of roles belongs: its letters would be taken for roles.

    Args:
        method, name: of the delta method and its field, for the message.
        roles: the field's value.
    """
    if isinstance(roles, str):
        raise ValueError(f'{method} needs {name} as a tuple of roles, e.g. ("{roles}",); got {roles!r}.')


def present_matrices(plm: PLM, roles: Iterable[str]) -> tuple[WeightMatrix, ...]:
    """The weight matrices of those roles the PLM has (BERT has no "gate", only T5 has "cross_…"), block by block.

    Raises:
        ValueError: it has none of them.
    """
    known = plm.architecture.roles(plm.model)
    wanted = tuple(role for role in roles if role in known)
    if not wanted:
        raise ValueError(f"{plm.name!r} has none of the roles {tuple(roles)}; its roles are {known}.")
    return plm.matrices(wanted)


def present_places(plm: PLM, names: Iterable[str]) -> tuple[Place, ...]:
    """The modules of those places the PLM has, in order of depth; see `lab.models.architecture.Stack.places`."""
    known = {name for stack in plm.architecture.stacks for name in stack.places}
    found = [place for name in names if name in known for place in plm.architecture.places(plm.model, name)]
    return tuple(sorted(found, key=lambda place: place.block))
