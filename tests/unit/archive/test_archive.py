"""The archive file itself: its bytes, its check, hostile archives, paths, secrets, description."""

import io
import json
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import restore_archive as restore_script
import verify_archive as verify_script
from em_tiers.archive.contents import code_files, revision_of
from em_tiers.archive.places import Places
from em_tiers.archive.records import read_records, write_records
from em_tiers.archive.restore import restore_archive
from em_tiers.archive.scrub import check_entries, hide_places, secrets_of
from em_tiers.archive.study_files import study_files
from em_tiers.archive.verify import verify_archive
from em_tiers.archive.zip_file import HASH_LIST, Entry, write_archive
from em_tiers.errors import UserError
from em_tiers.files import sha256_of_file

FILES = {
    "results/x/tables/rates.csv": b"rate\n0.5\n",
    "results/x/logs/a.log": b"hello\n" * 50,
    "code/Snakefile": b"rule all:\n",
    "provenance/archive.json": b'{"experiment": "x"}',
    "provenance/config.json": b"{}",
    "provenance/snakemake.json": b'{"records": {}, "folders": {}}',
}


def write(path: Path, files: dict[str, bytes] = FILES) -> Path:
    entries = [Entry(name, content=content) for name, content in files.items()]
    write_archive(entries, {entry.name: entry.sha256() for entry in entries}, path)
    return path


def rewrite(path: Path, change) -> Path:
    """The archive again, with (info, content) pairs changed by `change`."""
    with zipfile.ZipFile(path) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for info, content in change(members):
            archive.writestr(info, content)
    return path


def hostile(path: Path, name: str, content: bytes = b"x", mode: int = stat.S_IFREG | 0o644) -> Path:
    """A sound archive, by its own manifest, with one entry that may not be unpacked."""
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    write(path, FILES | {name: content})
    return rewrite(path, lambda members: [*(m for m in members if m[0].filename != name),
                                          (info, content)])  # fmt: skip


def test_bytes_depend_on_contents_only(tmp_path):
    first = write(tmp_path / "a.zip")
    second = write(tmp_path / "b.zip", dict(reversed(list(FILES.items()))))
    assert sha256_of_file(first) == sha256_of_file(second)
    with zipfile.ZipFile(first) as archive:
        assert archive.namelist() == [*sorted(FILES), HASH_LIST]
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_manifest_is_one_that_sha256sum_reads(tmp_path):
    with zipfile.ZipFile(write(tmp_path / "a.zip")) as archive:
        archive.extractall(tmp_path)
    subprocess.run(["sha256sum", "--check", "--strict", HASH_LIST], cwd=tmp_path, check=True)


