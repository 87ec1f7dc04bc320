"""The chain of the mining job: rows that can be added up by hand, superposition, borrowing, hubs."""

from __future__ import annotations

import numpy as np
import pytest

from rewrite.config import ChainConfig
from rewrite.graph import Graph, Kind, Node, Tables, graph_of, said
from tests.counts import hops, interpreted, meanings, served, served_hops, steps, tables, texts

MAJ, IMAGINE = "play maj", "play imagine dragons"
COUNTED = texts(play_maj=(20, 1, 1, 16), play_imagine_dragons=(60, 57, 57))
STEP = hops((MAJ, IMAGINE, 16))


def graph(counted: Tables, **config: float) -> Graph:
    found = graph_of(counted, np.zeros(counted.texts.num_rows), ChainConfig(**config))
    assert found is not None
    return found


def share(found: Graph, source: Node, target: Node) -> float:
    chain = found.chain
    return float(chain.Q[chain.index(source), chain.index(target)])


def test_the_chain_by_hand():
    chain = graph(tables(COUNTED, STEP)).chain
    # from "play maj": 16/20 go on and 57/60 of them succeed; 1/20 succeed there and then; 3/20 give up
    assert chain.success(said(MAJ)) == pytest.approx(0.8 * 0.95 + 0.05)
    assert chain.success(said(IMAGINE)) == pytest.approx(0.95)


def test_who_goes_on_and_who_does_not():
    # of 20 one is content, 16 go on to something that is known, 1 elsewhere, 2 say the same again and 0 give up
    counted = tables(
        texts(play_maj=(20, 1, 1, 19), play_imagine_dragons=(60, 57, 57)), hops((MAJ, IMAGINE, 16), (MAJ, MAJ, 2))
    )
    found = graph(counted)
    # the two who say the same again do next what the others do: 17 of 18 go on
    assert found.went_on[found.chain.index(said(MAJ))] == pytest.approx(17 / 18)
    assert found.went_on[found.chain.index(said(IMAGINE))] == 0.0


def test_no_hops_make_no_chain():
    assert graph_of(tables(COUNTED), np.zeros(2), ChainConfig()) is None


def test_a_text_that_is_rewritten_is_a_superposition():
    # 20 turns left alone, 60 rewritten, of which 54 went well and 3 said something else
    pair = (MAJ, IMAGINE)
    counted = tables(
        texts(play_maj=(20, 1, 1, 16), play_imagine_dragons=(60, 57, 57), play_dragons=(30, 30, 30)), STEP,
        live=served({pair: (60, 54, 54, 3)}), live_hops=served_hops((MAJ, IMAGINE, "play dragons", 3)),
    )  # fmt: skip
    found = graph(counted)
    node = Node(Kind.SERVED, MAJ, IMAGINE)
    assert share(found, said(MAJ), node) == pytest.approx(60 / 80)
    assert share(found, said(MAJ), said(IMAGINE)) == pytest.approx(16 / 80)
    assert share(found, node, said("play dragons")) == pytest.approx(3 / 60)
    served_well, alone = 54 / 60 + 3 / 60, 0.8 * 0.95 + 0.05
    assert found.chain.success(said(MAJ)) == pytest.approx(0.75 * served_well + 0.25 * alone)
    # what comes of the target by itself is not touched by what comes of it in another's place
    assert found.chain.success(said(IMAGINE)) == pytest.approx(0.95)
    assert found.text_of(node, said(MAJ)) == IMAGINE


def test_a_rare_text_borrows_from_its_interpretation():
    wrong, right = '["music","play",{"title":"maj"}]', '["music","play",{"title":"imagine dragons"}]'
    counted = tables(
        texts(play_maj=(20, 0, 0, 16), maj_please=(5, 0, 0, 0), play_imagine_dragons=(60, 57, 57)),
        hops((MAJ, right, 16)),
        readings=interpreted((MAJ, wrong, 20), ("maj please", wrong, 5), (IMAGINE, right, 60)),
        meant=meanings({wrong: (25, 0, 0, 16), right: (60, 57, 57)}),
        meaning_hops=hops((wrong, right, 16), source="state"),
        meaning_steps=steps((wrong, right, IMAGINE, 16), source="state"),
    )
    found = graph(counted, borrowed_turns=2.0)
    target = Node(Kind.MEANT, right)
    # five turns of its own that lead nowhere, and two that go where those of its interpretation go: 16 of 25
    assert share(found, said("maj please"), target) == pytest.approx(2 * (16 / 25) / 7)
    assert found.borrowed[found.chain.index(said("maj please"))] == pytest.approx(2.0)
    assert found.text_of(target, said("maj please")) == IMAGINE  # as those of its interpretation said
    alone = graph(counted, borrowed_turns=0.0)
    assert said("maj please") not in alone.chain or not alone.chain.success(said("maj please"))


def test_a_text_does_not_borrow_from_itself():
    wrong, right = '["a"]', '["b"]'
    counted = tables(
        texts(play_maj=(20, 0, 0, 16), play_imagine_dragons=(60, 57, 57)), hops((MAJ, right, 16)),
        readings=interpreted((MAJ, wrong, 20), (IMAGINE, right, 60)),
        meant=meanings({wrong: (20, 0, 0, 16), right: (60, 57, 57)}),
        meaning_hops=hops((wrong, right, 16), source="state"),
    )  # fmt: skip
    found = graph(counted, borrowed_turns=5.0)
    assert not found.borrowed.any()
    assert share(found, said(MAJ), Node(Kind.MEANT, right)) == pytest.approx(0.8)


def scattering(share_of_stop: float) -> Tables:
    """Thirty texts, each with a second try of its own, of whose next tries some are "stop"."""
    rows = {f"broken_{n:02}": (20.0, 0.0, 0.0, 20.0) for n in range(30)} | {f"mended_{n:02}": (20.0, 19.0, 19.0)
                                                                         for n in range(30)}  # fmt: skip
    rows["stop"] = (100.0, 90.0, 90.0)
    steps = [(f"broken {n:02}", f"mended {n:02}", 20.0 * (1 - share_of_stop)) for n in range(30)]
    steps += [(f"broken {n:02}", "stop", 20.0 * share_of_stop) for n in range(30)]
    return tables(texts(**rows), hops(*steps))


def test_what_follows_everything_is_a_hub():
    found = graph(scattering(0.2))
    assert found.hubs == ("stop",)
    broken = said("broken 07")
    assert said("stop") not in found.chain or not share(found, broken, said("stop"))
    # what was said in its place counts as gone elsewhere: it speaks against every target
    assert found.went_on[found.chain.index(broken)] == pytest.approx(1.0)
    assert share(found, broken, said("mended 07")) == pytest.approx(0.8)


def test_what_most_who_fail_say_next_is_no_hub_however_many_they_are():
    assert graph(scattering(0.6)).hubs == ()
    assert graph(scattering(0.2), hub_sources=31).hubs == ()
