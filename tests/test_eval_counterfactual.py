import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.counterfactual import Evaluation, Refusal, cross_fitted, shrunk_means
from eval.logged import Logged, overlap_of

# Four rows by hand: two actions, taken by a coin; the new policy always takes action 1.
#
#   action   0  1  1  0
#   reward   1  1  0  1
#   weight   0  2  2  0
#
# IPS is (2 + 0) / 4 = 0.5, SNIPS 2 / 4 = 0.5. Weights of 2, 2: two rows count.
FOUR = Logged(
    user=["a", "a", "b", "b"],
    action=np.array([0, 1, 1, 0]),
    propensity=np.full(4, 0.5),
    policy=np.tile([0.0, 1.0], (4, 1)),
    reward=np.array([1.0, 1.0, 0.0, 1.0]),
)
LOOSE = Evaluation(least_effective=0, draws=99)

# A world of three contexts and three actions: the log explores, the new policy prefers the best action.
CONTEXTS = np.array([0.5, 0.3, 0.2])
REWARD = np.array([[0.3, 0.5, 0.8], [0.6, 0.2, 0.7], [0.1, 0.9, 0.4]])
LOGGING = np.array([[0.6, 0.3, 0.1], [0.5, 0.2, 0.3], [0.3, 0.3, 0.4]])
POLICY = np.array([[0.1, 0.1, 0.8], [0.2, 0.0, 0.8], [0.0, 1.0, 0.0]])
TRUTH = float(CONTEXTS @ (POLICY * REWARD).sum(axis=1))


def log_of(seed, users=80, contexts=CONTEXTS, logging=LOGGING, policy=POLICY):
    """Users with 1 to some 30 requests each; some are luckier than others, by as much as others are less."""
    chance = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), chance.geometric(1 / 8, users))
    luck = chance.uniform(-0.1, 0.1, users)[user]
    context = chance.choice(len(contexts), len(user), p=contexts)
    action = (chance.random((len(user), 1)) > np.cumsum(logging[context], axis=1)).sum(axis=1)
    action = np.minimum(action, logging.shape[1] - 1)
    reward = chance.random(len(user)) < REWARD[context, action] + luck
    return Logged(user, action, logging[context, action], policy[context], reward, context)


def test_four_rows_by_hand():
    assert LOOSE.ips(FOUR).value == 0.5
    assert LOOSE.snips(FOUR).value == 0.5
    overlap = overlap_of(FOUR)
    assert (overlap.effective, overlap.mean_weight, overlap.largest_weight) == (2.0, 1.0, 2.0)
    assert (overlap.unexplored, overlap.clipped) == (0.0, 0.0)
    # clipped at 1, half of the weight is gone: IPS 1/4, too low by 1/2 at most; SNIPS is as it was
    clipped = Evaluation(clip=1.0, least_effective=0, draws=99)
    assert clipped.ips(FOUR).value == 0.25
    assert clipped.ips(FOUR).overlap.clipped == 0.5
    assert clipped.snips(FOUR).value == 0.5


def test_doubly_robust_by_hand():
    # a model that says 0.5 of all: 0.5 + mean(weight * (reward - 0.5)) = 0.5 + (1 - 1) / 4
    assert LOOSE.doubly_robust(FOUR, lambda logged, _: np.full(logged.policy.shape, 0.5)).value == 0.5
    # one that says 0.2 of action 1: 0.2 + (2 * 0.8 - 2 * 0.2) / 4
    assert LOOSE.doubly_robust(FOUR, lambda logged, _: np.full(logged.policy.shape, 0.2)).value == pytest.approx(0.5)


def test_means_are_shrunk_by_hand():
    # trained on user a: action 0 and action 1 one reward of one each; all means are 1
    assert shrunk_means(FOUR, np.array([True, True, False, False])).tolist() == [[1.0, 1.0]] * 4
    # on user b: overall 1/2; action 0 (1 + 10/2) / 11 = 6/11, and again (1 + 60/11) / 11 = 71/121
    found = shrunk_means(FOUR, np.array([False, False, True, True]))
    assert found[0].tolist() == pytest.approx([71 / 121, 50 / 121])


def test_the_log_judged_by_its_own_policy_is_its_mean():
    logged = log_of(1, policy=LOGGING)
    for estimator in (LOOSE.ips, LOOSE.snips):
        assert estimator(logged).value == pytest.approx(logged.reward.mean(), abs=1e-12)
    assert overlap_of(logged).effective == pytest.approx(len(logged))


def test_what_was_never_explored_is_not_measured():
    never = np.array([[0.6, 0.4, 0.0], [0.5, 0.5, 0.0], [0.3, 0.7, 0.0]])
    for estimator in (Evaluation().ips, Evaluation().snips, Evaluation().doubly_robust):
        found = estimator(log_of(2, logging=never))
        assert (found.value, found.interval, found.refusal) == (None, None, Refusal.NO_OVERLAP)
        assert found.says == "not measured: no overlap"
        assert found.overlap.unexplored == pytest.approx(0.64, abs=0.05)


def test_an_action_explored_in_another_context_only_does_not_count():
    here = np.array([[0.6, 0.3, 0.1], [1.0, 0.0, 0.0], [0.3, 0.3, 0.4]])
    assert Evaluation().snips(log_of(3, logging=here)).refusal is Refusal.NO_OVERLAP


