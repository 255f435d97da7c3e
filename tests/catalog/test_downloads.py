"""Downloads: into the cache of the Hub's tools, whole or not at all, going on where they stopped."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from catalog import download_child
from catalog.download_child import Teller, fetch_plan
from catalog.downloads import Download, DownloadPlan, DownloadState, Room, check_room, find_cached
from catalog.hub import Hub
from catalog.hub_cache import find_blob_path, find_partial_path, find_repo_dir, hold_blob
from catalog.imported import HubFile
from sizing.errors import HubError
from sizing.units import GIB, KIB, MIB
from tests.catalog.model_hub import Fault, ModelFile, ModelHub, ModelRepository

TOKEN = "hf_InventedForTheTests0123"
REPO = "ada/tiny-GGUF"
WEIGHTS = os.urandom(3 * MIB + 123)
CARD = b"# tiny\n"
PATH = "sub/tiny-Q4_K_M.gguf"
PARTS = [f"F16/tiny-F16-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
LARGE = ModelFile(WEIGHTS, told_sha256=SHA256)
PART_CONTENTS = [bytes([i]) * (300 * KIB + i) for i in (1, 2, 3)]


def make_part(content):
    return ModelFile(content, told_sha256=hashlib.sha256(content).hexdigest())


@pytest.fixture
def model_hub(monkeypatch):
    for name in ("HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_SYMLINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    files = {PATH: LARGE, "README.md": CARD, **dict(zip(PARTS, map(make_part, PART_CONTENTS)))}
    repositories = [
        ModelRepository(REPO, files),
        ModelRepository("locked/model", {"m.gguf": LARGE}, gated="auto", readers=[TOKEN]),
    ]
    with ModelHub(repositories, tokens=[TOKEN]) as hub:
        yield hub


class Pauses(list):
    def __call__(self, seconds):
        self.append(seconds)


class Told(Teller):
    """Keeps what a child would have said."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def tell(self, status, n_bytes=0, **more):
        self.lines.append((status, self.done_bytes + n_bytes))


def plan_of(model_hub, *paths, repo_id=REPO, **options):
    found = Hub(model_hub.url, TOKEN).fetch_repository(repo_id)
    files = tuple(file for file in found.files if file.path in (paths or (PATH,)))
    model_hub.asked.clear()
    return DownloadPlan(repo_id, found.revision, files, **options)


def fetch(model_hub, plan, cache, token="", pauses=None, told=None):
    """A plan carried out in this process."""
    hub = Hub(model_hub.url, token, timeout_s=5, wait=Pauses())
    return fetch_plan(hub, plan, cache, told or Told(), Pauses() if pauses is None else pauses)


def fail(model_hub, plan, cache, **options):
    with pytest.raises(HubError) as caught:
        fetch(model_hub, plan, cache, **options)
    return caught.value


def cdn(path=PATH, content=WEIGHTS):
    return f"cdn:/{REPO}/{hashlib.sha256(content).hexdigest()}/{path}"


def start_partial(plan, cache, n_bytes, content=WEIGHTS):
    """What an earlier try left."""
    partial = find_partial_path(find_blob_path(cache, REPO, plan.files[0].sha256))
    partial.parent.mkdir(parents=True)
    partial.write_bytes(content[:n_bytes])
    return partial


# --- the file


def test_a_file_comes_whole_into_the_layout_of_the_hubs_tools(model_hub, tmp_path):
    plan = plan_of(model_hub)
    path = fetch(model_hub, plan, tmp_path)
    assert path == tmp_path / "models--ada--tiny-GGUF/snapshots" / plan.revision / PATH
    assert path.read_bytes() == WEIGHTS
    assert path.is_symlink() and path.readlink() == Path(f"../../../blobs/{SHA256}")
    assert find_cached(plan, plan.files[0], tmp_path) == path
    assert list(path.resolve().parent.iterdir()) == [path.resolve()]  # nothing half beside it