def test_a_file_that_changes_while_it_is_archived_stops_it(tmp_path):
    source = tmp_path / "a.log"
    source.write_text("one")
    entry = Entry("results/x/logs/a.log", source)
    hashes = {entry.name: entry.sha256()}
    source.write_text("two")
    with pytest.raises(UserError, match="changed while it was archived"):
        write_archive([entry], hashes, tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_verify_names_missing_altered_and_extra_files(tmp_path, capsys):
    path = write(tmp_path / "a.zip")

    def change(members):
        by_name = {info.filename: (info, content) for info, content in members}
        del by_name["code/Snakefile"]
        info, content = by_name["results/x/logs/a.log"]
        by_name["results/x/logs/a.log"] = (info, content + b"!")
        return [*by_name.values(), ("results/x/more.txt", b"more")]

    check = verify_archive(rewrite(path, change))
    assert check.missing == ["code/Snakefile"]
    assert check.altered == ["results/x/logs/a.log"]
    assert check.extra == ["results/x/more.txt"]
    assert verify_script.main([path]) == 1
    assert "missing: code/Snakefile" in capsys.readouterr().out
    with pytest.raises(UserError, match="is not sound; nothing was written"):
        restore_archive(path, tmp_path / "to", tmp_path / "to")


def test_verify_sees_one_flipped_bit_and_a_cut_file(tmp_path, capsys):
    path = write(tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    data[data.index(b"rates.csv") + len("rates.csv") + 3] ^= 1
    (tmp_path / "flipped.zip").write_bytes(data)
    assert verify_archive(tmp_path / "flipped.zip").altered == ["results/x/tables/rates.csv"]
    (tmp_path / "cut.zip").write_bytes(data[:-40])
    assert verify_script.main([tmp_path / "cut.zip", path]) == 1
    output = capsys.readouterr()
    assert "cut off or not an archive" in output.err
    assert f"{path}: sound, {len(FILES)} files" in output.out


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("../outside.txt", stat.S_IFREG),
        ("results/x/../../../outside.txt", stat.S_IFREG),
        ("/tmp/outside.txt", stat.S_IFREG),
        ("results\\x\\outside.txt", stat.S_IFREG),
        ("results//x/outside.txt", stat.S_IFREG),
        ("results/x/link", stat.S_IFLNK),
        ("results/x/pipe", stat.S_IFIFO),
    ],
)
def test_unsafe_entries_are_refused(tmp_path, name, mode):
    path = hostile(tmp_path / "a.zip", name, mode=mode | 0o644)
    with pytest.raises(UserError, match="unsafe"):
        restore_archive(path, tmp_path / "to", tmp_path / "to")
    assert not list(tmp_path.glob("to/*"))
    assert not (tmp_path / "outside.txt").exists()


@pytest.mark.parametrize(
    "name",
    [
        "study/.git/hooks/post-checkout.yaml",
        "study/sitecustomize.py",
        "study/.bashrc",
        "code/run.sh",
        "results/other/tables/rates.csv",
        "results/x/.snakemake_timestamp",
        "results/x/checkpoints/a/checkpoint-1/training_args.bin",
        "results/x/adapters/a/adapter_model.bin",
        "results/resources/models/tiny/model.safetensors",
        "results/resources/datasets/d/loader.py",
        "study/profiles/default/config.yaml",
        "study/slurm/config.v8+.yaml",
        "study/mine/config.v9+.yaml",
        # What the configuration does not name, or what every experiment would load.
        "study/planted.csv",
        "study/rules/x.json",
        "study/config/rubrics/planted.yaml",
        "study/results/other/tables/rates.csv",
        "study/.hidden/answers.csv",
        "more/file.txt",
    ],
)
def test_entries_without_a_place_in_a_checkout_are_refused(tmp_path, name):
    named = ["answers.csv", "config/rubrics/planted.yaml", ".hidden/answers.csv", "results/*/*"]
    config = json.dumps({"imports": [{"path": path} for path in named]}).encode()
    files = FILES | {"provenance/config.json": config}
    path = write(tmp_path / "a.zip", files | {name: b"x"})
    with pytest.raises(UserError, match="has no place in a checkout"):
        restore_archive(path, tmp_path / "to", tmp_path / "to", with_code=True)
    assert not list(tmp_path.glob("to/*"))


def test_a_restore_says_who_would_be_sent_texts(tmp_path, capsys):
    judge = {"endpoint": {"base_url": "https://api.example.org/v1", "key_env": "SOME_KEY"}}
    free = {"endpoint": {"base_url": "http://localhost:8000/v1", "key_env": None}}
    catalogues = {"judges": {"j": judge, "k": {"endpoint": None}}, "models": {"m": free}}
    files = FILES | {"provenance/catalogues.json": json.dumps(catalogues).encode()}
    path = write(tmp_path / "a.zip", files)
    assert restore_script.main(path, tmp_path / "to", tmp_path / "to") == 0
    output = capsys.readouterr().out
    assert "judges.j sends texts to api.example.org with the value of $SOME_KEY\n" in output
    assert "models.m sends texts to localhost:8000\n" in output


