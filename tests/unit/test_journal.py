"""A journal survives kills, refuses a second writer, and is read whole."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from em_tiers.errors import UserError
from em_tiers.journal import Journal, read_journal
from em_tiers.lease import Lease
from waiting import wait_until

SCRIPTS = Path(__file__).parents[2] / "scripts"
# It writes until it is killed; if that takes long it spares the disk and only keeps its lease.
WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from em_tiers.journal import Journal
with Journal(sys.argv[2], "w") as journal:
    for n in range(100000):
        journal.append(f"{n:08d}", {"text": "x" * 2000})
        if n == 20:
            print("ready", flush=True)
    sys.stdin.read()
"""
BEAT = """
import os, sys, time
while True:
    os.utime(sys.argv[1])
    print("ready", flush=True)
    time.sleep(0.05)
"""


def start(code: str, *arguments: Path) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"ready\n"
    return process


def test_what_was_appended_is_read_back(tmp_path):
    with Journal(tmp_path, "a") as journal:
        journal.append("k1", {"text": "é\ud800\u2028\n"})
    with Journal(tmp_path, "b") as journal:
        journal.append("k2", {"n": 2})
        assert journal.read(["k1", "k2", "k3"]) == {
            "k1": {"text": "é\ud800\u2028\n"},
            "k2": {"n": 2},
        }
    assert read_journal(tmp_path) == {"k1": {"text": "é\ud800\u2028\n"}, "k2": {"n": 2}}


def test_a_torn_last_line_is_cut_and_its_request_counts_as_open(tmp_path):
    with Journal(tmp_path, "a") as journal:
        journal.append("k1", {"n": 1})
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b'{"key":"k2","rec')
    assert read_journal(tmp_path) == {"k1": {"n": 1}}
    with Journal(tmp_path, "a") as journal:
        journal.append("k3", {"n": 3})
    assert read_journal(tmp_path) == {"k1": {"n": 1}, "k3": {"n": 3}}


@pytest.mark.parametrize(
    "damage",
    [
        b'{"key":"k2","record"\n',
        b'{"key":"k2\n',
        b'{"key":"\xff\xfe","record":1}\n',
        b'{"key":"k2","record":"\xff"}\n',
        b'{"key":"k2","recor":{}}\n',
        b'{"key":"k2","record":[1]}\n',
        b'{"key":"k2","record":{},"more":1}\n',
        b'{"key":"k2","record":' + b"[" * 100_000 + b"\n",
        b"\0" * 4096 + b"\n",
        b"\n",
    ],
)
def test_a_damaged_line_in_the_middle_costs_its_own_request_only(tmp_path, damage):
    """What a power cut or a full disk leaves: blocks of nothing, or half of a line."""
    with Journal(tmp_path, "a") as journal:
        journal.append("k1", {"n": 1})
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(damage)
    with Journal(tmp_path, "a") as journal:
        journal.append("k3", {"n": 3})
        assert journal.read(["k1", "k2", "k3"]) == {"k1": {"n": 1}, "k3": {"n": 3}}


def test_a_changed_character_of_a_line_costs_its_request(tmp_path):
    """85.0 that became 15.0 on a disk is not taken: every single change is seen."""
    with Journal(tmp_path, "a") as journal:
        journal.append("k1", {"score": 85.0})
    path = tmp_path / "a.jsonl"
    whole = path.read_bytes()
    for position in range(len(whole) - 1):
        changed = bytearray(whole)
        changed[position] ^= 1
        path.write_bytes(changed)
        assert "k1" not in read_journal(tmp_path), changed
    path.write_bytes(whole)
    assert read_journal(tmp_path) == {"k1": {"score": 85.0}}


def test_lines_without_a_hash_are_read(tmp_path):
    (tmp_path / "old.jsonl").write_text('{"key":"k1","record":{"n":1}}\n')
    assert read_journal(tmp_path) == {"k1": {"n": 1}}


def test_sigkill_leaves_whole_lines_and_a_lease_that_the_next_writer_takes(tmp_path, monkeypatch):
    process = start(WRITER, SCRIPTS, tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = read_journal(tmp_path)
    assert len(before) > 20
    # A dead process on this host needs no watching.
    monkeypatch.setattr(Lease, "_is_still", lambda _: pytest.fail("the lease was watched"))
    with Journal(tmp_path, "w") as journal:
        journal.append("after", {"n": 1})
    assert set(read_journal(tmp_path)) == set(before) | {"after"}


def test_a_second_live_writer_is_refused_by_name(tmp_path):
    process = start(WRITER, SCRIPTS, tmp_path)
    try:
        with pytest.raises(UserError, match=f"process {process.pid} on {socket.gethostname()}"):
            Journal(tmp_path, "w").__enter__()
    finally:
        process.kill()
        process.wait()


def foreign_lease(path: Path) -> None:
    path.write_text(json.dumps({"token": "t", "host": "elsewhere", "pid": 1, "job": "77"}))


def test_a_silent_holder_on_another_host_is_taken_over(tmp_path):
    foreign_lease(tmp_path / "w.lease")
    lease = Lease(tmp_path / "w.lease", heartbeat_s=0.1, watch_s=1)
    lease.acquire()
    lease.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b"{}", b"\xff\x00", b'{"token":1,"host":2}', b"[" * 100_000]
)
def test_a_damaged_lease_is_taken_over(tmp_path, content):
    (tmp_path / "w.lease").write_bytes(content)
    lease = Lease(tmp_path / "w.lease", heartbeat_s=0.1, watch_s=0.3)
    lease.acquire()
    lease.release()
    assert list(tmp_path.iterdir()) == []