def test_the_hubs_own_library_finds_what_was_fetched(model_hub, tmp_path):
    from huggingface_hub import hf_hub_download, scan_cache_dir

    plan = plan_of(model_hub, PATH, "README.md", ref="main")
    fetch(model_hub, plan, tmp_path)
    model_hub.asked.clear()
    for revision in (plan.revision, "main"):
        found = hf_hub_download(REPO, PATH, revision=revision, cache_dir=tmp_path, local_files_only=True)
        assert Path(found).read_bytes() == WEIGHTS
    hf_hub_download(REPO, "README.md", endpoint=model_hub.url, cache_dir=tmp_path, token=False)
    assert model_hub.list_asked(method="GET") == []  # a HEAD told that all is there
    (repository,) = scan_cache_dir(tmp_path).repos
    assert (repository.repo_id, repository.size_on_disk) == (REPO, len(WEIGHTS) + len(CARD))
    assert scan_cache_dir(tmp_path).warnings == []


def test_what_the_hubs_own_library_fetched_is_found(model_hub, tmp_path):
    from huggingface_hub import hf_hub_download

    plan = plan_of(model_hub, PATH, "README.md")
    for file in plan.files:
        hf_hub_download(REPO, file.path, endpoint=model_hub.url, cache_dir=tmp_path, token=False)
    model_hub.asked.clear()
    fetch(model_hub, plan, tmp_path)
    assert model_hub.asked == []
    assert check_room(plan, tmp_path).needed_bytes == 0


def test_a_file_that_is_there_is_checked_and_nothing_asked(model_hub, tmp_path):
    plan = plan_of(model_hub)
    path = fetch(model_hub, plan, tmp_path)
    model_hub.asked.clear()
    told = Told()
    assert fetch(model_hub, plan, tmp_path, told=told) == path
    assert model_hub.asked == [] and {status for status, _ in told.lines} == {"verifying"}


def test_content_that_another_commit_has_is_linked_and_not_fetched(model_hub, tmp_path):
    plan = plan_of(model_hub)
    fetch(model_hub, plan, tmp_path)
    model_hub.asked.clear()
    other = DownloadPlan(REPO, "ab" * 20, plan.files)
    assert check_room(other, tmp_path).needed_bytes == 0
    assert fetch(model_hub, other, tmp_path).read_bytes() == WEIGHTS
    assert model_hub.asked == []


def test_a_split_model_is_one_plan_with_one_progress(model_hub, tmp_path):
    plan = plan_of(model_hub, *PARTS)
    assert plan.total_bytes == sum(map(len, PART_CONTENTS))
    told = Told()
    first = fetch(model_hub, plan, tmp_path, told=told)
    assert first.name == "tiny-F16-00001-of-00003.gguf"
    assert [path.read_bytes() for path in sorted(first.parent.iterdir())] == PART_CONTENTS
    come = [n for status, n in told.lines if status == "downloading"]
    assert come == sorted(come) and come[-1] == plan.total_bytes


def test_a_small_file_is_held_against_gits_hash(model_hub, tmp_path):
    plan = plan_of(model_hub, "README.md")
    path = fetch(model_hub, plan, tmp_path)
    assert path.resolve().name == hashlib.sha1(b"blob 7\0" + CARD).hexdigest()
    path.resolve().write_bytes(b"# evil\n")
    assert fail(model_hub, plan, tmp_path).kind == "checksum"
    assert fetch(model_hub, plan, tmp_path).read_bytes() == CARD


# --- going on


def test_a_begun_file_goes_on_at_the_byte_where_it_stopped(model_hub, tmp_path):
    plan = plan_of(model_hub)
    start_partial(plan, tmp_path, 1_234_567)
    assert check_room(plan, tmp_path).needed_bytes == len(WEIGHTS) - 1_234_567
    assert fetch(model_hub, plan, tmp_path).read_bytes() == WEIGHTS
    (asked,) = model_hub.list_asked("cdn")
    assert asked.span == (1_234_567, len(WEIGHTS) - 1)
    assert asked.n_sent == len(WEIGHTS) - 1_234_567


