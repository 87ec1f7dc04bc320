"""The engine in other people's pipelines: right answers on a bundle learned from a small log, and unchanged on faults.

The real frameworks are used where they are installed. Rasa installs on no Python that this project supports, and the
packages of Open Voice OS not beside all of ours: without them, stand-ins with the interface that they publish are.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import pickle
import re
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewrite import Action, BundleError, ConfigError, Decision, LearnConfig, Reason, RewriteEngine, Source, learn
from rewrite.adapters import decide, engine_config, from_plain, open_engine, text_to_use
from tests.logs import record, retries, small_log, write_log

ROOT = Path(__file__).parent.parent

#: what is said, by whom, what goes on to NLU, the action
EXAMPLES = [
    ("Play maj and dragons", None, "play imagine dragons", "rewrite"),
    ("play sonic", "gamer-00", "play the sonic soundtrack", "rewrite"),
    ("play sonic", "another", "play sonic", "pass"),
    ("play imagine dragons", None, "play imagine dragons", "pass"),
    ("play imagine dragoms", None, "play imagine dragoms", "suggest"),
    ("", None, "", "pass"),
]
#: Settings of an engine on a machine that is busy with other things.
PATIENT = {"deadline_s": 30.0}


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """"maj and dragons" is imagine dragons to all, "sonic" its soundtrack to one."""
    folder = tmp_path_factory.mktemp("adapters")
    own = retries("play sonic", "play the sonic soundtrack", 1, times=3, first=100, name="gamer")
    learn(write_log(folder / "log.jsonl", small_log() + own), folder / "bundle", config=LearnConfig(seed=0))
    return str(folder / "bundle")


@pytest.fixture(scope="session")
def engine(bundle: str) -> RewriteEngine:
    return RewriteEngine.load(bundle, config=engine_config(PATIENT))


class Attentive:
    """Answers like the engine that it is made of, and remembers what it was asked."""

    def __init__(self, engine: RewriteEngine) -> None:
        self.engine = engine
        self.asked: list[tuple[str, str | None, Mapping[str, Any] | None, Any]] = []
        self.sure: list[Any] = []

    def rewrite(
        self, text: str, user_id: Any = None, context: Any = None, *, nbest: Any = (), asr_confidence: Any = None
    ) -> Decision:
        self.asked.append((text, user_id, context, nbest))
        self.sure.append(asr_confidence)
        return self.engine.rewrite(text, user_id, context)


class Broken:
    def rewrite(self, text: str, *_: Any, **__: Any) -> Decision:
        raise OSError("the disk is gone")


# What the adapters share


@pytest.mark.parametrize(("said", "user", "used", "action"), EXAMPLES)
def test_a_decision_and_the_text_to_use(engine: RewriteEngine, said: str, user: str | None, used: str, action: str):
    decision = decide(engine, said, user)
    assert (text_to_use(decision), decision.action, decision.original) == (used, action, said)


def test_what_breaks_lets_the_text_through():
    decision = decide(Broken(), "play jazz", "u1", {}, ["play jazz", "play chess"])
    assert (decision.action, decision.text, decision.reason) == (Action.PASS, "play jazz", Reason.FAULT)
    assert decision.evidence == {"fault": "OSError: the disk is gone"}


@pytest.mark.parametrize(
    ("user", "named"),
    [("u1", "u1"), (7, "7"), (0, "0"), ("", None), (None, None), (True, None), (["u1"], None)],
)
def test_who_counts_as_a_user(engine: RewriteEngine, user: object, named: str | None):
    attentive = Attentive(engine)
    decide(attentive, "play jazz", user, "no context")
    assert attentive.asked == [("play jazz", named, None, ())]


@pytest.mark.parametrize(("nbest", "given"), [([], ()), (["a"], ()), (["a", {"text": "b"}], ["a", {"text": "b"}])])
def test_hypotheses_are_given_where_there_are_several(engine: RewriteEngine, nbest: list, given: object):
    attentive = Attentive(engine)
    decide(attentive, "a", nbest=nbest)
    assert attentive.asked[0][3] == given


@pytest.mark.parametrize(("told", "given"), [(0.4, 0.4), (1, 1), (None, None), ("sure", None), (True, None)])
def test_how_sure_the_recogniser_was_is_given_where_it_says(engine: RewriteEngine, told: object, given: object):
    attentive = Attentive(engine)
    decide(attentive, "a", asr_confidence=told)
    assert attentive.sure == [given]


@pytest.mark.parametrize(("said", "user"), [each[:2] for each in EXAMPLES])
def test_a_decision_comes_back_from_plain_values(engine: RewriteEngine, said: str, user: str | None):
    decision = decide(engine, said, user)
    assert from_plain(decision.as_dict()) == decision


@given(st.text(max_size=40), st.one_of(st.none(), st.text(max_size=5), st.integers()))
def test_what_was_said_is_never_lost(engine: RewriteEngine, said: str, user: object):
    decision = decide(engine, said, user)
    assert decision.original == said
    assert text_to_use(decision) == (decision.text if decision.action is Action.REWRITE else said)


def test_the_configuration_in_plain_values():
    config = engine_config({"sources": ["personal", "global"], "deadline_s": 0.01})
    assert (config.sources, config.deadline_s) == ({Source.PERSONAL, Source.GLOBAL}, 0.01)
    assert engine_config() == engine_config({})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"speed": 1}, "key 'speed'"), ({"sources": ["rumour"]}, "rumour"), ({"explore": 2}, "share"),
        ({"deadline_s": "x"}, "cannot be used"), ({"sources": 5}, "cannot be used"),
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_be_used(settings: dict[str, Any], said: str):
    with pytest.raises(ConfigError, match=said):
        engine_config(settings)


def test_a_bundle_that_is_not_there(tmp_path: Path):
    with pytest.raises(ConfigError, match="rewrite learn"):
        open_engine(None)
    with pytest.raises(BundleError, match="rewrite learn"):
        open_engine(str(tmp_path / "none"))


# spaCy


@pytest.fixture(scope="module")
def spacy() -> ModuleType:
    return pytest.importorskip("spacy", reason='spaCy is not installed: pip install "reprise-rewrite[spacy]"')


@pytest.fixture(scope="module")
def nlp(spacy: ModuleType, bundle: str) -> Any:
    made = spacy.blank("en")
    made.add_pipe("reprise", config={"bundle": bundle, "engine": PATIENT})
    return made


@pytest.mark.parametrize(("said", "user", "used", "action"), EXAMPLES)
def test_spacy_tells_the_text_to_use(nlp: Any, said: str, user: str | None, used: str, action: str):
    doc = nlp.make_doc(said)
    doc.user_data["user_id"] = user
    doc = nlp(doc)
    assert (doc.text, doc._.rewrite, doc._.reprise.action, doc._.reprise.original) == (said, used, action, said)


def test_spacy_answers_streams_alike_in_one_process_and_in_two(nlp: Any):
    texts = [said for said, user, *_ in EXAMPLES if user is None] * 2
    wanted = [nlp(text)._.reprise for text in texts]
    for processes in (1, 2):
        docs = list(nlp.pipe(texts, n_process=processes, batch_size=3))
        assert [doc._.reprise for doc in docs] == wanted
        assert [doc.text for doc in docs] == texts


def test_spacy_stores_the_configuration_alone(spacy: ModuleType, nlp: Any, bundle: str, tmp_path: Path):
    nlp.to_disk(tmp_path / "model")
    assert not (tmp_path / "model" / "reprise").exists()
    again = spacy.load(tmp_path / "model")
    wanted = {"factory": "reprise", "bundle": bundle, "engine": PATIENT}
    assert again.config["components"]["reprise"] == wanted
    assert again("play maj and dragons")._.rewrite == "play imagine dragons"
    component = pickle.loads(pickle.dumps(nlp.get_pipe("reprise")))
    assert component(nlp.make_doc("play maj and dragons"))._.rewrite == "play imagine dragons"


def test_spacy_keeps_the_decision_with_the_doc(nlp: Any):
    from spacy.tokens import Doc

    doc = nlp("play maj and dragons")
    assert Doc(nlp.vocab).from_bytes(doc.to_bytes())._.reprise == doc._.reprise
    unseen = nlp.make_doc("play jazz")
    assert (unseen._.reprise, unseen._.rewrite) == (None, "play jazz")


def test_spacy_makes_the_doc_from_what_should_have_been_said(nlp: Any, engine: RewriteEngine):
    from rewrite.adapters.spacy_component import Rewriting

    attentive = Attentive(engine)
    rewriting = Rewriting(nlp, attentive)
    for said, user, used, action in EXAMPLES:
        doc = rewriting(said, user, {"device_type": "car"}, asr_confidence=0.7)
        assert (doc.text, doc._.rewrite, doc._.reprise.action, doc._.reprise.original) == (used, used, action, said)
    assert attentive.asked == [(said, user, {"device_type": "car"}, ()) for said, user, *_ in EXAMPLES]
    assert attentive.sure == [0.7] * len(EXAMPLES)
    stream = rewriting.pipe(((said, user) for said, user, *_ in EXAMPLES), batch_size=2)
    assert [doc.text for doc in stream] == [used for *_, used, _ in EXAMPLES]


def test_spacy_passes_on_what_breaks(nlp: Any):
    from rewrite.adapters.spacy_component import Rewriting

    doc = Rewriting(nlp, Broken())("play maj and dragons")
    assert (doc.text, doc._.rewrite, doc._.reprise.reason) == (*["play maj and dragons"] * 2, Reason.FAULT)


def test_spacy_says_at_once_that_the_bundle_is_missing(spacy: ModuleType, tmp_path: Path):
    with pytest.raises(BundleError):
        spacy.blank("en").add_pipe("reprise", config={"bundle": str(tmp_path / "none")})


def test_the_page_shows_what_happens(
    spacy: ModuleType, bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "bundle").symlink_to(bundle)
    page = (ROOT / "docs" / "integration.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for program in re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        exec(compile(program, "integration.md", "exec"), names)
    assert names["to_nlu"] == "play imagine dragons"
    assert [doc.text for doc in names["docs"]] == ["play imagine dragons", "play jazz"]
    first, *_, last = capsys.readouterr().out.splitlines()
    assert (first, last) == ("play imagine dragons", "play imagine dragons <- play maj and dragons")


# Open Voice OS


@pytest.fixture(scope="module")
def ovos() -> Iterator[ModuleType]:
    """The adapter, over the real packages or over a stand-in for `ovos_plugin_manager.templates.transformers`."""

    class UtteranceTransformer:
        def __init__(self, name: str, priority: int = 50, config: dict[str, Any] | None = None) -> None:
            self.name, self.priority, self.config = name, priority, config or {}

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(action="ignore"):  # the real one's imports warn
        if not importlib.util.find_spec("ovos_plugin_manager"):
            place = "ovos_plugin_manager.templates.transformers"
            stand_in(patch, place, UtteranceTransformer=UtteranceTransformer)
        yield fresh(patch, "rewrite.adapters.ovos_transformer")


def stand_in(patch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    """A module of that name, and the packages that it is in."""
    parts = name.split(".")
    for end in range(1, len(parts)):
        if (package := ".".join(parts[:end])) not in sys.modules:
            patch.setitem(sys.modules, package, ModuleType(package))
    module = ModuleType(name)
    vars(module).update(content)
    patch.setitem(sys.modules, name, module)


def fresh(patch: pytest.MonkeyPatch, name: str) -> ModuleType:
    """The module, imported now, and gone again with the patch."""
    patch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(name)
    patch.delitem(sys.modules, name)
    return module


def test_ovos_finds_the_plugin():
    (found,) = entry_points(group="opm.transformer.text", name="reprise")
    assert found.value == "rewrite.adapters.ovos_transformer:RepriseTransformer"


@pytest.mark.parametrize(("said", "user", "used", "action"), EXAMPLES)
def test_ovos_puts_the_rewrite_first(
    ovos: ModuleType, bundle: str, said: str, user: str | None, used: str, action: str
):
    transformer = ovos.RepriseTransformer(config={"bundle": bundle, "engine": PATIENT})
    utterances, added = transformer.transform([said], {"user_id": user})
    assert utterances == list(dict.fromkeys([used, said]))
    assert (added["reprise"]["action"], added["reprise"]["original"]) == (action, said)


def test_ovos_keeps_the_hypotheses_in_order_and_once(ovos: ModuleType, engine: RewriteEngine):
    attentive = Attentive(engine)
    transformer = ovos.RepriseTransformer(config={"user_id": "owner"}, engine=attentive)
    heard = ["play maj and dragons", "play image and dragons", "play imagine dragons", "play maj and dragons"]
    utterances, _ = transformer.transform(heard, {"lang": "en-US", "session": {"site_id": "kitchen"}})
    assert utterances == ["play imagine dragons", "play maj and dragons", "play image and dragons"]
    assert attentive.asked == [(heard[0], "owner", {"locale": "en-US", "location": "kitchen"}, heard)]
    good = ["play imagine dragons", "play maj and dragons"]
    assert transformer.transform(good, None)[0] == good


@pytest.mark.parametrize(
    ("context", "user"),
    [
        ({"user_id": "a", "session": {"user_id": "b"}}, "a"),
        ({"session": {"session_id": "x", "user_id": "b", "site_id": "unknown"}}, "b"),
        ({"session": {"session_id": "x"}}, "owner"),
        ({"session": None}, "owner"),
    ],
)
def test_ovos_knows_the_user(ovos: ModuleType, engine: RewriteEngine, context: dict[str, Any], user: str):
    attentive = Attentive(engine)
    ovos.RepriseTransformer(config={"user_id": "owner"}, engine=attentive).transform(["play jazz"], context)
    assert attentive.asked == [("play jazz", user, {}, ())]


def test_ovos_passes_on_what_breaks(ovos: ModuleType, tmp_path: Path):
    transformer = ovos.RepriseTransformer(engine=Broken())
    utterances, added = transformer.transform(["play jazz", "play chess"], {})
    assert (utterances, added["reprise"]["reason"]) == (["play jazz", "play chess"], "fault")
    utterances, added = transformer.transform(["play jazz"], "no context")  # type: ignore[arg-type]
    assert (utterances, added["reprise"]["reason"]) == (["play jazz"], "fault")
    assert transformer.transform([], None) == ([], {})
    with pytest.raises(BundleError):
        ovos.RepriseTransformer(config={"bundle": str(tmp_path / "none")})


# Rasa


class Message:
    """Of `rasa.shared.nlu.training_data.message`."""

    def __init__(self, data: dict[str, Any], output_properties: set[str] | None = None) -> None:
        self.data = data
        self.output_properties = {*(output_properties or ()), "text"}

    def get(self, prop: str, default: Any = None) -> Any:
        return self.data.get(prop, default)

    def set(self, prop: str, info: Any, add_to_output: bool = False) -> None:
        self.data[prop] = info
        if add_to_output:
            self.output_properties.add(prop)


class Recipe:
    """Of `rasa.engine.recipes.default_recipe`."""

    ComponentType = SimpleNamespace(MESSAGE_FEATURIZER=1)
    registered: ClassVar[list[type]] = []

    @classmethod
    def register(cls, component_types: Any, is_trainable: bool, model_from: str | None = None) -> Any:
        return lambda component: cls.registered.append(component) or component


@pytest.fixture(scope="module")
def rasa() -> Iterator[ModuleType]:
    """The adapter over stand-ins for what it takes from Rasa 3.6."""
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch, "rasa.engine.graph", ExecutionContext=object, GraphComponent=type("GraphComponent", (), {}))
        stand_in(patch, "rasa.engine.recipes.default_recipe", DefaultV1Recipe=Recipe)
        stand_in(patch, "rasa.engine.storage.resource", Resource=object)
        stand_in(patch, "rasa.engine.storage.storage", ModelStorage=object)
        stand_in(patch, "rasa.shared.core.trackers", DialogueStateTracker=object)
        stand_in(patch, "rasa.shared.nlu.training_data.message", Message=Message)
        stand_in(patch, "rasa.shared.nlu.training_data.training_data", TrainingData=object)
        yield fresh(patch, "rewrite.adapters.rasa_component")


@pytest.mark.parametrize(("said", "user", "used", "action"), EXAMPLES)
def test_rasa_rewrites_the_text(rasa: ModuleType, bundle: str, said: str, user: str | None, used: str, action: str):
    assert rasa.RepriseRewriter in Recipe.registered
    config = {**rasa.RepriseRewriter.get_default_config(), "bundle": bundle, "engine": PATIENT}
    component = rasa.RepriseRewriter.load(config, None, None, None)
    metadata = {"channel": "phone"}
    message = Message({"text": said, "metadata": metadata})
    assert component.process([message], tracker=SimpleNamespace(sender_id=user)) == [message]
    told = message.get("reprise")
    assert (message.get("text"), told["action"], told["original"]) == (used, action, said)
    assert message.get("metadata") == {"channel": "phone", "reprise": told}
    assert metadata == {"channel": "phone"}
    assert message.output_properties == {"text", "reprise"}


def asked(rasa: ModuleType, engine: Any) -> Any:
    component = rasa.RepriseRewriter({})
    component.engine = engine
    return component


def test_rasa_tells_what_it_knows(rasa: ModuleType, engine: RewriteEngine):
    attentive = Attentive(engine)
    heard = {"confidence": 0.6, "nbest": [{"text": "play jazz"}, {"text": "play chess"}]}
    metadata = {"context": {"device_type": "car"}, "asr": heard}
    asked(rasa, attentive).process([Message({"text": "play jazz", "metadata": metadata})])
    assert attentive.asked == [("play jazz", None, metadata["context"], heard["nbest"])]
    assert attentive.sure == [0.6]


@pytest.mark.parametrize("data", [{"text": "/restart"}, {"text": None}, {"action_name": "utter_greet"}])
def test_rasa_leaves_alone_what_no_user_said(rasa: ModuleType, engine: RewriteEngine, data: dict[str, Any]):
    attentive, message = Attentive(engine), Message(dict(data))
    asked(rasa, attentive).process([message])
    assert (attentive.asked, message.data) == ([], data)


def test_rasa_lets_no_rewrite_become_a_command(rasa: ModuleType):
    class Commanding:
        def rewrite(self, text: str, *_: Any, **__: Any) -> Decision:
            return Decision(Action.REWRITE, "/restart", text, Reason.PINNED, Source.PINNED)

    message = Message({"text": "start over"})
    asked(rasa, Commanding()).process([message])
    assert message.get("text") == "start over"


@pytest.mark.parametrize("metadata", [None, 5, {"asr": 5}, {"asr": {"nbest": 5}}])
def test_rasa_passes_on_what_breaks(rasa: ModuleType, metadata: object, caplog: pytest.LogCaptureFixture):
    message = Message({"text": "play maj and dragons", "metadata": metadata})
    asked(rasa, Broken()).process([message, fine := Message({"text": "play jazz"})])
    assert message.get("text") == "play maj and dragons"
    assert fine.get("reprise")["reason"] == "fault"


def test_rasa_trains_without_a_bundle_and_serves_with_one(rasa: ModuleType):
    component = rasa.RepriseRewriter.create({"bundle": None}, None, None, None)
    examples = object()
    assert component.process_training_data(examples) is examples
    with pytest.raises(ConfigError):
        rasa.RepriseRewriter.load({"bundle": None}, None, None, None)


# The service


@pytest.fixture(scope="module")
def example() -> Iterator[ModuleType]:
    for name in ("fastapi", "httpx2"):
        pytest.importorskip(name, reason='pip install "reprise-rewrite[service]" httpx2')
    specification = importlib.util.spec_from_file_location("service_fastapi", ROOT / "examples" / "service_fastapi.py")
    module = importlib.util.module_from_spec(specification)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "service_fastapi", module)
        specification.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def client(example: ModuleType, bundle: str) -> Iterator[Any]:
    from fastapi.testclient import TestClient

    with TestClient(example.service(bundle, PATIENT)) as made:
        yield made


@pytest.mark.parametrize(("said", "user", "used", "action"), EXAMPLES)
def test_the_service_answers(client: Any, engine: RewriteEngine, said: str, user: str | None, used: str, action: str):
    context = {"device_type": "speaker", "local_hour": 7}
    answer = client.post("/rewrite", json={"text": said, "user_id": user, "context": context})
    decision = engine.rewrite(said, user)
    assert answer.status_code == 200
    assert answer.json() == {**decision.as_dict(), "served": decision.served}
    assert action == answer.json()["action"]


def test_the_service_says_how_it_stands(client: Any):
    assert client.get("/health").json() == {"status": "ok"}
    assert (client.get("/ready").status_code, client.get("/ready").json()) == (200, {"ready": True, "why": None})
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {"/rewrite", "/observe", "/health", "/ready"}
    for query in described["components"]["schemas"]["Query"]["examples"]:
        assert client.post("/rewrite", json=query).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"text": 5}', b"{}", b"[]", b"nonsense", b'{"text": "a", "user_id": ""}', b'{"text": "\\ud800"}',
        b'{"text": "a", "context": {"local_hour": 25}}', b'{"text": "a", "nbest": ["b"]}',
    ],
)  # fmt: skip
def test_the_service_refuses_what_is_no_query(client: Any, body: bytes):
    answer = client.post("/rewrite", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"user_id": None}, "user_id"), ({"timestamp": "soon"}, "timestamp"), ({"signals": {"rating": 5}}, "rating"),
        ({"text": "\ud800"}, "not_utf8"),
    ],
)  # fmt: skip
def test_the_service_refuses_what_is_no_turn(client: Any, change: dict[str, Any], said: str):
    body = json.dumps({**record(1), **change})
    answer = client.post("/observe", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_the_service_takes_turns_in(example: ModuleType, bundle: str):
    from fastapi.testclient import TestClient

    seen: list[Any] = []
    app = example.service(bundle)
    app.state.engine = SimpleNamespace(observe=seen.append)
    answer = TestClient(app).post("/observe", json=example.TURN)  # not started, so that the engine is the one given
    assert (answer.status_code, answer.json()) == (202, {"kept": True, "why": None})
    (turn,) = seen
    assert (turn.turn_id, turn.text, turn.signals.engaged_s) == ("t-17", "play imagine dragons", 90)


def test_the_very_next_request_knows_what_the_service_took_in(example: ModuleType, bundle: str, tmp_path: Path):
    from fastapi.testclient import TestClient

    request = {"text": "read me the gardening column", "user_id": "newcomer"}
    with TestClient(example.service(shutil.copytree(bundle, tmp_path / "bundle").as_posix(), PATIENT)) as client:
        before = client.post("/rewrite", json=request).json()["reason"]
        turn = {**example.TURN, **request, "timestamp": time.time(), "outcome": "success"}
        assert client.post("/observe", json=turn).status_code == 202
        assert (before, client.post("/rewrite", json=request).json()["reason"]) == ("no_candidate", "known_good")


def test_the_service_without_a_bundle_lets_queries_through(example: ModuleType, tmp_path: Path):
    from fastapi.testclient import TestClient

    with TestClient(example.service(str(tmp_path / "none"))) as client:
        assert client.get("/health").status_code == 200
        assert (client.get("/ready").status_code, client.get("/ready").json()["ready"]) == (503, False)
        answer = client.post("/rewrite", json={"text": "play maj and dragons"})
        assert answer.status_code == 200
        assert (answer.json()["text"], answer.json()["reason"]) == ("play maj and dragons", "fault")
        assert "rewrite learn" in answer.json()["evidence"]["fault"]
        assert (client.post("/observe", json=record(1)).status_code) == 503


def test_no_call_holds_up_another(example: ModuleType, bundle: str):
    import httpx2

    asking, go_on = threading.Event(), threading.Event()

    class Slow:
        def observe(self, turn: Any) -> None:
            asking.set()
            assert go_on.wait(20)

    async def ask() -> None:
        app = example.service(bundle)
        app.state.engine = Slow()
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
            slow = asyncio.create_task(client.post("/observe", json=example.TURN))
            while not asking.is_set():
                await asyncio.sleep(0.001)
            assert (await client.get("/health")).status_code == 200
            assert not slow.done()
            go_on.set()
            assert (await slow).status_code == 202

    asyncio.run(ask())
