"""Publishing: a reader finds the old folder or the new one, whole, whatever is killed and whoever comes between."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from rewrite.errors import BundleError, BusyError
from rewrite.publish import (
    draft_of,
    locked,
    real,
    resting,
    restore,
    steadily,
    swap_by_renames,
    swap_in,
    write_beside,
)
from tests.children import CHILDREN, KILLED, die_before, run


def make(folder: Path, content: str) -> Path:
    (folder / "index").mkdir(parents=True)
    for name in ("a", "index/b"):
        (folder / name).write_text(content)
    return folder


def content(folder: Path) -> str:
    first, second = (folder / "a").read_text(), (folder / "index" / "b").read_text()
    assert first == second
    return first


# Swapping


@pytest.mark.parametrize("swap", [swap_in, swap_by_renames])
def test_the_new_folder_takes_the_place_of_the_old(tmp_path, swap):
    path = make(tmp_path / "b", "old")
    swap(make(draft_of(path), "new"), path)
    assert content(path) == "new"
    assert os.listdir(tmp_path) == ["b"]


def test_the_first_folder_is_simply_renamed(tmp_path):
    swap_in(make(tmp_path / "b.draft", "new"), tmp_path / "b")
    assert content(tmp_path / "b") == "new"


def swap_killed_before(path: Path, event: str, place: int) -> None:
    die_before(event, place=place)
    swap_by_renames(draft_of(path), path)


@pytest.mark.parametrize(
    ("event", "place", "left"),
    [("os.rename", 1, "old"), ("os.rename", 2, "old"), ("shutil.rmtree", 2, "new")],
)
def test_a_swap_by_renames_may_be_killed_anywhere(tmp_path, event, place, left):
    path = make(tmp_path / "b", "old")
    make(draft_of(path), "new")
    assert run(swap_killed_before, path, event, place) == KILLED
    assert steadily(path, content) == left
    restore(path)
    assert content(path) == left
    shutil.rmtree(draft_of(path), ignore_errors=True)
    swap_in(make(draft_of(path), "newer"), path)
    assert steadily(path, content) == "newer"


def test_what_rests_is_put_back_only_where_nothing_stands(tmp_path):
    path = make(tmp_path / "b", "new")
    make(resting(path), "old")
    restore(path)
    assert content(path) == "new"
    shutil.rmtree(path)
    restore(path)
    assert content(path) == "old"
    assert not resting(path).exists()


def test_a_folder_that_a_person_named_previous_is_left_alone(tmp_path):
    path, kept = make(tmp_path / "b", "old"), make(tmp_path / "b.previous", "mine")
    swap_by_renames(make(draft_of(path), "new"), path)
    assert content(kept) == "mine"


def test_a_reader_never_sees_a_mixture(tmp_path):
    path = make(tmp_path / "b", "0")
    done = threading.Event()

    def swapping() -> None:
        for number in range(60):
            (swap_in if number % 2 else swap_by_renames)(make(draft_of(path), str(number)), path)
        done.set()

    swapper = threading.Thread(target=swapping)
    swapper.start()
    while not done.is_set():
        assert steadily(path, content)
    swapper.join()


def test_a_fault_of_the_folder_itself_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        steadily(make(tmp_path / "b", "old"), lambda place: (place / "missing").read_text())


def test_a_folder_that_changes_for_ever_is_given_up(tmp_path):
    path = make(tmp_path / "b", "old")

    def read(place: Path) -> str:
        swap_by_renames(make(draft_of(path), "new"), path)
        return content(place)

    with pytest.raises(BundleError, match="again and again"):
        steadily(path, read)


# Locks


def test_the_second_is_told_who_holds_the_lock(tmp_path):
    with locked(tmp_path / "b", "learn"):
        told = rf"b is in use: process {os.getpid()} holds .*b\.learn\.lock to learn"
        with pytest.raises(BusyError, match=told), locked(tmp_path / "b", "learn"):
            pass
        with locked(tmp_path / "b", "edit"), locked(tmp_path / "c", "learn"):
            pass
    with locked(tmp_path / "b", "learn"):
        pass


def test_two_names_of_one_folder_share_the_lock(tmp_path, monkeypatch):
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "b")
    monkeypatch.chdir(tmp_path / "b")
    with locked(tmp_path / "link", "learn"):
        for other in (tmp_path / "b", Path(".")):
            with pytest.raises(BusyError), locked(other, "learn"):
                pass
    assert real(".") == tmp_path / "b"


def hold(path: Path, held) -> None:
    with locked(path, "learn"):
        held.set()
        threading.Event().wait(60)


def test_a_killed_holder_frees_the_lock(tmp_path):
    held = CHILDREN.Event()
    child = CHILDREN.Process(target=hold, args=(tmp_path / "b", held))
    child.start()
    assert held.wait(30)
    with pytest.raises(BusyError, match=f"process {child.pid} "), locked(tmp_path / "b", "learn"):
        pass
    child.kill()
    child.join()
    with locked(tmp_path / "b", "learn"):
        pass


def test_a_lock_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    told = r"nothing can be written in .*file \("
    with pytest.raises(BundleError, match=told), locked(tmp_path / "file" / "b", "learn"):
        pass


# One file


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "f"
    write_beside(path, b"old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_beside(tmp_path / "folder", b"new")
    assert path.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["f", "folder"]