def test_a_cut_connection_goes_on_at_the_byte_where_it_broke(model_hub, tmp_path):
    plan = plan_of(model_hub)
    model_hub.faults[cdn()] = Fault(after_bytes=MIB, is_cut=True, times=2)
    pauses = Pauses()
    assert fetch(model_hub, plan, tmp_path, pauses=pauses).read_bytes() == WEIGHTS
    assert [a.span[0] for a in model_hub.list_asked("cdn")] == [0, MIB, 2 * MIB]
    assert pauses == [1.0, 1.0]  # each try brought something, so the pause does not grow


def test_a_connection_that_breaks_in_vain_is_given_up_and_the_part_stays(model_hub, tmp_path):
    plan = plan_of(model_hub)
    partial = start_partial(plan, tmp_path, MIB)
    model_hub.faults[cdn()] = Fault(after_bytes=0, is_cut=True)
    pauses = Pauses()
    assert fail(model_hub, plan, tmp_path, pauses=pauses).kind == "lost"
    assert pauses == [1.0, 2.0, 4.0, 8.0]
    assert partial.read_bytes() == WEIGHTS[:MIB]
    model_hub.faults.clear()
    assert fetch(model_hub, plan, tmp_path).read_bytes() == WEIGHTS


def test_a_server_without_ranges_sends_it_from_the_start(model_hub, tmp_path):
    plan = plan_of(model_hub)
    start_partial(plan, tmp_path, MIB)
    model_hub.faults[cdn()] = Fault(ignores_range=True)
    assert fetch(model_hub, plan, tmp_path).read_bytes() == WEIGHTS


def test_what_a_server_without_ranges_sends_replaces_all_that_was_there(model_hub, tmp_path):
    plan = plan_of(model_hub)
    start_partial(plan, tmp_path, MIB, b"x" * MIB)
    model_hub.faults[cdn()] = Fault(ignores_range=True, after_bytes=MIB // 2, is_cut=True, times=1)
    assert fetch(model_hub, plan, tmp_path).read_bytes() == WEIGHTS
    assert [a.span[0] for a in model_hub.list_asked("cdn")] == [MIB, MIB // 2]


def test_a_part_longer_than_the_file_is_begun_anew(model_hub, tmp_path):
    plan = plan_of(model_hub)
    start_partial(plan, tmp_path, None, WEIGHTS + b"more")
    assert fetch(model_hub, plan, tmp_path).read_bytes() == WEIGHTS


def test_a_whole_part_is_checked_and_not_asked_for(model_hub, tmp_path):
    plan = plan_of(model_hub)
    start_partial(plan, tmp_path, None)
    assert fetch(model_hub, plan, tmp_path).read_bytes() == WEIGHTS
    assert model_hub.asked == []


def test_a_long_file_is_asked_for_in_segments(model_hub, tmp_path, monkeypatch):
    monkeypatch.setattr(download_child, "SEGMENT_BYTES", MIB)
    assert fetch(model_hub, plan_of(model_hub), tmp_path).read_bytes() == WEIGHTS
    assert [a.span for a in model_hub.list_asked("cdn")] == [
        (0, MIB - 1),
        (MIB, 2 * MIB - 1),
        (2 * MIB, 3 * MIB - 1),
        (3 * MIB, len(WEIGHTS) - 1),
    ]


# --- what is not the file


def test_wrong_content_is_removed_and_never_in_its_place(model_hub, tmp_path):
    plan = plan_of(model_hub)
    partial = start_partial(plan, tmp_path, MIB, b"x" * MIB)
    error = fail(model_hub, plan, tmp_path)
    assert error.kind == "checksum" and "removed" in str(error)
    assert not partial.exists()
    assert find_cached(plan, plan.files[0], tmp_path) is None
    assert not find_blob_path(tmp_path, REPO, SHA256).exists()
    assert fetch(model_hub, plan, tmp_path).read_bytes() == WEIGHTS


def test_content_that_rotted_in_the_cache_is_removed(model_hub, tmp_path):
    plan = plan_of(model_hub)
    path = fetch(model_hub, plan, tmp_path)
    content = bytearray(WEIGHTS)
    content[MIB] ^= 1
    path.resolve().write_bytes(bytes(content))
    assert fail(model_hub, plan, tmp_path).kind == "checksum"
    assert fetch(model_hub, plan, tmp_path).read_bytes() == WEIGHTS


def test_a_file_that_became_another_is_not_fetched(model_hub, tmp_path):
    plan = plan_of(model_hub)
    target = f"{model_hub.cdn_url}/{REPO}/{SHA256}/{PATH}"
    model_hub.faults[f"/{REPO}/resolve/{plan.revision}/{PATH}"] = Fault(
        location=target, headers={"X-Linked-Etag": f'"{"0" * 64}"'}
    )
    error = fail(model_hub, plan, tmp_path)
    assert error.kind == "checksum" and "look it up again" in str(error)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(headers={"Content-Range": f"bytes 0-{len(WEIGHTS) - 1}/{len(WEIGHTS) + 5}"}), "size"),
        (Fault(headers={"Content-Range": "bytes 7-9/100"}), "range"),
        (Fault(status=416), "range"),
        (Fault(body=WEIGHTS + b"more"), "size"),
        (Fault(body=WEIGHTS + b"more", headers={"Content-Length": ""}, is_cut=True), "size"),
        (Fault(body=b"<html>sign in</html>"), "size"),
        (Fault(status=403), "token"),
        (Fault(status=500), "server"),
    ],
)
def test_answers_that_are_not_the_file(model_hub, tmp_path, fault, kind):
    plan = plan_of(model_hub)
    model_hub.faults[cdn()] = fault
    assert fail(model_hub, plan, tmp_path).kind == kind
    assert find_cached(plan, plan.files[0], tmp_path) is None


