"""Where do attempts end, and through which words?

An absorbing Markov chain over what users say one after another. A library of its own: states are any
hashables, and only numpy and scipy are needed.

state            what is said, in the form that the caller compares it by
path             one user's attempts at one goal, in order, with the probability that the last one succeeded
turn             one saying of a state; a user may have many
end              success or failure: where every path is absorbed
counts           paths added up into a graph, with turns and distinct users on every edge
Q, R             probabilities from state to state, and from state to end: each row of [Q R] sums to 1
N                the fundamental matrix (I - Q)^-1: expected visits to one state from another
absorption       N R: probability of each end from each state
direct success   R[j, success]: the state is the last attempt and succeeds
steps            N 1: expected number of attempts, the first included
score            N[u, j] R[j, success]: the share of success from u that comes about by saying j last
route            states from a source to a target, each step seen in the log
support          distinct users, and turns, at a route's narrowest hop; of all routes the widest counts
reformulation    the best target other than the source, by score
component        states connected by transitions in any direction; each is solved on its own
residual         R + Q B - B: what is left when an answer is put into its equation
certificate      c with (I - Q) t >= c > 0: shows that N 1 <= t / c, and so turns a residual into a bound
push, pull       mass moved from one source to where it succeeds; from one target to where it comes from
bound            the most that an answer may be off, returned with it

Files in reading order: paths, counts, rows, chain, solution; the solvers dense, components, elimination, sparse,
fixed_point, krylov, solver (picks); the scores push, pull, best; the choice support, routes, reformulation; compiled
and kernels_numba (needs numba, which is not loaded before there is work for it).
"""

from markov.best import BestTargets, Reach, best_targets
from markov.chain import AbsorbingChain, SelfLoops
from markov.counts import Counts, Edges
from markov.dense import fundamental_dense, solve_dense
from markov.errors import (
    ChainError,
    CountsError,
    MarkovError,
    OptionError,
    PathError,
    SolveError,
    UnknownStateError,
)
from markov.fixed_point import solve_fixed_point
from markov.paths import End, Path
from markov.push import Scores, Succeeding, push
from markov.reformulation import Reformulation, Targets
from markov.solution import Method, Solution
from markov.solver import solve
from markov.sparse import fundamental_row, solve_sparse

__all__ = [
    "AbsorbingChain",
    "BestTargets",
    "ChainError",
    "Counts",
    "CountsError",
    "Edges",
    "End",
    "MarkovError",
    "Method",
    "OptionError",
    "Path",
    "PathError",
    "Reach",
    "Reformulation",
    "Scores",
    "SelfLoops",
    "Solution",
    "SolveError",
    "Succeeding",
    "Targets",
    "UnknownStateError",
    "best_targets",
    "fundamental_dense",
    "fundamental_row",
    "push",
    "solve",
    "solve_dense",
    "solve_fixed_point",
    "solve_sparse",
]