def test_a_beating_holder_on_another_host_is_refused(tmp_path):
    path = tmp_path / "w.lease"
    foreign_lease(path)
    beat = start(BEAT, path)
    try:
        with pytest.raises(UserError, match="elsewhere, SLURM job 77"):
            Lease(path, heartbeat_s=0.1, watch_s=60).acquire()  # it ends at the first beat
    finally:
        beat.kill()
        beat.wait()


HIDDEN = """
mount -o remount,hidepid=2 /proc
sleep 60 &
exec setpriv --reuid=65534 --regid=65534 --clear-groups /usr/bin/python3 -c '
import json, socket, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from em_tiers.lease import Lease
lease = Path(sys.argv[2]) / "w.lease"
holder = {"token": "t", "host": socket.gethostname(), "pid": int(sys.argv[3])}
lease.write_text(json.dumps(holder | {"process_start": "7"}))
watched = []
Lease._is_still = lambda self: watched.append(1) or True
Lease(lease).acquire()
print(len(watched))
' "$1" "$2" $!
"""


OWN_PROC = ["unshare", "--mount", "--pid", "--fork", "--mount-proc"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to hide a process from another user")
@pytest.mark.skipif(
    not os.environ.get("CI")
    and subprocess.run([*OWN_PROC, "true"], capture_output=True).returncode != 0,
    reason="no /proc of its own can be mounted here, as in some containers",
)
def test_a_process_that_proc_hides_is_watched_before_its_lease_is_taken():
    """On login nodes whose /proc has hidepid, another user's process does not seem to exist."""
    command = [*OWN_PROC, "bash", "-c", HIDDEN, "-"]
    with tempfile.TemporaryDirectory() as name:  # open to that user, as tmp_path is not
        folder = Path(name)
        shutil.copytree(SCRIPTS / "em_tiers", folder / "em_tiers")
        folder.chmod(0o777)
        done = subprocess.run([*command, folder, folder], capture_output=True, text=True)
    assert done.stdout.split() == ["1"], done.stderr


def test_a_file_server_that_stumbles_does_not_end_the_signs_of_life(tmp_path, monkeypatch):
    """Else another node would take the holder for dead, and both would write."""
    path, calls = tmp_path / "w.lease", []
    utime = os.utime

    def stumble(target):
        calls.append(target)
        if len(calls) == 1:
            raise OSError(116, "Stale file handle")
        utime(target)

    monkeypatch.setattr("em_tiers.lease.os.utime", stumble)
    lease = Lease(path, heartbeat_s=0.05, watch_s=0.4)
    lease.acquire()
    wait_until(lambda: len(calls) > 2, "sign of life after the failed one")
    assert not lease.lost
    path.unlink()
    wait_until(lambda: lease.lost, "lost lease")
    lease.release()


def test_a_writer_that_lost_its_lease_stops(tmp_path):
    journal = Journal(tmp_path, "w")
    journal._lease.heartbeat_s = 0.05
    with journal:
        foreign_lease(tmp_path / "w.lease")
        wait_until(lambda: journal._lease.lost, "lost lease")
        with pytest.raises(UserError, match="taken over"):
            journal.append("k", {"n": 1})
    assert os.path.exists(tmp_path / "w.lease")  # noqa: PTH110  the other's lease stays


def test_a_job_reads_the_files_once_and_knows_what_it_writes(tmp_path):
    with Journal(tmp_path, "first") as journal:
        for number in range(50):
            journal.append(f"{number:032x}", {"n": number})
    with Journal(tmp_path, "second") as journal:
        assert journal.read(["0" * 32, "f" * 32]) == {"0" * 32: {"n": 0}}
        journal.append("f" * 32, {"n": "new", "text": "é" * 70_000})
        journal.append("0" * 32, {"n": "again"})
        found = journal.read(["f" * 32, f"{7:032x}", "0" * 32])
        assert [record["n"] for record in found.values()] == ["new", 7, "again"]
    assert read_journal(tmp_path, ["0" * 32]) == {"0" * 32: {"n": "again"}}