def test_a_gated_file_wants_a_reader(model_hub, tmp_path):
    plan = plan_of(model_hub, "m.gguf", repo_id="locked/model")
    assert fail(model_hub, plan, tmp_path).kind == "gated"
    assert fetch(model_hub, plan, tmp_path, token=TOKEN).read_bytes() == WEIGHTS
    assert all("authorization" not in a.headers for a in model_hub.list_asked("cdn"))


def test_a_file_that_is_gone_is_missing(model_hub, tmp_path):
    plan = DownloadPlan(REPO, plan_of(model_hub).revision, (HubFile("gone.gguf", 5, "0" * 64),))
    assert fail(model_hub, plan, tmp_path).kind == "missing"


def test_a_busy_hub_says_when_to_come_back(model_hub, tmp_path):
    plan = plan_of(model_hub)
    model_hub.faults[f"/{REPO}/resolve/{plan.revision}/{PATH}"] = Fault(status=429, headers={"Retry-After": "600"})
    error = fail(model_hub, plan, tmp_path)
    assert (error.kind, error.retry_after_s) == ("busy", 600.0)


# --- the folder


def test_another_program_at_the_same_file_is_not_disturbed(model_hub, tmp_path):
    from filelock import FileLock, Timeout

    plan = plan_of(model_hub)
    lock_path = tmp_path / ".locks/models--ada--tiny-GGUF" / f"{SHA256}.lock"
    lock_path.parent.mkdir(parents=True)
    with FileLock(lock_path):  # as the Hub's own library does
        error = fail(model_hub, plan, tmp_path)
        assert error.kind == "busy" and "another program" in str(error)
    with hold_blob(tmp_path, REPO, SHA256), pytest.raises(Timeout):
        FileLock(lock_path, timeout=0.05).acquire()
    assert fetch(model_hub, plan, tmp_path).read_bytes() == WEIGHTS


def test_a_planted_link_in_the_snapshot_is_replaced_and_its_target_left_alone(model_hub, tmp_path):
    plan = plan_of(model_hub)
    outside = tmp_path / "outside"
    outside.write_bytes(WEIGHTS)
    cache = tmp_path / "cache"
    pointer = find_repo_dir(cache, REPO) / "snapshots" / plan.revision / PATH
    pointer.parent.mkdir(parents=True)
    pointer.symlink_to(outside)
    assert find_cached(plan, plan.files[0], cache) is None
    path = fetch(model_hub, plan, cache)
    assert path.resolve() == find_blob_path(cache, REPO, SHA256).resolve()
    assert outside.read_bytes() == WEIGHTS


