"""Linear-quadratic problems and their closed forms: the oracle every solver of this folder is held to.

    h_{t+1} = A_t h_t + B_t u_t,    J = ½ h_Tᵀ Q_T h_T + Σ_t ½ (h_tᵀ Q_t h_t + u_tᵀ R_t u_t).

Two exact solutions that share no code: the Riccati recursion (dynamic programming: u_t = −K_t h_t) and the two-point
boundary problem of the maximum principle (one linear system in all states, costates and controls).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lab.control.problem import ControlProblem, Dynamics, RunningCost
from lab.faces import Facts, faced, outlined


def _system_facts(system: LinearQuadratic) -> Facts:
    T, n, m = system.B.shape
    return {"horizon": T, "state": f"{n} numbers", "control": f"{m} numbers"}


def _solution_facts(found: RiccatiSolution) -> Facts:
    m, n = found.K.shape[1:]
    return {
        "horizon": len(found.K), "state": f"{n} numbers", "control": f"{m} numbers", "cost": float(found.cost),
        "‖K_0‖": float(found.K[0].norm()), "‖u‖": float(torch.cat(found.controls).norm()),
    }  # fmt: skip


@faced(_system_facts)
@dataclass(frozen=True, eq=False)
class LinearQuadratic:
    """A linear-quadratic problem, time-varying or not.

    Attributes:
        A: (T, n, n).
        B: (T, n, m).
        Q: (T, n, n), symmetric, positive semi-definite: cost of the state.
        R: (T, m, m), symmetric, positive definite: cost of the control.
        Q_end: (n, n): cost of the end state.
        h0: (n,).

    Raises:
        ValueError: shapes do not agree, or a cost matrix is not symmetric.
    """

    A: Tensor
    B: Tensor
    Q: Tensor
    R: Tensor
    Q_end: Tensor
    h0: Tensor

    def __post_init__(self) -> None:
        T, n, m = self.B.shape if self.B.ndim == 3 else (0, 0, 0)
        expected = {"A": (T, n, n), "B": (T, n, m), "Q": (T, n, n), "R": (T, m, m), "Q_end": (n, n), "h0": (n,)}
        for name, shape in expected.items():
            got = tuple(getattr(self, name).shape)
            if got != shape or T == 0:
                raise ValueError(f"{name} needs shape {shape} (T, n, m from B: {tuple(self.B.shape)}); got {got}.")
        for name in ("Q", "R", "Q_end"):
            cost = getattr(self, name)
            if not torch.allclose(cost, cost.mT):
                raise ValueError(f"{name} must be symmetric; pass ({name} + {name}ᵀ)/2.")

    @property
    def T(self) -> int:
        return self.B.shape[0]

    def problem(self) -> ControlProblem:
        """The same as a `ControlProblem`; states (n,), controls (m,)."""

        def stage(A: Tensor, B: Tensor) -> Dynamics:
            return lambda h, u: A @ h + B @ u

        def cost(Q: Tensor, R: Tensor) -> RunningCost:
            return lambda h, u: (h @ Q @ h + u @ R @ u) / 2

        return ControlProblem(
            h0=self.h0,
            dynamics=tuple(stage(A, B) for A, B in zip(self.A, self.B, strict=True)),
            terminal_cost=lambda h: h @ self.Q_end @ h / 2,
            sizes=(self.B.shape[2],) * self.T,
            running_costs=tuple(cost(Q, R) for Q, R in zip(self.Q, self.R, strict=True)),
        )


@faced(_solution_facts)
@dataclass(frozen=True, eq=False)
class RiccatiSolution:
    """The optimal feedback of a linear-quadratic problem and what it does from h_0.

    Attributes:
        P: (T+1, n, n); the cost to go from h at time t is ½ hᵀ P_t h.
        K: (T, m, n); the optimal control is u_t = −K_t h_t.
        states: [h_0, …, h_T].
        controls: [u_0, …, u_{T−1}].
        cost: ½ h_0ᵀ P_0 h_0, scalar.
    """

    P: Tensor
    K: Tensor
    states: list[Tensor]
    controls: list[Tensor]
    cost: Tensor


def lqr(system: LinearQuadratic) -> RiccatiSolution:
    """The optimal feedback by the Riccati recursion, from t = T−1 down to 0:

        K_t = (R + BᵀP_{t+1}B)⁻¹ BᵀP_{t+1}A,    P_t = Q + AᵀP_{t+1}(A − B K_t),    P_T = Q_end.

    Known answer: a = b = q = r = 1, P_T = 1 gives P = 1, 3/2, 8/5, 21/13, 55/34, … (ratios of Fibonacci numbers) → the
    golden ratio, and K → its inverse.

    Args:
        system: the problem; O(T(n + m)³) operations.

    Raises:
        ValueError: R_t + BᵀPB is not positive definite, so that no minimiser exists.
    """
    P, Ps, Ks = system.Q_end, [system.Q_end], []
    for t in reversed(range(system.T)):
        A, B, Q, R = system.A[t], system.B[t], system.Q[t], system.R[t]
        factor, info = torch.linalg.cholesky_ex(R + B.mT @ P @ B)
        if int(info):
            raise ValueError(f"R_{t} + BᵀPB is not positive definite: the controls cost nothing somewhere; raise R.")
        K = torch.cholesky_solve(B.mT @ P @ A, factor)
        P = Q + A.mT @ P @ (A - B @ K)
        P = (P + P.mT) / 2  # keeps rounding from accumulating as asymmetry
        Ps.append(P)
        Ks.append(K)
    Ps.reverse()
    Ks.reverse()
    states, controls = [system.h0], []
    for A, B, K in zip(system.A, system.B, Ks, strict=True):
        controls.append(-(K @ states[-1]))
        states.append(A @ states[-1] + B @ controls[-1])
    cost = system.h0 @ Ps[0] @ system.h0 / 2
    return RiccatiSolution(torch.stack(Ps), torch.stack(Ks), states, controls, cost)


@outlined
@dataclass(frozen=True, eq=False)
class BoundarySolution:
    """The solution of the maximum principle's two-point boundary problem.

    Attributes:
        states: [h_0, …, h_T].
        costates: [p_0, …, p_T].
        controls: [u_0, …, u_{T−1}].
    """

    states: list[Tensor]
    costates: list[Tensor]
    controls: list[Tensor]


def two_point_boundary(system: LinearQuadratic) -> BoundarySolution:
    """Solves the maximum principle's conditions for all times at once.

        h_{t+1} − A h_t − B u_t = 0,   h_0 given;    p_t − Aᵀp_{t+1} + Q h_t = 0,   p_T + Q_end h_T = 0;
        R u_t − Bᵀp_{t+1} = 0   (∇_u H_t = 0).

    One dense system of (T+1)·2n + T·m unknowns: an oracle for small problems, not a method for large ones.

    Args:
        system: the problem.
    """
    T, n, m = system.B.shape
    h = [slice(t * n, (t + 1) * n) for t in range(T + 1)]
    p = [slice((T + 1 + t) * n, (T + 2 + t) * n) for t in range(T + 1)]
    u = [slice(2 * (T + 1) * n + t * m, 2 * (T + 1) * n + (t + 1) * m) for t in range(T)]
    unknowns = 2 * (T + 1) * n + T * m
    M, right = system.h0.new_zeros(unknowns, unknowns), system.h0.new_zeros(unknowns)
    eye = torch.eye(n, dtype=M.dtype, device=M.device)
    M[h[0], h[0]], right[h[0]] = eye, system.h0
    M[p[T], p[T]], M[p[T], h[T]] = eye, system.Q_end
    for t in range(T):
        A, B = system.A[t], system.B[t]
        M[h[t + 1], h[t + 1]], M[h[t + 1], h[t]], M[h[t + 1], u[t]] = eye, -A, -B
        M[p[t], p[t]], M[p[t], p[t + 1]], M[p[t], h[t]] = eye, -A.mT, system.Q[t]
        M[u[t], u[t]], M[u[t], p[t + 1]] = system.R[t], -B.mT
    x = torch.linalg.solve(M, right)
    return BoundarySolution([x[s] for s in h], [x[s] for s in p], [x[s] for s in u])