def test_actions_beyond_those_of_the_log_are_unexplored():
    partial = Logged(["a", "b"], [0, 0], [1.0, 1.0], np.full((2, 1), 0.4), [1.0, 1.0])
    assert overlap_of(partial).unexplored == pytest.approx(0.6)
    assert LOOSE.ips(partial).refusal is Refusal.NO_OVERLAP


def test_too_little_to_say_is_not_measured():
    assert Evaluation().ips(FOUR).refusal is Refusal.FEW_EFFECTIVE
    one_user = Logged(["a"] * 40, [0] * 40, [1.0] * 40, np.ones((40, 1)), [1.0] * 40)
    assert Evaluation().ips(one_user).refusal is Refusal.ONE_USER
    empty = Logged([], [], [], np.empty((0, 2)), [])
    for estimator in (Evaluation().ips, Evaluation().snips, Evaluation().doubly_robust):
        assert estimator(empty).refusal is Refusal.NO_ROWS
    opposite = Logged(["a", "b"], [0, 0], [0.5, 0.5], np.tile([0.0, 1.0], (2, 1)), [1.0, 1.0])
    assert LOOSE.ips(opposite).refusal is Refusal.NO_OVERLAP


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"propensity": np.array([0.5, 0.0, 0.5, 0.5])}, r"propensity\[1\] came as 0"),
        ({"propensity": np.array([0.5, math.nan, 0.5, 0.5])}, r"propensity\[1\] came as nan"),
        ({"reward": np.array([0.0, 0.0, 2.0, 0.0])}, r"reward\[2\] came as 2"),
        ({"action": np.array([0, 1, 2, 0])}, "action 2"),
        ({"policy": np.ones((4, 2))}, "no distribution"),
        ({"policy": np.full((4, 2), math.nan)}, "no distribution"),
        ({"policy": np.ones(4)}, "shape"),
        ({"user": ["a"]}, "lengths"),
    ],
)
def test_broken_logs_are_refused(change, says):
    columns = {name: getattr(FOUR, name) for name in ("user", "action", "propensity", "policy", "reward")}
    with pytest.raises(ValueError, match=says):
        Logged(**columns | change)


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="clip"):
        Evaluation(clip=0).ips(FOUR)
    with pytest.raises(ValueError, match="without rows"):
        overlap_of(Logged([], [], [], np.empty((0, 2)), []))


def test_intervals_hold_the_truth_and_doubly_robust_is_quieter_than_ips():
    evaluation, runs = Evaluation(draws=300), 500
    found = {name: [] for name in ("ips", "snips", "doubly_robust")}
    for seed in range(runs):
        logged = log_of(seed)
        for name, estimates in found.items():
            estimates.append(getattr(evaluation, name)(logged))
    spread = {}
    for name, estimates in found.items():
        values = np.array([estimate.value for estimate in estimates])
        inside = np.array([each.interval.low <= TRUTH <= each.interval.high for each in estimates])
        assert 0.93 <= inside.mean() <= 0.975, name
        assert min(inside[:100].sum(), inside[100:200].sum()) >= 90, name
        assert abs(values.mean() - TRUTH) < 3 * values.std() / math.sqrt(runs), name
        spread[name] = values.std()
    assert spread["doubly_robust"] < 0.6 * spread["ips"]
    assert spread["snips"] < 0.6 * spread["ips"]


def test_ips_is_unbiased():
    values = [np.mean(each.weights() * each.reward) for each in map(log_of, range(1000, 4000))]
    assert abs(np.mean(values) - TRUTH) < 3 * np.std(values) / math.sqrt(len(values))


def test_doubly_robust_is_right_whatever_the_model():
    def nothing(logged, _):
        return np.zeros(logged.policy.shape)

    values = [LOOSE.doubly_robust(log_of(seed), nothing).value for seed in range(50)]
    assert np.mean(values) == pytest.approx(TRUTH, abs=3 * np.std(values) / math.sqrt(50))


def test_clipping_biases_ips_by_no_more_than_is_said():
    clipped, plain = Evaluation(clip=2.0, draws=50), Evaluation(draws=50)
    for seed in range(10):
        logged = log_of(seed)
        low, full = clipped.ips(logged), plain.ips(logged)
        assert 0 < full.value - low.value <= low.overlap.clipped


def test_no_row_is_judged_by_a_model_that_has_seen_its_user():
    logged, seen = log_of(5), []

    def model(each, training):
        held_out = set(each.user[~training])
        assert not held_out & set(each.user[training])
        seen.append(held_out)
        return np.where(training[:, None], np.nan, np.zeros(each.policy.shape))

    assert np.isfinite(cross_fitted(logged, model)).all()
    assert set.union(*seen) == set(logged.user)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_the_order_of_rows_makes_no_difference(seed, order):
    logged = log_of(seed, users=20)
    rows = list(range(len(logged)))
    order.shuffle(rows)
    columns = (getattr(logged, name)[rows] for name in ("user", "action", "propensity", "policy", "reward", "context"))
    mixed = Logged(*columns)
    for estimator in (LOOSE.ips, LOOSE.snips, LOOSE.doubly_robust):
        one, other = estimator(logged), estimator(mixed)
        assert one.refusal == other.refusal
        assert one.value is None or other.value == pytest.approx(one.value, abs=1e-12)