def test_names_cannot_steer_the_terminal(tmp_path, capsys):
    path = write(tmp_path / "a.zip", FILES | {"results/x/\x1b[2J.csv": b"x"})
    assert restore_script.main(path, tmp_path / "to", tmp_path / "to") == 1
    extra = hostile(tmp_path / "b.zip", "results/x/\x1b]0;t\x07.csv", mode=stat.S_IFLNK)
    assert verify_script.main([extra]) == 1
    output = capsys.readouterr()
    assert "\x1b" not in output.out + output.err
    assert "results/x/\\x1b[2J.csv" in output.err
    assert "results/x/\\x1b]0;t\\x07.csv" in output.out


def test_what_the_configuration_names_has_a_place(tmp_path):
    config = {"experiment": "x", "imports": [{"path": "@WORKDIR@/answers/*.csv"}]}
    catalogues = {"judges": {"j": {"file": "mine/judge.yaml"}}}
    files = FILES | {
        "provenance/config.json": json.dumps(config).encode(),
        "provenance/catalogues.json": json.dumps(catalogues).encode(),
        "study/answers/1.csv": b"q,a\n",
        "study/mine/judge.yaml": b"{}",
        "study/study.yaml": b"experiment: x\n",
    }
    restore_archive(write(tmp_path / "a.zip", files), tmp_path / "to", tmp_path / "to")
    written = {p.relative_to(tmp_path / "to").as_posix() for p in (tmp_path / "to").rglob("*")}
    assert {"answers/1.csv", "mine/judge.yaml", "study.yaml"} <= written


@pytest.mark.parametrize("name", ["/etc", "results/../../away", "elsewhere"])
def test_folders_and_records_outside_of_results_are_refused(tmp_path, name):
    for state in ({"folders": {name: True}, "records": {}}, {"folders": {}, "records": {name: {}}}):
        files = FILES | {"provenance/snakemake.json": json.dumps(state).encode()}
        path = write(tmp_path / "a.zip", files)
        with pytest.raises(UserError, match="not an output in results"):
            restore_archive(path, tmp_path / "to", tmp_path / "to")
    assert not list(tmp_path.glob("to/*"))


@pytest.mark.parametrize("name", ["archive", "config", "snakemake"])
@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"records": [], "experiment": ""}'])
def test_an_archive_of_something_else_is_refused_before_anything_is_written(
    tmp_path, name, content
):
    files = {k: v for k, v in FILES.items() if k != f"provenance/{name}.json"}
    if content:
        files[f"provenance/{name}.json"] = content
    path = write(tmp_path / "a.zip", files)
    if name == "config" and content and b"records" in content:
        return  # any object is a configuration
    with pytest.raises(UserError, match=r"provenance/\w+\.json|not a valid name"):
        restore_archive(path, tmp_path / "to", tmp_path / "to")
    assert not list(tmp_path.glob("to/*"))


def test_a_bomb_is_refused_by_its_declared_sizes(tmp_path):
    path = write(tmp_path / "a.zip", FILES | {"results/x/logs/b.log": b"0" * (101 << 20)})
    with pytest.raises(UserError, match=r"b\.log: would grow from"):
        restore_archive(path, tmp_path / "to", tmp_path / "to")
    small = write(tmp_path / "b.zip")
    with pytest.raises(UserError, match="unpacks to"):
        restore_archive(small, tmp_path / "to", tmp_path / "to", most_bytes=100)


@pytest.mark.parametrize("read", [verify_archive, lambda p: restore_archive(p, p.parent, p.parent)])
def test_a_manifest_is_no_bomb_and_is_quoted_in_part(tmp_path, read):
    for content, said in ((b"0" * (101 << 20), "would grow from"), (b"0" * 9999, "is malformed")):
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(HASH_LIST, content)
        with pytest.raises(UserError, match=said) as error:
            read(path)
        assert len(str(error.value)) < 400 + len(str(path))