def test_planted_links_to_write_through_are_refused(model_hub, tmp_path):
    plan = plan_of(model_hub)
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    cache = tmp_path / "cache"
    blobs = find_repo_dir(cache, REPO) / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{SHA256}.weighbridge.incomplete").symlink_to(outside)
    with pytest.raises(OSError):
        fetch(model_hub, plan, cache)
    (blobs / f"{SHA256}.weighbridge.incomplete").unlink()
    (blobs / SHA256).symlink_to(outside)
    assert fetch(model_hub, plan, cache).resolve() == (blobs / SHA256).resolve()
    assert outside.read_bytes() == b"mine"


def test_a_snapshot_folder_that_leads_out_is_refused(model_hub, tmp_path):
    plan = plan_of(model_hub)
    cache, outside = tmp_path / "cache", tmp_path / "outside"
    outside.mkdir()
    snapshot = find_repo_dir(cache, REPO) / "snapshots" / plan.revision
    snapshot.mkdir(parents=True)
    (snapshot / "sub").symlink_to(outside)
    error = fail(model_hub, plan, cache)
    assert error.kind == "disk" and "leads out" in str(error)
    assert list(outside.iterdir()) == []


def test_a_cache_that_is_a_link_itself_is_used(model_hub, tmp_path):
    real = tmp_path / "big disk"
    real.mkdir()
    (tmp_path / "cache").symlink_to(real)
    assert fetch(model_hub, plan_of(model_hub), tmp_path / "cache").read_bytes() == WEIGHTS


def test_without_links_the_file_itself_is_in_the_snapshot(model_hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_SYMLINKS", "1")
    plan = plan_of(model_hub)
    path = fetch(model_hub, plan, tmp_path)
    assert path.read_bytes() == WEIGHTS and not path.is_symlink()
    assert fetch(model_hub, plan, tmp_path) == path


def test_a_ref_that_is_noted_already_stays(model_hub, tmp_path):
    plan = plan_of(model_hub, "README.md", ref="main")
    ref = find_repo_dir(tmp_path, REPO) / "refs/main"
    fetch(model_hub, plan, tmp_path)
    assert ref.read_text() == plan.revision
    ref.write_text("f" * 40)
    fetch(model_hub, plan, tmp_path)
    assert ref.read_text() == "f" * 40


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "full"), (errno.EDQUOT, "full"), (errno.EACCES, "rights"), (errno.EROFS, "rights")],
)
def test_what_the_disk_refuses_is_said_in_words(code, words):
    assert words in download_child.explain_os_error(OSError(code, os.strerror(code)))


# --- plan and room


@pytest.mark.parametrize(
    "wrong",
    [
        {"repo_id": "../x"},
        {"revision": "main"},
        {"files": (HubFile("../x", 1),)},
        {"files": (HubFile("x", None),)},
        {"files": ()},
        {"files": (HubFile("x", 1), HubFile("x", 1))},
        {"ref": "../main"},
    ],
)
def test_a_plan_that_cannot_be_is_refused(wrong):
    sound = {"repo_id": REPO, "revision": "0" * 40, "files": (HubFile("x", 1),)}
    with pytest.raises(HubError):
        DownloadPlan(**{**sound, **wrong})


def test_room_keeps_some_of_the_disk_free(tmp_path):
    plan = DownloadPlan(REPO, "0" * 40, (HubFile("x", 10 * GIB, "0" * 64),))
    ample = check_room(plan, tmp_path, lambda _: (12 * GIB, 1000 * GIB))
    assert (ample.needed_bytes, ample.free_bytes, ample.kept_bytes, ample.is_enough) == (10 * GIB, 12 * GIB, GIB, True)
    tight = check_room(plan, tmp_path, lambda _: (11 * GIB - 1, 1000 * GIB))
    assert not tight.is_enough and "make room" in tight.describe()
    assert check_room(plan, tmp_path, lambda _: (11 * GIB, 20 * GIB)).kept_bytes == 20 * GIB // 50
    assert Room(0, 0, GIB).is_enough


