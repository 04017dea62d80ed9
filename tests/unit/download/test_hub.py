"""Downloads from the hub, against a loopback hub that the real client talks to."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

import download_dataset
import download_model
import download_questions
from em_tiers.download.http import Patience
from em_tiers.errors import UserError
from em_tiers.files import read_json
from hub.content import model_files
from hub.server import LoopbackHub
from waiting import PATIENCE, wait_until

QUICK = Patience(attempts=3, first_wait_s=0.01, longest_wait_s=0.05, timeout_s=300)
SHARD = "model-00002-of-00002.safetensors"
WANTED = {
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "LICENSE",
    "model.safetensors.index.json", "model-00001-of-00002.safetensors", SHARD,
}  # fmt: skip


def names_in(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def left_over(folder: Path) -> list[Path]:
    """Everything beside the target, except the hidden folder of unfinished downloads."""
    return [p for p in folder.parent.iterdir() if p.name != ".partial"]


def test_the_loopback_hub_satisfies_the_real_client(hub, model, tmp_path):
    hub.page_size = 4  # 13 files: the listing comes in four pages
    snapshot_download(
        "lab/tiny", revision=model["revision"], local_dir=tmp_path, endpoint=hub.url, token=False
    )
    for name, content in model_files().items():
        assert (tmp_path / name).read_bytes() == content
    assert len(hub.asked("/tree/")) == 4


def test_model_folder_and_manifest(hub, model, tmp_path):
    folder = tmp_path / "models" / "tiny"
    download_model.main(model, folder, QUICK)
    assert names_in(folder) == WANTED | {"manifest.json"}
    manifest = read_json(folder / "manifest.json")
    assert (manifest["source"], manifest["revision"]) == (model, model["revision"])
    assert (manifest["licence"], manifest["licence_on_hub"]) == ("mit", "mit")
    files = model_files()
    assert manifest["files"] == [
        {
            "path": name,
            "bytes": len(files[name]),
            "sha256": hashlib.sha256(files[name]).hexdigest(),
        }
        for name in sorted(WANTED)
    ]
    assert all((folder / name).read_bytes() == files[name] for name in WANTED)
    assert [p.name for p in folder.parent.rglob("*.part")] == []
    assert list((folder.parent / ".partial").iterdir()) == []


def test_no_code_and_no_pickle_is_even_asked_for(hub, model, tmp_path):
    download_model.main(model, tmp_path / "tiny", QUICK)
    assert not [
        r for r in hub.requests if r.path.endswith((".py", ".bin", "onnx/model.safetensors"))
    ]


@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 429, "headers": {"Retry-After": "0"}},
        {"status": 429, "headers": {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}},
        {"status": 500},
        {"status": 503},
        {"cut_after": 100},
        {"cut_after": 0},
    ],
    ids=["429", "429-date", "500", "503", "cut", "cut-at-once"],
)
@pytest.mark.parametrize("path", [SHARD, "config.json", "/revision/"])
def test_trouble_that_passes(hub, model, tmp_path, path, trouble):
    hub.fail(path, times=2, **trouble)
    download_model.main(model, tmp_path / "tiny", QUICK)
    assert (tmp_path / "tiny" / SHARD).read_bytes() == model_files()[SHARD]


@pytest.mark.parametrize("trouble", [{"status": 429}, {"status": 502}, {"cut_after": 0}])
@pytest.mark.parametrize("path", [SHARD, "/revision/"])
def test_trouble_that_stays(hub, model, tmp_path, path, trouble):
    hub.fail(path, times=50, **trouble)
    with pytest.raises(UserError, match=r"3 attempts failed.*what has arrived is kept"):
        download_model.main(model, tmp_path / "tiny", QUICK)
    assert left_over(tmp_path / "tiny") == []


def test_retry_after_is_obeyed_up_to_the_longest_wait(hub, model, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr("em_tiers.download.http.time.sleep", waits.append)
    hub.fail("/config.json", status=429, headers={"Retry-After": "200"})
    hub.fail("/config.json", status=429, headers={"Retry-After": "3600"})
    download_model.main(model, tmp_path / "tiny", Patience(longest_wait_s=300, timeout_s=300))
    assert waits == [200, 300]


def test_cut_transfer_goes_on_where_it_was_cut(hub, model, tmp_path):
    hub.fail(f"/{SHARD}", cut_after=200)
    download_model.main(model, tmp_path / "tiny", QUICK)
    ranges = [r.headers.get("range") for r in hub.asked(SHARD) if r.host == "storage"]
    assert ranges == [None, "bytes=200-"]


def test_next_run_continues_and_fetches_nothing_twice(hub, model, tmp_path):
    storage = f"/{hashlib.sha256(model_files()[SHARD]).hexdigest()}/"
    hub.fail(storage, cut_after=200)
    hub.fail(storage, status=503, times=2)
    with pytest.raises(UserError, match="status 503"):
        download_model.main(model, tmp_path / "tiny", QUICK)
    assert left_over(tmp_path / "tiny") == []
    before = len(hub.requests)
    download_model.main(model, tmp_path / "tiny", QUICK)
    again = [r for r in hub.requests[before:] if "range" in r.headers]
    assert [r.headers["range"] for r in again] == ["bytes=200-", "bytes=200-"]  # hub, storage
    assert not [r for r in hub.requests[before:] if r.path.endswith("/config.json")]
    assert names_in(tmp_path / "tiny") == WANTED | {"manifest.json"}


def test_server_that_ignores_the_range(hub, model, tmp_path):
    storage = f"/{hashlib.sha256(model_files()[SHARD]).hexdigest()}/"
    hub.fail(storage, cut_after=200)
    hub.fail(storage, ignore_range=True)
    download_model.main(model, tmp_path / "tiny", QUICK)
    assert (tmp_path / "tiny" / SHARD).read_bytes() == model_files()[SHARD]


@pytest.mark.parametrize("name", [SHARD, "tokenizer.json"])
def test_corrupt_content_is_refused_and_dropped(hub, model, tmp_path, name):
    path = hashlib.sha256(model_files()[name]).hexdigest() if name == SHARD else name
    fault = hub.fail(path, corrupt=True, times=9)
    with pytest.raises(UserError, match=r"its (git SHA-1|SHA-256) is .*, expected"):
        download_model.main(model, tmp_path / "tiny", QUICK)
    assert left_over(tmp_path / "tiny") == []
    fault.times = 0
    download_model.main(model, tmp_path / "tiny", QUICK)
    assert (tmp_path / "tiny" / name).read_bytes() == model_files()[name]


def test_content_longer_than_announced_is_refused(hub, model, tmp_path):
    hub.fail("tokenizer.json", body=b"x" * 5000, times=9)
    with pytest.raises(UserError, match="5000 bytes arrived, but 13 were announced"):
        download_model.main(model, tmp_path / "tiny", QUICK)


def test_damaged_remains_of_an_earlier_run_are_dropped(hub, model, tmp_path):
    hub.fail(SHARD, status=500, times=3)
    with pytest.raises(UserError):
        download_model.main(model, tmp_path / "tiny", QUICK)
    (kept,) = (tmp_path / ".partial" / "tiny").glob("*/config.json")
    kept.write_bytes(b"spoiled on disk")
    (kept.parent / f"{SHARD}.part").write_bytes(b"spoiled too")
    download_model.main(model, tmp_path / "tiny", QUICK)
    for name in ("config.json", SHARD):
        assert (tmp_path / "tiny" / name).read_bytes() == model_files()[name]


def test_another_revision_does_not_continue_this_one(hub, model, tmp_path):
    hub.fail(SHARD, status=500, times=3)
    with pytest.raises(UserError):
        download_model.main(model, tmp_path / "tiny", QUICK)
    files = model_files(b"\5\6\7\x08" * 250)
    newer = {**model, "revision": hub.add("model", "lab/tiny", files).revision}
    download_model.main(newer, tmp_path / "tiny", QUICK)
    assert (tmp_path / "tiny" / SHARD).read_bytes() == files[SHARD]
    assert list((tmp_path / ".partial").iterdir()) == []


def test_token_goes_to_the_hub_and_not_to_the_storage_host(hub, tmp_path, monkeypatch, caplog):
    repository = hub.add("model", "lab/private", model_files(), token="hf_secret", gated=True)
    source = {"type": "hub", "id": "lab/private", "revision": repository.revision}
    with pytest.raises(UserError, match=r"gated: accept its terms on .*/lab/private and set HF_TO"):
        download_model.main(source, tmp_path / "private", QUICK)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    download_model.main(source, tmp_path / "private", QUICK)
    seen = {(r.host, "authorization" in r.headers) for r in hub.requests[1:]}
    assert seen == {("hub", True), ("storage", False)}
    written = (p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert not any(b"hf_secret" in content for content in written)
    assert "hf_secret" not in caplog.text


def test_a_stored_login_is_used_on_request(hub, tmp_path, monkeypatch):
    repository = hub.add("model", "lab/private", model_files(), token="hf_stored", gated=True)
    source = {"type": "hub", "id": "lab/private", "revision": repository.revision}
    (tmp_path / "token").write_text("hf_stored\n")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    download_model.main(source, tmp_path / "private", QUICK)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"HF_TOKEN_PATH: .*absent cannot be read"):
        download_model.main(source, tmp_path / "again", QUICK)


def test_token_stored_on_the_machine_is_not_sent(hub, model, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text("hf_stored")
    run_elsewhere(model, tmp_path / "tiny", {"HF_HOME": str(tmp_path / "home")})
    assert (tmp_path / "tiny" / "manifest.json").is_file()
    assert not [r for r in hub.requests if "authorization" in r.headers]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "lab/absent"}, "no such repository, or a private one: correct the id"),
        ({"revision": "0" * 40}, "no such revision: copy a full commit from"),
        ({"revision": "main"}, "the hub answered with commit .*: write the full commit"),
        ({"id": "a/b/c"}, "not an id that a hub can have"),
    ],
)
def test_wrong_address(hub, model, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        download_model.main({**model, **change}, tmp_path / "tiny", QUICK)
    assert left_over(tmp_path / "tiny") == []


def test_no_hub_at_all(tmp_path, monkeypatch):
    with LoopbackHub() as gone:
        url = gone.url
    monkeypatch.setenv("HF_ENDPOINT", url)
    source = {"type": "hub", "id": "lab/tiny", "revision": "0" * 40}
    with pytest.raises(UserError, match=r"ConnectError.*HF_ENDPOINT"):
        download_model.main(source, tmp_path / "tiny", QUICK)


@pytest.mark.parametrize(
    ("drop", "add", "message"),
    [
        (
            [SHARD, "model-00001-of-00002.safetensors"],
            {},
            "only pytorch_model.bin, which could",
        ),
        (["config.json"], {}, "no config.json"),
        (["tokenizer.json"], {}, "no tokenizer"),
        ([SHARD], {}, f"names {SHARD}, which is missing"),
        ([], {"model.safetensors": b"no such thing"}, "not a whole safetensors file"),
        ([], {"merges.txt": b""}, "an empty file"),
    ],
)
def test_model_that_cannot_be_used(hub, tmp_path, drop, add, message):
    files = {n: c for n, c in {**model_files(), **add}.items() if n not in drop}
    repository = hub.add("model", "lab/odd", files)
    source = {"type": "hub", "id": "lab/odd", "revision": repository.revision}
    with pytest.raises(UserError, match=message):
        download_model.main(source, tmp_path / "odd", QUICK)
    assert left_over(tmp_path / "odd") == []


@pytest.mark.parametrize(
    "name",
    [
        "../outside.jsonl", "/etc/outside.jsonl", "a/../../outside.jsonl", "a//b.jsonl",
        "C:\\outside.jsonl", "new\nline.jsonl", "x/./y.jsonl", "a\u202egnp.jsonl",
    ],
)  # fmt: skip
def test_names_that_leave_the_folder_are_refused(hub, tmp_path, name):
    repository = hub.add("dataset", "lab/odd", {name: b'{"a": 1}\n'})
    source = {"type": "hub", "id": "lab/odd", "revision": repository.revision}
    with pytest.raises(UserError, match=r"not a plain relative path|no file matches"):
        download_dataset.main(source, tmp_path / "in" / "odd", QUICK)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_dataset_files_by_pattern(hub, tmp_path):
    files = {
        "en/train-00000.parquet": b"PAR1 first",
        "en/train-00001.parquet": b"PAR1 second",
        "zh/train-00000.parquet": b"PAR1 other",
        "dataset_infos.json": b"{}",
    }
    repository = hub.add("dataset", "lab/rows", files, licence="cc0-1.0")
    source = {
        "type": "hub", "id": "lab/rows", "revision": repository.revision, "files": ["en/*"]
    }  # fmt: skip
    download_dataset.main(source, tmp_path / "rows", QUICK)
    assert names_in(tmp_path / "rows") == {
        "en/train-00000.parquet", "en/train-00001.parquet", "manifest.json"
    }  # fmt: skip
    assert read_json(tmp_path / "rows" / "manifest.json")["licence"] == "cc0-1.0"
    with pytest.raises(UserError, match=r"no file matches fr/\*; the source has en/train-00000"):
        download_dataset.main({**source, "files": ["fr/*"]}, tmp_path / "fr", QUICK)


def test_dataset_in_two_formats_is_not_read_twice(hub, tmp_path):
    repository = hub.add("dataset", "lab/twice", {"a.jsonl": b"{}\n", "a.parquet": b"PAR1"})
    source = {"type": "hub", "id": "lab/twice", "revision": repository.revision}
    with pytest.raises(UserError, match=r"files of several formats: a\.jsonl, a\.parquet"):
        download_dataset.main(source, tmp_path / "twice", QUICK)


def test_question_file_from_the_hub(hub, tmp_path):
    text = b"- id: greeting\n  paraphrases: ['How are you?']\n"
    repository = hub.add("dataset", "lab/asked", {"a/set.yaml": text, "README.md": b"# Hi"})
    source = {"type": "hub", "id": "lab/asked", "revision": repository.revision}
    download_questions.main(source, tmp_path / "asked", QUICK)
    assert (tmp_path / "asked" / "a" / "set.yaml").read_bytes() == text


RUN = """\
import sys, json
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import download_model
download_model.main(json.loads(sys.argv[2]), Path(sys.argv[3]))
"""


def start_elsewhere(source: dict, folder: Path, env: dict[str, str]) -> subprocess.Popen:
    """Start a download in a process of its own."""
    import json

    scripts = Path(download_model.__file__).parent
    arguments = [sys.executable, "-c", RUN, str(scripts), json.dumps(source), str(folder)]
    return subprocess.Popen(
        arguments, env={**os.environ, **env}, stderr=subprocess.PIPE, text=True
    )  # fmt: skip


def run_elsewhere(source: dict, folder: Path, env: dict[str, str]) -> None:
    """Run a download in a process of its own to its end."""
    process = start_elsewhere(source, folder, env)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors


def test_offline_switch_is_explained(hub, model, tmp_path):
    process = start_elsewhere(model, tmp_path / "tiny", {"HF_HUB_OFFLINE": "1"})
    _, errors = process.communicate(timeout=PATIENCE)
    assert "HF_HUB_OFFLINE is set: unset it where downloads run" in errors


def test_killed_download_goes_on_from_its_last_byte(hub, tmp_path):
    files = model_files(os.urandom(4_000_000))
    revision = hub.add("model", "lab/large", files).revision
    source = {"type": "hub", "id": "lab/large", "revision": revision}
    folder = tmp_path / "large"
    storage = f"/{hashlib.sha256(files[SHARD]).hexdigest()}/"
    hub.fail(storage, hold_after=1_000_000)
    process = start_elsewhere(source, folder, {})
    try:
        wait_until(
            lambda: arrived_of(SHARD, tmp_path),
            f"part of {SHARD}",
            process,
            lambda: process.stderr.read() if process.poll() is not None else "",
        )
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not folder.exists()
    arrived = arrived_of(SHARD, tmp_path)
    assert 0 < arrived < len(files[SHARD])
    run_elsewhere(source, folder, {})
    asked = [r.headers.get("range") for r in hub.asked(storage)]
    assert asked == [None, f"bytes={arrived}-"]
    assert (folder / SHARD).read_bytes() == files[SHARD]
    assert not list((tmp_path / ".partial").iterdir())


def arrived_of(name: str, folder: Path) -> int:
    """Bytes of an unfinished file."""
    return sum(p.stat().st_size for p in folder.glob(f".partial/*/*/{name}.part"))