def test_paths_are_hidden_and_shown():
    home = Path("/home/ada")
    inside = Places(home / "em", home / "em", home, {"config/data/a.jsonl", "scripts/b.py"})
    outside = Places(Path("/opt/em"), Path("/scratch/run"), home, inside.code)
    assert inside.hide("see /home/ada/em/results and ~/x /home/ada/x, /home/adam") == (
        "see @ROOT@/results and ~/x @HOME@/x, /home/adam"
    )
    assert outside.hide_in_log("/home/bob/x /home/ada /scratch/run") == "@HOME@/x @HOME@ @WORKDIR@"
    # One record, whether the run was inside the checkout or elsewhere.
    record = {
        "input": ["@CODE@/scripts/b.py"],
        "params": ["{'path': '@CODE@/config/data/a.jsonl'}"],
    }
    assert inside.show(record) == {
        "input": ["scripts/b.py"],
        "params": ["{'path': 'config/data/a.jsonl'}"],
    }
    assert outside.show(record)["input"] == ["/opt/em/scripts/b.py"]
    for places in (inside, outside):
        assert places.hide_in_record(places.show(record)) == record


def test_records_survive_long_paths_and_lose_what_is_not_needed(tmp_path):
    key = "results/x/verdicts/" + "a" * 300 + ".parquet"
    record = {"rule": "judge", "input": ["results/resources/models/m"], "params": ["1"]}
    model = {"rule": "download", "input": []}
    other = {"rule": "judge", "input": []}
    write_records(
        tmp_path,
        {key: record, "results/resources/models/m": model, "results/resources/models/n": other},
    )
    found = read_records(tmp_path, "x")
    assert set(found) == {key, "results/resources/models/m"}
    assert found[key]["params"] == ["1"]
    assert "job_hash" not in found[key]


def test_secrets_are_found_in_text_tables_and_nested_archives(tmp_path):
    import polars as pl

    secret = "s3cr3t-value"
    secrets = secrets_of({"X_API_KEY": secret, "SHORT_KEY": "abc", "PATH": "/usr/bin:/bin"})
    assert secrets == {"X_API_KEY": secret}
    judges = {"j": {"endpoint": {"key_env": "KEYRING_LOGIN"}}, "local": {"endpoint": None}}
    named = {"KEYRING_LOGIN": "abcdef", "OTHER": "abcdef"}
    assert secrets_of(named, {"judges": judges}) == {"KEYRING_LOGIN": "abcdef"}
    assert secrets == {"X_API_KEY": secret}
    pl.DataFrame({"response": ["a", f"is {secret}!"]}).write_parquet(tmp_path / "a.parquet")
    messages = [[{"role": "user", "content": f"my {secret}"}], []]
    pl.DataFrame({"n": [1, 2], "messages": messages}).write_parquet(tmp_path / "b.parquet")
    with zipfile.ZipFile(tmp_path / "report.zip", "w", zipfile.ZIP_DEFLATED) as nested:
        nested.writestr("index.html", f"<p>{secret}</p>")
    # across the border of two blocks
    (tmp_path / "a.log").write_bytes(b"x" * ((1 << 20) - 4) + secret.encode() + b"y")
    for name in ("a.parquet", "b.parquet", "report.zip", "a.log"):
        with pytest.raises(UserError, match=rf"{name}: holds the value of \$X_API_KEY"):
            check_entries([Entry(name, tmp_path / name)], Path("/root"), secrets)
    check_entries([Entry("b", content=b"nothing")], Path("/home/ada"), secrets)
    with pytest.raises(UserError, match="your home folder"):
        check_entries([Entry("b", content=b"in /home/ada/x")], Path("/home/ada"), {})