def test_room_is_looked_for_where_the_folder_will_be(tmp_path):
    plan = DownloadPlan(REPO, "0" * 40, (HubFile("x", 1, "0" * 64),))
    assert check_room(plan, tmp_path / "not/yet/there").free_bytes > 0


# --- the child


def open_download(model_hub, plan, cache, **options):
    return Download(plan, cache_dir=cache, endpoint=model_hub.url, **{"token": "", **options})


def wait_for(download, is_so, timeout_s=15.0):
    """The first state of which `is_so` holds."""
    deadline = time.monotonic() + timeout_s
    while not is_so(state := download.state):
        assert time.monotonic() < deadline, state
        time.sleep(0.01)
    return state


def test_a_child_fetches_it_all(model_hub, tmp_path):
    plan = plan_of(model_hub, *PARTS, PATH)
    download = open_download(model_hub, plan, tmp_path)
    assert download.state == DownloadState("waiting", 0, plan.total_bytes)
    download.start()
    assert download.state.status in ("checking", "downloading", "verifying", "done")
    state = download.wait(20)
    assert (state.status, state.n_bytes, state.problem) == ("done", plan.total_bytes, None)
    assert state.path is not None and state.path.read_bytes() == PART_CONTENTS[0]
    assert all(find_cached(plan, file, tmp_path) for file in plan.files)


def test_a_stopped_download_goes_on_where_it_was(model_hub, tmp_path):
    plan = plan_of(model_hub)
    model_hub.faults[cdn()] = Fault(drip_s=0.03)
    download = open_download(model_hub, plan, tmp_path)
    download.start()
    state = wait_for(download, lambda state: state.n_bytes > 300_000 and state.bytes_per_s)
    assert state.status == "downloading" and 100_000 < state.bytes_per_s < 10 * MIB
    assert state.seconds_left > 0
    download.stop()
    assert download.state.status == "stopped" and download.state.is_over
    partial = find_partial_path(find_blob_path(tmp_path, REPO, SHA256))
    n_there = partial.stat().st_size
    assert 0 < n_there < len(WEIGHTS) and find_cached(plan, plan.files[0], tmp_path) is None
    model_hub.faults.clear()
    download.start()
    assert download.wait(20).status == "done"
    assert model_hub.list_asked("cdn")[-1].span == (n_there, len(WEIGHTS) - 1)
    assert download.state.path.read_bytes() == WEIGHTS


def test_a_killed_child_is_said_and_goes_on(model_hub, tmp_path):
    plan = plan_of(model_hub)
    model_hub.faults[cdn()] = Fault(drip_s=0.03)
    download = open_download(model_hub, plan, tmp_path)
    download.start()
    wait_for(download, lambda state: state.n_bytes > 100_000)
    download._child.kill()
    state = download.wait(10)
    assert (state.status, state.kind) == ("failed", "lost")
    assert "SIGKILL" in state.problem and "goes on where it was" in state.problem
    model_hub.faults.clear()
    download.start()
    assert download.wait(20).status == "done"


def test_a_second_start_of_the_same_file_says_that_one_is_under_way(model_hub, tmp_path):
    plan = plan_of(model_hub)
    model_hub.faults[cdn()] = Fault(drip_s=0.05)
    first, second = (open_download(model_hub, plan, tmp_path) for _ in range(2))
    first.start()
    wait_for(first, lambda state: state.n_bytes > 0)
    second.start()
    first.start()  # nothing, it is under way
    state = second.wait(10)
    assert (state.status, state.kind) == ("failed", "busy")
    assert first.state.status == "downloading"
    first.stop()


@pytest.mark.parametrize("token", ["", TOKEN])
def test_failures_come_from_the_child_with_their_kind(model_hub, tmp_path, token):
    plan = plan_of(model_hub, "m.gguf", repo_id="locked/model")
    download = open_download(model_hub, plan, tmp_path, token=token)
    download.start()
    state = download.wait(20)
    assert (state.status, state.kind) == (("done", None) if token else ("failed", "gated"))


