"""A spaCy component that decides on each Doc, and a front that rewrites before the Doc is made.

    nlp.add_pipe("reprise", first=True, config={"bundle": "build/bundle"})
    doc = nlp("play maj and dragons")
    doc._.rewrite   "play imagine dragons": the text to use
    doc._.reprise   the Decision

The text of a Doc never changes, so the component only tells; `Rewriting` makes the Doc from the rewritten text. Both
keep the decision, and with it what was said, in `doc.user_data["reprise"]` as plain values that spaCy can store. The
user and the context are read from `doc.user_data["user_id"]` and `["context"]`, the recogniser's hypotheses and its
confidence from `["nbest"]` and `["asr_confidence"]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rewrite.adapters import Hypothesis, Rewriter, decide, from_plain, open_engine, text_to_use
from rewrite.decision import Decision

try:
    from spacy.language import Language
    from spacy.tokens import Doc
except ImportError as error:
    raise ImportError('spaCy is missing: pip install "reprise-rewrite[spacy]"') from error

NAME = "reprise"


class RepriseComponent:
    """Decides on Docs. What is stored of it is the configuration alone; the bundle is opened anew."""

    def __init__(self, bundle: str, settings: Mapping[str, Any]) -> None:
        self.bundle = bundle
        self.settings = dict(settings)
        self.engine: Rewriter = open_engine(bundle, settings)

    def __call__(self, doc: Doc) -> Doc:
        """Puts the decision into `doc.user_data`, unless a front has already."""
        if NAME not in doc.user_data:
            asked = doc.user_data
            decision = decide(
                self.engine, doc.text, asked.get("user_id"), asked.get("context"), asked.get("nbest") or (),
                asked.get("asr_confidence"),
            )  # fmt: skip
            doc.user_data[NAME] = decision.as_dict()
        return doc

    def __reduce__(self) -> tuple[type[RepriseComponent], tuple[str, dict[str, Any]]]:
        return type(self), (self.bundle, self.settings)


class Rewriting:
    """A pipeline that is given what should have been said.

    >>> rewriting = Rewriting(nlp, RewriteEngine.load("build/bundle"))  # doctest: +SKIP
    >>> rewriting("play maj and dragons", user_id="u1").text  # doctest: +SKIP
    'play imagine dragons'
    """

    def __init__(self, nlp: Language, engine: Rewriter) -> None:
        self.nlp = nlp
        self.engine = engine

    def __call__(
        self,
        text: str,
        user_id: str | None = None,
        context: Mapping[str, Any] | None = None,
        nbest: Sequence[Hypothesis] = (),
        asr_confidence: float | None = None,
    ) -> Doc:
        """The Doc of the text to use, through the whole pipeline."""
        return self.nlp(self.make_doc(text, user_id, context, nbest, asr_confidence))

    def pipe(self, requests: Iterable[tuple[str, str | None]], **options: Any) -> Iterator[Doc]:
        """The Docs of a stream of (text, user id); the options are those of `nlp.pipe`."""
        return iter(self.nlp.pipe((self.make_doc(text, user) for text, user in requests), **options))

    def make_doc(
        self,
        text: str,
        user_id: str | None = None,
        context: Mapping[str, Any] | None = None,
        nbest: Sequence[Hypothesis] = (),
        asr_confidence: float | None = None,
    ) -> Doc:
        """The tokens of the text to use, with the decision."""
        decision = decide(self.engine, text, user_id, context, nbest, asr_confidence)
        doc = self.nlp.make_doc(text_to_use(decision))
        doc.user_data[NAME] = decision.as_dict()
        return doc


def create(nlp: Language, name: str, bundle: str, engine: dict[str, Any]) -> RepriseComponent:
    """spaCy's factory `reprise`: `bundle` is a folder, `engine` as in `rewrite.adapters.engine_config`."""
    return RepriseComponent(bundle, engine)


def _decision(doc: Doc) -> Decision | None:
    plain = doc.user_data.get(NAME)
    return None if plain is None else from_plain(plain)


def _rewrite(doc: Doc) -> str:
    decision = _decision(doc)
    return str(doc.text) if decision is None else text_to_use(decision)


Doc.set_extension(NAME, getter=_decision, force=True)
Doc.set_extension("rewrite", getter=_rewrite, force=True)
Language.factory(
    NAME, default_config={"engine": {}}, assigns=[f"doc._.{NAME}", "doc._.rewrite"], func=create
)
