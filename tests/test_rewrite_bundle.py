"""A bundle on disk: what is damaged, foreign or newer is refused by name; a person's word survives."""

import json
import shutil
from pathlib import Path

import pytest

from rewrite import Bundle, RewriteEngine
from rewrite.bundle import MANIFEST, is_ours
from rewrite.decision import Action, Reason
from rewrite.errors import BundleError, DamagedBundle, ForeignBundle, NewerBundle, OlderBundle
from rewrite.job import learn
from rewrite.overrides import FILE
from rewrite.publish import resting
from tests.logs import retries, small_log, write_log

SOURCE, TARGET = "play maj and dragons", "play imagine dragons"
OPENERS = [lambda path: Bundle.open(path, verify=True), RewriteEngine.load]


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("learned")
    learn(write_log(folder / "log.jsonl", small_log()), folder / "bundle")
    return folder / "bundle"


@pytest.fixture
def bundle(learned, tmp_path) -> Path:
    return shutil.copytree(learned, tmp_path / "bundle")


def files_of(bundle: Path) -> list[Path]:
    return sorted(path for path in bundle.rglob("*") if path.is_file())


def refused(path: Path, error: type[BundleError], told: str) -> None:
    for opener in OPENERS:
        with pytest.raises(error, match=told) as caught:
            opener(path)
        assert caught.type is error


# Damage


def test_every_file_is_vouched_for(bundle):
    names = {path.relative_to(bundle).as_posix() for path in files_of(bundle)}
    assert set(Bundle.open(bundle).manifest.files) == names - {MANIFEST}
    assert {"rewrites.parquet", "rewrites.jsonl", "requests.parquet", "histories.parquet", "index/meta.json"} < names


def test_each_file_in_turn_deleted(bundle):
    for path in files_of(bundle):
        kept = path.read_bytes()
        path.unlink()
        if path.name == MANIFEST:
            refused(bundle, ForeignBundle, r"holds no manifest\.json")
        else:
            refused(bundle, DamagedBundle, f"lacks the file .*{path.name}.*Learn it again, or restore it")
        path.write_bytes(kept)
    Bundle.open(bundle, verify=True)