def test_too_little_room_is_said_before_anything_is_asked(model_hub, tmp_path):
    plan = plan_of(model_hub)
    download = open_download(model_hub, plan, tmp_path, find_free=lambda _: (MIB, 100 * GIB))
    download.start()
    assert (download.state.status, download.state.kind) == ("failed", "disk")
    assert "no room" in download.state.problem and model_hub.asked == []
    assert download.wait(1).status == "failed"


def test_a_folder_that_cannot_be_written_is_a_disk_failure(model_hub, tmp_path):
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    download = open_download(model_hub, plan_of(model_hub), tmp_path / "cache")
    download.start()
    state = download.wait(20)
    assert (state.status, state.kind) == ("failed", "disk") and "HF_HUB_CACHE" in state.problem


def test_the_token_stands_neither_in_arguments_nor_in_the_childs_environment(model_hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    plan = plan_of(model_hub, "m.gguf", repo_id="locked/model")
    model_hub.faults[f"cdn:/locked/model/{SHA256}/m.gguf"] = Fault(drip_s=0.05)
    download = open_download(model_hub, plan, tmp_path, token=TOKEN)
    download.start()
    wait_for(download, lambda state: state.n_bytes > 0)
    told = Path(f"/proc/{download._child.pid}")
    if told.exists():
        assert TOKEN.encode() not in (told / "cmdline").read_bytes() + (told / "environ").read_bytes()
    assert TOKEN not in repr(download) + repr(vars(download))
    download.stop()


def test_a_download_ends_with_the_app(model_hub, tmp_path):
    """The app is a process here that starts a download and dies at once."""
    plan = plan_of(model_hub)
    model_hub.faults[cdn()] = Fault(drip_s=0.05)
    code = (
        "import json, os, sys, time\nfrom pathlib import Path\n"
        "from catalog.downloads import Download, DownloadPlan\nfrom catalog.imported import HubFile\n"
        "url, cache, revision, path, size, sha = json.loads(sys.argv[1])\n"
        f"plan = DownloadPlan({REPO!r}, revision, (HubFile(path, size, sha),))\n"
        "download = Download(plan, cache_dir=Path(cache), endpoint=url, token='')\n"
        "download.start()\n"
        "while not download.state.n_bytes: time.sleep(0.01)\n"
        "print(download._child.pid, flush=True)\nos._exit(0)\n"
    )
    orders = json.dumps([model_hub.url, str(tmp_path), plan.revision, PATH, len(WEIGHTS), SHA256])
    done = subprocess.run([sys.executable, "-c", code, orders], capture_output=True, text=True, timeout=30, check=True)
    pid = int(done.stdout)
    deadline = time.monotonic() + 5
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_state_may_be_asked_from_many_threads(model_hub, tmp_path):
    plan = plan_of(model_hub)
    download = open_download(model_hub, plan, tmp_path)
    seen = []

    def watch():
        while not download.state.is_over:
            seen.append(download.state)
            time.sleep(0.002)

    download.start()
    watchers = [threading.Thread(target=watch) for _ in range(4)]
    for watcher in watchers:
        watcher.start()
    assert download.wait(20).status == "done"
    for watcher in watchers:
        watcher.join(5)
    assert all(0 <= state.n_bytes <= plan.total_bytes for state in seen)


def test_a_blob_in_the_store_that_repositories_share_counts_as_there(model_hub, tmp_path):
    """The layout of huggingface_hub/utils/_shared_blobs.py: the repository's blob is a link into the cache's own."""
    plan = plan_of(model_hub)
    shared = tmp_path / "blobs/ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    shared.write_bytes(WEIGHTS)
    blob = find_blob_path(tmp_path, REPO, SHA256)
    blob.parent.mkdir(parents=True)
    blob.symlink_to(os.path.relpath(shared, blob.parent))
    assert check_room(plan, tmp_path).needed_bytes == 0
    path = fetch(model_hub, plan, tmp_path)
    assert path.resolve() == shared.resolve() and model_hub.asked == []
    assert find_cached(plan, plan.files[0], tmp_path) == path