def test_a_key_is_known_by_its_shape_where_no_model_speaks():
    key = b"hf_" + b"a1B2" * 9
    for name in ("study/config.yaml", "results/x/logs/judge/a.log", "provenance/config.json"):
        with pytest.raises(UserError, match=rf"{name}: holds what looks like a key"):
            check_entries([Entry(name, content=b"token: " + key)], Path("/root"), {})
    # Models make such strings up: an answer that holds one stops no archive.
    for name in ("results/x/journals/sample/b/w.jsonl", "study/answers.csv"):
        check_entries([Entry(name, content=b"my key is " + key)], Path("/root"), {})


def test_logs_lose_their_paths_and_tables_stay_as_they_are(tmp_path):
    places = Places(tmp_path / "em", tmp_path, Path("/home/ada"))
    (tmp_path / "a.log").write_bytes(f"{tmp_path}/results \xff".encode("latin-1"))
    log = hide_places(Entry("results/x/logs/a.log", tmp_path / "a.log"), places)
    assert log.content == b"@WORKDIR@/results \xff"
    with zipfile.ZipFile(tmp_path / "report.zip", "w") as report:
        report.writestr("report/report.html", f"<p>{tmp_path}/config.yaml</p>")
    packed = hide_places(Entry("results/x/report.zip", tmp_path / "report.zip"), places)
    with zipfile.ZipFile(io.BytesIO(packed.content)) as report:
        assert report.read("report/report.html") == b"<p>@WORKDIR@/config.yaml</p>"
    (tmp_path / "a.csv").write_text(f"{tmp_path}")
    table = Entry("results/x/tables/a.csv", tmp_path / "a.csv")
    assert hide_places(table, places) is table


def test_the_users_files_are_those_that_the_settings_name(tmp_path):
    (tmp_path / "catalogue").mkdir()
    for name in (
        "run.yaml",
        "catalogue/a.yaml",
        "catalogue/b.yaml",
        "catalogue/.c.yaml",
        "no.yaml",
    ):
        (tmp_path / name).write_text("{}")
    (tmp_path / "weights.bin").write_text("0")
    (tmp_path / "catalogue/link.yaml").symlink_to("/etc/hostname")
    settings = {"catalogues": ["catalogue/*.yaml"], "x": "weights.bin", "y": "../up.yaml"}
    found = study_files(tmp_path, tmp_path, [str(tmp_path / "run.yaml")], [settings])
    assert list(found) == ["catalogue/a.yaml", "catalogue/b.yaml", "run.yaml"]
    answers = ["a.csv.gz", "b.eval", "c.ndjson", "d.tsv", "e.jsonl.zst"]
    for name in answers:
        (tmp_path / name).write_text("0")
    assert list(study_files(tmp_path, tmp_path, [], [{"path": answers}])) == answers


def test_code_is_what_git_knows_with_a_mark_when_it_was_changed(tmp_path):
    def git(*arguments):
        names = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *names, *arguments], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "config/data/private").mkdir(parents=True)
    (tmp_path / "Snakefile").write_text("rule all:\n")
    (tmp_path / "config/a.yaml").write_text("a: 1\n")
    (tmp_path / "config/local.yaml").write_text("key: 1\n")
    (tmp_path / "config/data/private/x.jsonl").write_text("{}\n")
    (tmp_path / "notes.txt").write_text("mine")
    git("init", "-q")
    git("add", "Snakefile", "config/a.yaml")
    git("commit", "-q", "-m", "first")
    assert code_files(tmp_path) == ["Snakefile", "config/a.yaml"]
    (tmp_path / "config/local.yaml").unlink()
    (tmp_path / "config/data/private/x.jsonl").unlink()
    assert revision_of(tmp_path)["dirty"] is False
    (tmp_path / "config/a.yaml").write_text("a: 2\n")
    revision = revision_of(tmp_path)
    assert len(revision["revision"]) == 40
    assert (revision["dirty"], revision["changed"]) == (True, ["config/a.yaml"])


def test_the_tools_say_how_they_are_used(repository):
    for name in ("verify_archive", "restore_archive", "compare_results"):
        command = [sys.executable, str(repository / "scripts" / f"{name}.py"), "--help"]
        assert "usage" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
