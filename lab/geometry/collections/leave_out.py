"""How much of a task's change do the changes of others explain? Leave one member, task, type or seed out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lab.geometry.collections.collection import Member
from lab.geometry.collections.gram import Gram, centred, principal

Array = NDArray[np.float64]
Unit = Literal["member", "task", "type", "seed"]

_OTHERS: dict[str, Callable[[Member, Member], bool]] = {
    "member": lambda own, other: other.name != own.name,
    "task": lambda own, other: task_of(other) != task_of(own),
    "type": lambda own, other: other.type != own.type,
    "seed": lambda own, other: other.name != own.name and task_of(other) == task_of(own),
}


def task_of(member: Member) -> str:
    """The task a member was trained on; a member without one is a task of its own."""
    return member.task or member.name


def explained_shares(
    gram: Gram, train: Sequence[int], test: Sequence[int], k: int | None = None, *, centre: bool = True
) -> Array:
    """Share of ‖ΔW_i‖² that the affine subspace of other members explains, for 0 … k of its directions.

    With the mean μ and the principal directions E_1, E_2, … of the training members,

        share_k(i) = 1 − ‖ΔW_i − μ − Σ_{j ≤ k} ⟨ΔW_i − μ, E_j⟩E_j‖²/‖ΔW_i‖².

    share_0 is what the **mean alone** explains; it is negative when the mean is farther from ΔW_i than 0 is: −1/N for N
    isotropic training members.

    Args:
        gram: of all.
        train: members that make the subspace.
        test: members that are explained by it.
        k: most directions. Default all that the training members span.
        centre: around the mean; False: directions through θ₀, μ = 0, and share_0 = 0.

    Returns:
        (len(test), k + 1); a row is constant where the training members span fewer directions, nan for a zero member.
    """
    train, test = list(train), list(test)
    G = gram.total
    inner, cross = G[np.ix_(train, train)], G[np.ix_(train, test)]
    own = G[test, test]
    scale = float(np.diagonal(inner).max())
    variances, vectors = principal(centred(inner) if centre else inner, scale=scale, eps=gram.eps)
    if centre:
        cross, distance, vectors = (
            cross - inner.mean(axis=1)[:, None],  # ⟨ΔW_t, ΔW_i − μ⟩
            own - 2 * cross.mean(axis=0) + inner.mean(),
            vectors - vectors.mean(axis=0),
        )
    else:
        distance = own
    # coordinates ⟨ΔW_i − μ, E_j⟩, E_j = Σ_t (Ha_j)_t ΔW_t/√λ_j
    coordinates = vectors.T @ cross / np.sqrt(variances)[:, None]
    left = distance - np.vstack([np.zeros(len(test)), np.cumsum(coordinates**2, axis=0)])
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = (1 - left / own).T
    shares[own == 0] = np.nan
    wanted = shares.shape[1] - 1 if k is None else k
    filled = np.pad(shares, [(0, 0), (0, max(0, wanted + 1 - shares.shape[1]))], mode="edge")
    return filled[:, : wanted + 1]


def leave_out(gram: Gram, unit: Unit = "member", k: int | None = None) -> pd.DataFrame:
    """What others explain of each member, `unit` by unit.

    * ``"member"``: all others; another seed of the same task is among them.
    * ``"task"``: members of other tasks.
    * ``"type"``: members of tasks of other types.
    * ``"seed"``: other seeds of the same task, by directions through θ₀ (one point has a line, and no mean worth the
      name): what the task itself fixes, the upper reference. With one other seed its cos².

    Args:
        gram: of the collection.
        unit: see above.
        k: most directions; default all that any member's others may span. A share stays where they span no more.

    Returns:
        One row per member and number of directions: member, task, type, k, share, n_train; k = 0 is the mean alone
        (of "seed" nothing).
        Members that no other may explain (one type, one seed) have no row.

    Raises:
        ValueError: an unknown unit; no member has others to be explained by; types are not known.
    """
    if unit not in _OTHERS:
        raise ValueError(f"unit must be one of {sorted(_OTHERS)}; got {unit!r}.")
    members = gram.members
    if unit == "type" and not all(member.type for member in members):
        nameless = next(member.name for member in members if not member.type)
        raise ValueError(f"leaving types out needs the type of every member; {nameless!r} has none.")
    others = {
        i: [j for j, other in enumerate(members) if _OTHERS[unit](member, other)] for i, member in enumerate(members)
    }
    most = max(0, max(map(len, others.values())) - (unit != "seed")) if k is None else k
    rows = []
    for i, member in enumerate(members):
        train = others[i]
        if train:
            shares = explained_shares(gram, train, [i], most, centre=unit != "seed")[0]
            rows += [
                {"member": member.name, "task": task_of(member), "type": member.type, "k": j, "share": share,
                 "n_train": len(train)}
                for j, share in enumerate(shares)
            ]  # fmt: skip
    if not rows:
        raise ValueError(f"no member has others left when its {unit} is left out: {len(members)} members.")
    return pd.DataFrame(rows)


def units_of(members: Sequence[Member]) -> tuple[Unit, ...]:
    """The units that can be left out of a collection, so that others are left to explain somebody."""
    tasks, types = [task_of(member) for member in members], {member.type for member in members}
    there: dict[Unit, bool] = {
        "member": len(members) > 1,
        "task": 1 < len(set(tasks)) < len(tasks),
        "type": len(types) > 1 and "" not in types,
        "seed": len(set(tasks)) < len(tasks),
    }
    return tuple(unit for unit, possible in there.items() if possible)


def left_out_table(gram: Gram, k: int) -> pd.DataFrame:
    """What k directions of the others explain of every member, and their mean alone, for all units that there are.

    Returns:
        One row per member and unit: member, type, left_out (the unit), share, mean_only.
    """
    tables = []
    for unit in units_of(gram.members):
        shares = leave_out(gram, unit, k)
        wide = shares.pivot(index=["member", "type"], columns="k", values="share").reset_index()
        columns = {"member": wide["member"], "type": wide["type"], "left_out": unit}
        tables.append(pd.DataFrame(columns | {"share": wide[k], "mean_only": wide[0]}))
    return pd.concat(tables, ignore_index=True)


def share_against_size(
    gram: Gram,
    k: int,
    *,
    sizes: Sequence[int] | None = None,
    n_draws: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Explained share of an unseen task against the number of tasks that make the subspace.

    A draw takes n tasks at random and explains every other one from them, with min(k, n − 1) directions; the band is
    over the draws: which tasks happened to be at hand.

    Args:
        gram: of the collection.
        k: directions.
        sizes: numbers of tasks; default 2 … tasks − 1.
        n_draws: subsets per size.
        confidence: of the band.
        seed: of the draws.

    Returns:
        One row per size: n, share (mean over draws and unseen tasks), low, high, mean_only (the same at k = 0).

    Raises:
        ValueError: fewer than three tasks, or a size outside 1 … tasks − 1.
    """
    tasks = sorted({task_of(member) for member in gram.members})
    of_task = {task: [i for i, m in enumerate(gram.members) if task_of(m) == task] for task in tasks}
    if len(tasks) < 3:
        raise ValueError(f"a curve against the number of tasks needs three tasks or more; got {len(tasks)}.")
    chosen = list(range(2, len(tasks))) if sizes is None else list(sizes)
    if not all(1 <= n < len(tasks) for n in chosen):
        raise ValueError(f"sizes must be in 1 … {len(tasks) - 1}, so that a task is left unseen; got {chosen}.")
    generator = np.random.default_rng(seed)
    rows = []
    for n in chosen:
        found = []
        for _ in range(n_draws):
            drawn = set(generator.choice(len(tasks), size=n, replace=False).tolist())
            train = [i for t in drawn for i in of_task[tasks[t]]]
            test = [i for t in range(len(tasks)) if t not in drawn for i in of_task[tasks[t]]]
            shares = explained_shares(gram, train, test, k)
            found.append((np.nanmean(shares[:, -1]), np.nanmean(shares[:, 0])))
        values, mean_only = np.asarray(found).T
        low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
        rows.append({"n": n, "share": values.mean(), "low": low, "high": high, "mean_only": mean_only.mean()})
    return pd.DataFrame(rows)
