"""The download, against a server on loopback that answers as the hub does."""
from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import re
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinylm.errors import DataMissing, TinylmError, UsageError
from tinylm.text import download
from tinylm.text.dataset import prepare
from tinylm.text.download import FILES, find_tinystories, get_tinystories, parse_size
from tinylm.text.tokenizer import END_OF_TEXT

TRAIN, VALID = FILES["train"], FILES["valid"]
PREFIX = f"/datasets/{download.REPOSITORY}/resolve/main/"


def story_file(first: int, count: int) -> bytes:
    return "".join(f"Once there was a fox with the number {i}. It said “hello”.\n{END_OF_TEXT}\n"
                   for i in range(first, first + count)).encode()


class Hub:
    """What the server holds, how it misbehaves, and what it was asked."""

    def __init__(self):
        self.files = {TRAIN: story_file(0, 3000), VALID: story_file(9000, 300)}
        self.asked: list[tuple[str, str, str | None]] = []
        self.cut_after: list[int] = []     # bytes after which the next answers break off
        self.statuses: list[int] = []      # answers to the next GETs instead of content
        self.ranges = True                 # whether it honours Range
        self.etag: dict[str, str] = {}     # instead of the true sha256
        self.announce_size = True

    def etag_of(self, name: str) -> str:
        return self.etag.get(name) or hashlib.sha256(self.files[name]).hexdigest()

    def received(self, name: str) -> list[str | None]:
        """The ranges asked for, in order."""
        return [span for method, path, span in self.asked if method == "GET" and path.endswith(name)]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        """The hub redirects to its storage, with what matters in headers of its own."""
        self.hub.asked.append(("HEAD", self.path, None))
        name = self.path.rsplit("/", 1)[-1]
        if not self.path.startswith(PREFIX) or name not in self.hub.files:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(302)
        self.send_header("X-Repo-Commit", "0123456789abcdef0123456789abcdef01234567")
        self.send_header("X-Linked-Etag", f'"{self.hub.etag_of(name)}"')
        if self.hub.announce_size:
            self.send_header("X-Linked-Size", str(len(self.hub.files[name])))
        # Another host name, as the hub's storage has: its client follows redirects within one host.
        self.send_header("Location", f"http://localhost:{self.server.server_port}/storage/{name}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        span = self.headers.get("Range")
        self.hub.asked.append(("GET", self.path, span))
        if self.hub.statuses:
            self.send_response(self.hub.statuses.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        whole = body = self.hub.files[self.path.rsplit("/", 1)[-1]]
        if span and self.hub.ranges:
            first, last = re.fullmatch(r"bytes=(\d+)-(\d*)", span).groups()
            body = whole[int(first):int(last) + 1 if last else None]
            if not body:
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(body) - 1}/{len(whole)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.hub.cut_after:
            self.wfile.write(body[:self.hub.cut_after.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        try:
            self.wfile.write(body)
        except ConnectionError:  # who wants the beginning only, leaves early
            self.close_connection = True


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = Hub()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("H", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TINYLM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "_PAUSE", 0.01)
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


def test_everything(hub):
    seen = []
    found = get_tinystories(progress=lambda *what: seen.append(what))
    assert found.train.read_bytes() == hub.files[TRAIN] and found.valid.read_bytes() == hub.files[VALID]
    assert found.digests == {"train": hub.etag_of(TRAIN), "valid": hub.etag_of(VALID)}
    assert found.train.parent == download.folder() / "full"
    assert (TRAIN, len(hub.files[TRAIN]), len(hub.files[TRAIN])) in seen
    for name in (TRAIN, VALID):
        done = [d for n, d, _ in seen if n == name]
        assert done == sorted(done) and done[0] == 0
    assert {p.name for p in found.train.parent.iterdir()} == {".lock", "record.json", TRAIN, VALID}
    record = json.loads((found.train.parent / "record.json").read_text())
    assert record["files"]["train"]["commit"].startswith("0123456789") and record["files"]["train"]["whole"]


def test_what_is_there_is_not_fetched_again(hub):
    get_tinystories()
    hub.asked.clear()
    get_tinystories()
    assert hub.asked == []


def test_a_subset_takes_the_first_bytes_up_to_a_whole_story(hub):
    found = get_tinystories("100kB")
    text = found.train.read_bytes()
    assert hub.files[TRAIN].startswith(text) and text.endswith(END_OF_TEXT.encode())
    longest = len(story_file(2999, 1))
    assert 100_000 - longest < len(text) <= 100_000
    assert hub.received(TRAIN) == ["bytes=0-99999"]  # and not a byte more
    assert len(found.valid.read_bytes()) <= 20_000
    assert found.digests["train"] == hashlib.sha256(text).hexdigest()
    record = json.loads((found.train.parent / "record.json").read_text())
    assert not record["files"]["train"]["whole"] and found.train.parent.name == "100000"


def test_a_subset_larger_than_the_file_is_the_file_with_its_checksum(hub):
    found = get_tinystories(10**9)
    assert found.train.read_bytes() == hub.files[TRAIN]
    hub.etag[TRAIN] = "0" * 64
    with pytest.raises(DataMissing, match="damaged"):
        get_tinystories(10**9 + 1)


def test_a_subset_without_a_story(hub):
    hub.files[TRAIN] = b"x" * 1000 + hub.files[TRAIN]
    with pytest.raises(DataMissing, match="no whole story"):
        get_tinystories(500)


@pytest.mark.parametrize("subset", [None, 150_000])
def test_a_broken_connection_goes_on_where_it_stopped(hub, subset):
    hub.cut_after = [50_000, 0, 30_000]
    found = get_tinystories(subset)
    last = "" if subset is None else str(subset - 1)
    last = last or str(len(hub.files[TRAIN]) - 1)
    assert hub.received(TRAIN) == [f"bytes={at}-{last}" for at in (0, 50_000, 50_000, 80_000)]
    assert hub.files[TRAIN].startswith(found.train.read_bytes())
    assert subset or found.train.read_bytes() == hub.files[TRAIN]


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(hub):
    hub.cut_after = [70_000] + [0] * 5
    with pytest.raises(DataMissing, match="70,000 bytes are kept"):
        get_tinystories()
    with pytest.raises(DataMissing, match="data get"):
        find_tinystories()  # what is incomplete does not count
    hub.asked.clear()
    assert get_tinystories().train.read_bytes() == hub.files[TRAIN]
    assert hub.received(TRAIN)[0].startswith("bytes=70000-")


def test_a_file_that_changed_on_the_server_starts_anew(hub):
    hub.cut_after = [70_000] + [0] * 5
    with pytest.raises(DataMissing):
        get_tinystories()
    hub.files[TRAIN] = story_file(5000, 2500)
    hub.asked.clear()
    assert get_tinystories().train.read_bytes() == hub.files[TRAIN]
    assert hub.received(TRAIN)[0].startswith("bytes=0-")


@pytest.mark.parametrize("subset", [None, 150_000])
def test_a_server_without_ranges(hub, subset):
    hub.ranges = False
    hub.cut_after = [50_000]
    found = get_tinystories(subset)
    assert hub.files[TRAIN].startswith(found.train.read_bytes())
    assert subset or found.train.read_bytes() == hub.files[TRAIN]


def test_a_server_that_does_not_say_the_size(hub):
    hub.announce_size = False
    hub.cut_after = [50_000]
    assert get_tinystories().train.read_bytes() == hub.files[TRAIN]


def test_a_wrong_checksum(hub):
    hub.etag[TRAIN] = "a" * 64
    with pytest.raises(DataMissing, match="damaged.*instead of aaaaaaaaaaaa.*deleted"):
        get_tinystories()
    assert not (download.folder() / "full" / TRAIN).exists()
    assert not (download.folder() / "full" / f"{TRAIN}.part").exists()
    del hub.etag[TRAIN]
    assert get_tinystories().train.read_bytes() == hub.files[TRAIN]


def test_a_damaged_partial_file_is_found_by_the_checksum(hub):
    hub.cut_after = [70_000] + [0] * 5
    with pytest.raises(DataMissing):
        get_tinystories()
    part = download.folder() / "full" / f"{TRAIN}.part"
    part.write_bytes(b"?" * 70_000)
    with pytest.raises(DataMissing, match="damaged"):
        get_tinystories()
    assert get_tinystories().train.read_bytes() == hub.files[TRAIN]


def test_a_partial_file_longer_than_the_file(hub):
    hub.cut_after = [70_000] + [0] * 5
    with pytest.raises(DataMissing):
        get_tinystories()
    part = download.folder() / "full" / f"{TRAIN}.part"
    part.write_bytes(hub.files[TRAIN] + b"more")
    assert get_tinystories().train.read_bytes() == hub.files[TRAIN]


def test_busy_answers_are_waited_out_and_refusals_are_not(hub):
    hub.statuses = [503, 429]
    assert get_tinystories(50_000).train.exists()
    hub.statuses = [403]
    with pytest.raises(DataMissing, match="answered 403"):
        get_tinystories(60_000)


def test_a_file_the_server_does_not_have(hub):
    del hub.files[TRAIN]
    with pytest.raises(DataMissing, match="404"):
        get_tinystories()


def test_no_server(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TINYLM_CACHE_DIR", str(tmp_path))
    with pytest.raises(DataMissing) as caught:
        get_tinystories("20MB")
    message = str(caught.value)
    assert caught.value.exit_code == 4 and "\n" not in message
    for part in (TRAIN, VALID, "https://huggingface.co/datasets/roneneldan/TinyStories",
                 str(tmp_path / "downloads" / "tinystories" / "full"), "--data FILE", f":{port}"):
        assert part in message


def test_two_downloads_at_once(hub):
    fcntl = pytest.importorskip("fcntl")
    target = download.folder() / "full"
    target.mkdir(parents=True)
    with (target / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TinylmError, match="another process"):
            get_tinystories()
    get_tinystories()


def test_a_full_disk(hub, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(TinylmError, match="--subset"):
        get_tinystories()


def test_a_folder_that_cannot_be_written(hub, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TINYLM_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(TinylmError, match="TINYLM_CACHE_DIR"):
        get_tinystories()


# -- using what was downloaded ------------------------------------------------------------------------

def test_prepare_uses_the_given_split(hub, tmp_path):
    get_tinystories()
    data = prepare("tinystories")
    assert data.meta["splits"]["train"]["documents"] == 3000
    assert data.meta["splits"]["val"]["documents"] == 300
    assert next(data.documents("val", 1)).startswith("Once there was a fox with the number 9000")
    assert data.notes == ()


def test_validation_stories_that_training_has_are_removed(hub):
    hub.files[VALID] = story_file(10, 5) + hub.files[VALID]
    get_tinystories()
    assert prepare("tinystories").meta["duplicates"] == {"removed_from_val": 5, "repeated_in_train": 0}


def test_the_largest_part_is_used_and_said(hub):
    get_tinystories(50_000)
    get_tinystories(100_000)
    data = prepare("tinystories")
    assert "100,000 bytes" in data.notes[0]
    assert 75_000 < data.meta["splits"]["train"]["bytes"] < 100_000
    smaller = prepare("tinystories", size=30_000)
    assert 25_000 < smaller.meta["splits"]["train"]["bytes"] <= 30_000 and smaller.path != data.path
    with pytest.raises(DataMissing, match="--subset 200000"):
        prepare("tinystories", size=200_000)


def test_files_put_there_by_hand(hub, tmp_path):
    target = download.folder() / "full"
    target.mkdir(parents=True)
    (target / TRAIN).write_bytes(hub.files[TRAIN])
    with pytest.raises(DataMissing):
        prepare("tinystories")
    (target / VALID).write_bytes(hub.files[VALID])
    assert prepare("tinystories").meta["splits"]["train"]["documents"] == 3000
    assert get_tinystories().train == target / TRAIN and hub.asked == []


def test_a_download_changed_afterwards(hub):
    found = get_tinystories(50_000)
    found.train.write_bytes(found.train.read_bytes().replace(b"fox", b"cat", 1))
    with pytest.raises(DataMissing, match="not what was downloaded"):
        prepare("tinystories")


@given(st.binary(max_size=40) | st.sampled_from([b"[]", b'{"files": 3}', b'{"files": {"train": 1}}',
                                                 b'{"files": {"train": {"sha256": 7}}}']))
def test_a_mangled_record(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYLM_CACHE_DIR", str(folder))
        target = download.folder() / "full"
        target.mkdir(parents=True)
        (target / TRAIN).write_bytes(story_file(0, 3))
        (target / VALID).write_bytes(story_file(5, 2))
        (target / "record.json").write_bytes(content)
        assert prepare("tinystories").meta["splits"]["train"]["documents"] == 3


# -- sizes --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("text, size", [("20MB", 20_000_000), ("1.5 GB", 1_500_000_000), ("64KiB", 65_536),
                                        ("1000", 1000), ("7b", 7), ("2k", 2000), (" 3 mb ", 3_000_000)])
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-5MB", "0", "0.0001", "1e6", "20QB", "ten", "inf", "5iB", "²",
                                  "1_000", "9" * 400])
def test_what_is_no_size(text):
    with pytest.raises(UsageError):
        parse_size(text)


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_a_usage_error(text):
    with contextlib.suppress(UsageError):
        assert parse_size(text) >= 1


@given(st.integers(1, 60), st.integers(0, 300))
def test_cutting_after_the_last_story_equals_rfind(tmp_path_factory, block, keep):
    """The file is searched backwards in blocks; a marker may lie across the edge of one."""
    text = story_file(0, 4)[:keep]
    path = tmp_path_factory.mktemp("cut") / "part"
    path.write_bytes(text)
    marker = END_OF_TEXT.encode()
    before, download._BLOCK = download._BLOCK, block
    try:
        download._cut_after_last_document(path, "part")
        assert path.read_bytes() == text[:text.rfind(marker) + len(marker)]
    except DataMissing:
        assert marker not in text and not os.path.exists(path)
    finally:
        download._BLOCK = before