def test_each_file_in_turn_truncated(bundle):
    for path in files_of(bundle):
        kept = path.read_bytes()
        for length in (0, len(kept) // 2, len(kept) - 1):
            if path.name == MANIFEST and length == len(kept) - 1:
                continue  # the last line end says nothing
            if length < len(kept):
                path.write_bytes(kept[:length])
                refused(bundle, DamagedBundle, "Learn it again, or restore it from a copy")
        path.write_bytes(kept)


def test_each_file_in_turn_with_a_byte_flipped(bundle):
    for path in files_of(bundle):
        if path.name == MANIFEST or not path.stat().st_size:
            continue
        kept = path.read_bytes()
        for place in (0, len(kept) // 2, len(kept) - 1):
            path.write_bytes(kept[:place] + bytes([kept[place] ^ 1]) + kept[place + 1 :])
            refused(bundle, DamagedBundle, f"the content of .*{path.name} is not what the manifest vouches for")
        path.write_bytes(kept)


def test_any_byte_of_the_manifest_flipped(bundle):
    path = bundle / MANIFEST
    kept = path.read_bytes()
    for place in range(0, len(kept), 23):
        path.write_bytes(kept[:place] + bytes([kept[place] ^ 1]) + kept[place + 1 :])
        with pytest.raises((DamagedBundle, ForeignBundle, NewerBundle)):
            Bundle.open(bundle, verify=False)


def test_a_damaged_table_is_told_when_it_is_read(bundle):
    opened = Bundle.open(bundle)
    (bundle / "rewrites.parquet").write_bytes(b"PAR1")
    with pytest.raises(DamagedBundle, match=r"rewrites\.parquet cannot be read"):
        list(opened.rewrites())


def test_manifests_that_are_none(bundle):
    path = bundle / MANIFEST
    for raw, error, told in (
        (b"", DamagedBundle, "not readable"),
        (b"{", DamagedBundle, "not readable"),
        (b"[" * 100_000, DamagedBundle, "not readable"),
        (b"\xff", DamagedBundle, "not readable"),
        (b"[]", ForeignBundle, "not the manifest of a reprise-bundle"),
        (b'{"name": "a web app"}', ForeignBundle, "not the manifest of a reprise-bundle"),
        (b'{"format": "reprise-bundle", "version": 1}', OlderBundle, "format 1.* reads 2: learn the bundle again"),
        (b'{"format": "reprise-bundle", "version": 2}', DamagedBundle, "lacks 'counts'"),
        (b'{"format": "reprise-bundle", "version": "1"}', DamagedBundle, "lacks"),
        (b'{"format": "reprise-bundle", "version": 3, "new": 1}', NewerBundle, "format 3.* up to 2: upgrade"),
    ):
        path.write_bytes(raw)
        refused(bundle, error, told)
    path.unlink()
    path.mkdir()
    refused(bundle, DamagedBundle, "not readable")


def test_paths_that_are_no_bundle(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "nothing", BundleError, "no bundle at .*rewrite learn LOG --out")
    refused(tmp_path / "file", BundleError, "no bundle at")
    refused(tmp_path / "folder", ForeignBundle, r"holds no manifest\.json")


def test_what_is_ours_even_damaged(bundle, tmp_path):
    assert is_ours(bundle)
    path = bundle / MANIFEST
    path.write_text(json.dumps({"format": "reprise-bundle", "version": 9}))
    assert is_ours(bundle)
    path.write_text("{")
    assert is_ours(bundle)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / MANIFEST).write_text("{ // a web app's, with a comment")
    assert not is_ours(tmp_path / "site")


def test_arrays_of_another_type_are_refused_without_digests(bundle):
    path = bundle / "index" / "target.npy"
    path.write_bytes(path.read_bytes().replace(b"<i4", b"<u4"))
    Bundle.open(bundle, verify=False)
    with pytest.raises(DamagedBundle, match=r"cannot be served from: .*target\.npy holds .*<u4"):
        RewriteEngine.load(bundle, verify=False)


# A person's word


def test_pins_and_blocks_are_served_and_stay(bundle, tmp_path):
    opened = Bundle.open(bundle)
    opened.edit(pin=("play the smith", "play The Smiths"))
    opened.edit(block=SOURCE)
    assert RewriteEngine.load(bundle, verify=True).rewrite("Play the smith!").text == "play The Smiths"
    learn(write_log(tmp_path / "log.jsonl", small_log()), bundle)
    engine = RewriteEngine.load(bundle, verify=True)
    assert engine.rewrite(SOURCE).reason is Reason.BLOCKED
    assert engine.rewrite("play the smith").reason is Reason.PINNED
    opened.edit(clear=SOURCE)
    assert RewriteEngine.load(bundle).rewrite(SOURCE).text == TARGET


def test_previous_brings_its_word_and_its_rewrites(bundle, tmp_path):
    Bundle.open(bundle).edit(pin=("a", "from previous"), block="b")
    Bundle.open(bundle).edit(pin=("c", "from previous"))
    out = shutil.copytree(bundle, tmp_path / "out")
    Bundle.open(out).edit({"clear": "c"}, pin=("a", "from out"))
    Bundle.open(out).edit(block="c")
    log = write_log(tmp_path / "log.jsonl", retries("play sirius x m chill", "play sirius channel 53", at=1e5))
    learn(log, out, previous=bundle)
    opened = Bundle.open(out, verify=True)
    assert opened.overrides.pinned == {"a": "from out"}
    assert opened.overrides.blocked == {"b", "c"}
    assert {row["source"] for row in opened.rewrites()} == {SOURCE, "play sirius x m chill"}
    assert RewriteEngine.load(out).rewrite(SOURCE).text == TARGET


def test_a_word_through_a_link_reaches_the_bundle(bundle, tmp_path):
    (tmp_path / "link").symlink_to(bundle)
    Bundle.open(tmp_path / "link").edit(block=SOURCE)
    assert RewriteEngine.load(bundle).rewrite(SOURCE).reason is Reason.BLOCKED


def test_a_word_on_a_bundle_that_rests_puts_it_back(bundle):
    bundle.rename(resting(bundle))
    opened = Bundle.open(bundle, verify=True)
    assert RewriteEngine.load(bundle).rewrite(SOURCE).action is Action.REWRITE
    opened.edit(block=SOURCE)
    assert bundle.is_dir()
    assert not resting(bundle).exists()
    assert RewriteEngine.load(bundle).rewrite(SOURCE).reason is Reason.BLOCKED


def test_a_damaged_word_is_refused_and_not_lost(bundle, tmp_path):
    (bundle / FILE).write_text('{"pinned": ')
    refused(bundle, DamagedBundle, r"overrides\.json is not readable.*Mend it by hand, or delete it")
    log = write_log(tmp_path / "log.jsonl", small_log())
    for options in ({}, {"previous": bundle}):
        with pytest.raises(DamagedBundle, match="Mend it by hand, or delete it"):
            learn(log, tmp_path / "other" if options else bundle, **options)
    assert (bundle / FILE).read_text() == '{"pinned": '
    (bundle / FILE).unlink()
    learn(log, bundle)


def test_an_edit_of_a_bundle_that_is_gone(bundle):
    opened = Bundle.open(bundle)
    shutil.rmtree(bundle)
    with pytest.raises(BundleError, match="could not be written"):
        opened.edit(block=SOURCE)
