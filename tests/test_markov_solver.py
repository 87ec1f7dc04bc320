"""Which solver is picked, what its certificate is worth, and what happens where paths almost never end."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import scipy.sparse as sp

from markov import Method, OptionError, SolveError, solve, solve_dense, solve_fixed_point, solve_sparse
from markov.components import Partition
from markov.elimination import eliminate
from markov.fixed_point import SWEEPS, Loopless, sweep

NUMBA = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")


def expander(n: int, seed: int = 0, ends: tuple[float, float] = (0.3, 0.8)) -> tuple[sp.csr_array, np.ndarray]:
    """Every state leads to four random ones, itself perhaps, and ends with a probability from `ends`."""
    draw = np.random.default_rng(seed)
    weight = draw.random((n, 4)) + 0.01
    end = draw.uniform(*ends, n)
    weight *= ((1.0 - end) / weight.sum(axis=1))[:, np.newaxis]
    pairs = np.repeat(np.arange(n), 4), draw.integers(0, n, 4 * n)
    Q = sp.csr_array((weight.ravel(), pairs), shape=(n, n))
    Q.sum_duplicates()
    well = draw.random(n)
    return Q, np.column_stack([end * well, end * (1.0 - well)])


def test_one_sweep_by_hand() -> None:
    # The state says itself again with 1/2, goes on to the other with 1/4, and succeeds with 1/4; the other fails.
    Q, R = sp.csr_array([[0.5, 0.25], [0.0, 0.0]]), np.array([[0.25, 0.0], [0.0, 1.0]])
    chain = Loopless.of(Q, R, np.arange(2))
    np.testing.assert_array_equal(chain.moving.toarray(), [[0.0, 0.5], [0.0, 0.0]])
    np.testing.assert_array_equal(chain.known, [[0.5, 2.0], [0.0, 1.0]])
    answer, change, sweeps = sweep(chain, 1e-9, 100, None)
    np.testing.assert_array_equal(answer, [[0.5, 2.5], [0.0, 1.0]])
    assert (change.tolist(), sweeps) == ([[0.0, 0.0], [0.0, 0.0]], 4)


def test_elimination_keeps_all_digits_where_paths_almost_never_end() -> None:
    # Of two states that lead to each other but for 1e-12, the first wins half of what ends: exactly known, 5e11 each.
    e = 1e-12
    moving, absorbed = np.array([[[0.0, 1.0 - e], [1.0 - e, 0.0]]]), np.array([[e, e]])
    visits = eliminate(moving, absorbed, np.eye(2)[np.newaxis])
    np.testing.assert_allclose(visits, [[[1, 1 - e], [1 - e, 1]] / np.array(e * (2 - e))], rtol=1e-15)
    assert abs(np.linalg.inv(np.eye(2) - [[0.0, 1.0 - e], [1.0 - e, 0.0]])[0, 0] * e * (2 - e) - 1.0) > 1e-6


def test_certificate_and_residual_bound_the_error_of_a_wrong_answer() -> None:
    Q, R = expander(300)
    exact = solve_dense(Q, R)
    rough = solve_fixed_point(Q, R, precision=4e-7, compiled=False)
    assert 1e-9 < np.abs(rough.absorption - exact.absorption).max() <= rough.error_bound < 1e-6
    assert 1e-9 < np.abs(rough.steps - exact.steps).max() <= rough.steps_bound < 1e-5
    assert 0.99999 < rough.certificate <= 1.0
    assert rough.sweeps < solve_fixed_point(Q, R, compiled=False).sweeps < 100


def test_where_sweeps_do_not_converge_lu_takes_over() -> None:
    Q, R = expander(200, ends=(1e-6, 2e-6))
    with pytest.raises(SolveError, match=r"still changing after \d+ sweeps"):
        solve_fixed_point(Q, R)
    solution = solve(Q, R)
    assert solution.states_by == {Method.LU: 200}
    assert solution.sweeps < SWEEPS  # foreseen, not tried to the end
    np.testing.assert_allclose(solution.success, solve_sparse(Q, R).success, atol=1e-9)


def test_only_the_slow_component_goes_to_lu() -> None:
    (Q, R), (slow, ends) = expander(100), expander(80, ends=(1e-6, 2e-6))
    solution = solve(sp.csr_array(sp.block_diag([Q, slow])), np.vstack([R, ends]))
    assert solution.states_by == {Method.FIXED_POINT: 100, Method.LU: 80}


def test_a_cycle_that_almost_never_ends_does_not_hold_up_an_expander() -> None:
    Q, R = expander(4_000)
    Q = Q.tolil()
    for u, v in ((10, 20), (20, 10)):  # these two lead to each other, and leave once in a million turns
        Q[u], Q[u, v] = 0.0, 1.0 - 1e-6
        R[u] = [1e-6, 0.0] if u == 10 else [0.0, 1e-6]
    solution = solve(sp.csr_array(Q), R)
    assert solution.states_by == {Method.KRYLOV: 4_000}
    assert solution.error_bound < 1e-6
    np.testing.assert_allclose(solution.success[[10, 20]], 0.5, atol=1e-6)
    np.testing.assert_allclose(solution.steps[[10, 20]], 1e6, rtol=1e-6)
    Q, R = expander(4_000)
    quick = solve(Q, R)
    assert quick.states_by == {Method.FIXED_POINT: 4_000}


def test_a_partition_splits_by_size() -> None:
    Q, _ = expander(70)
    alone = sp.csr_array(sp.block_diag([sp.csr_array((3, 3)), Q]))
    small, large = Partition.of(alone).split(64)
    assert (small.order.tolist(), small.size.tolist(), large.size.tolist()) == ([0, 1, 2], [1, 1, 1], [70])
    (block,) = large.blocks()
    assert (block.members[0].tolist(), len(block.edge)) == (list(range(3, 73)), Q.nnz)


@NUMBA
@pytest.mark.parametrize("n", [50, 500])
def test_compiled_and_plain_give_the_same(n: int) -> None:
    Q, R = expander(n)
    plain, fast = (solve(Q, R, compiled=each) for each in (False, True))
    np.testing.assert_allclose(fast.absorption, plain.absorption, rtol=0.0, atol=1e-12)
    np.testing.assert_allclose(fast.steps, plain.steps, rtol=1e-12)
    assert (fast.states_by, fast.sweeps) == (plain.states_by, plain.sweeps)


@NUMBA
def test_the_number_of_threads_changes_no_bit() -> None:
    import numba

    Q, R = expander(5_000)
    answers = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(threads)
        answers.append(solve(Q, R, compiled=True))
    assert answers[0].absorption.tobytes() == answers[1].absorption.tobytes()
    assert answers[0].steps.tobytes() == answers[1].steps.tobytes()


def test_numba_is_not_loaded_before_there_is_work_for_it() -> None:
    program = """
import sys, markov
chain = markov.AbsorbingChain.from_paths([markov.Path(("a", "b"), success=1.0)])
chain.reformulations()
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_numba_plain_numpy_does_it_unless_told_otherwise() -> None:
    program = """
import sys
sys.modules["numba"] = None  # as if it were not installed
import numpy as np, scipy.sparse as sp, markov
n = 200_000
Q, R = sp.csr_array((n, n)), np.column_stack([np.zeros(n), np.ones(n)])
assert markov.solve(Q, R).states_by == {markov.Method.ELIMINATION: n}
assert (markov.best_targets(Q, R).targets == -1).all()
try:
    markov.solve(Q, R, compiled=True)
except markov.OptionError as error:
    assert 'pip install "reprise-rewrite[fast]"' in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    "options", [{"precision": 0.0}, {"precision": float("nan")}, {"precision": 1e-3}, {"max_sweeps": 0}]
)
def test_settings_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="0 < precision < 1e-06 and 1 sweep or more are wanted"):
        solve(*expander(10), **options)
