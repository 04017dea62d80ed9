"""The documentation: links and anchors resolve, what it names exists, its examples are accepted."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import polars as pl
import pytest
import yaml

from em_tiers.judge.rubrics import load_rubric
from em_tiers.study.load import CATALOGUES, load_study
from em_tiers.terms import OUTCOMES_ALL, PROBE_LEVELS, VERDICT_STATUSES
from em_tiers.tiers.definitions import DEFINITIONS, Definition
from em_tiers.tiers.rules import read_rules

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
EXAMPLE = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
# What the documentation may name before the code has it; remove a word once the code does.
NOT_YET: set[str] = set()
# Words of other programs, or examples of a user's own names.
FOREIGN = {"conda-prefix", "report.html", "site/"}
SNAKEMAKES_MESSAGE = "Directory cannot be locked"


def pages() -> list[Path]:
    """All Markdown files of the project."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("no git checkout")
    return [ROOT / name for name in listed.stdout.split() if (ROOT / name).is_file()]


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as code hosts and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    words = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in headings)
    return {re.sub(r"[\s]+", "-", text.strip()) for text in words}


def broken_links(page: Path) -> list[str]:
    """Relative links of a page that lead to no file or to no heading."""
    broken = []
    for target in LINK.findall(prose(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    return broken


def test_every_relative_link_and_anchor_resolves():
    broken = {str(p.relative_to(ROOT)): broken_links(p) for p in pages()}
    assert {page: links for page, links in broken.items() if links} == {}


def test_a_broken_link_and_a_broken_anchor_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A heading\n[a](#a-heading) [b](#none) [c](missing.md) [d](page.md)\n")
    assert broken_links(page) == ["#none", "missing.md"]


def test_the_readme_is_short():
    words = len((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert words < 950


# --- names ---------------------------------------------------------------------------------------


@cache
def make_targets() -> frozenset[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return frozenset(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


@cache
def rules() -> frozenset[str]:
    """Rules, and scripts, which have their rules' names."""
    text = "".join(p.read_text(encoding="utf-8") for p in [ROOT / "Snakefile", *rule_files()])
    scripts = (p.stem for p in (ROOT / "scripts").glob("*.py"))
    return frozenset(re.findall(r"^ *rule (\w+):", text, re.MULTILINE)) | frozenset(scripts)


def rule_files() -> list[Path]:
    return sorted((ROOT / "rules").glob("*.smk"))


@cache
def keys() -> frozenset[str]:
    """Keys that a configuration, a catalogue entry, a profile or a site file may hold."""
    found: set[str] = set(CATALOGUES)

    def collect(value) -> None:
        if isinstance(value, dict):
            found.update(map(str, value.get("properties", {})))
            for below in value.values():
                collect(below)
        elif isinstance(value, list):
            for below in value:
                collect(below)

    collect(yaml.safe_load((ROOT / "config" / "schema.yaml").read_text(encoding="utf-8")))
    for name in ("config.yaml", "site.example.yaml"):
        text = (ROOT / "slurm" / name).read_text(encoding="utf-8")
        found.update(re.findall(r"^[ #]*([\w-]+):", text, re.MULTILINE))
    return frozenset(found)


@cache
def source_words() -> frozenset[str]:
    """Every identifier in the code, the configuration and the tests' fixtures."""
    words: set[str] = set()
    kinds = ("*.py", "*.smk", "*.yaml", "*.yml", "*.js", "*.rst", "*.txt", "*.in", "*.toml")
    for folder in ("scripts", "rules", "config", "slurm", "envs", "tests"):
        for kind in kinds:
            for path in (ROOT / folder).rglob(kind):
                if path.name != "test_docs.py":
                    text = path.read_text(encoding="utf-8", errors="ignore")
                    words.update(re.findall(r"[A-Za-z_][\w]*", text))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return frozenset(words | set(re.findall(r"[A-Za-z_]\w*", makefile)))


def unknown(span: str) -> str | None:
    """What a code span names that does not exist; None when all is well."""
    if span in FOREIGN or span in NOT_YET:
        return None
    if (found := re.match(r"make ([a-z-]+)", span)) and found[1] not in make_targets():
        return f"make target {found[1]}"
    if re.match(r"(scripts|rules|config|slurm|envs|tests|docs)/[\w./*-]*$", span):
        absent = not list(ROOT.glob(span.rstrip("/"))) and not is_made_by_a_user(span)
        return f"path {span}" if absent else None
    if found := re.match(r"([a-z_-]+):( |$)", span):
        known = found[1] in keys() | source_words() | NOT_YET
        return None if known else f"key {found[1]}"
    if re.fullmatch(r"[a-z]+(_[a-z0-9]+)+(\.[a-z_]+)*", span):
        missing = [w for w in span.split(".") if w not in keys() | rules() | source_words()]
        return f"name {missing[0]}" if missing else None
    return None


def is_made_by_a_user(path: str) -> bool:
    return bool(re.match(r"slurm/site\.yaml|config/(NAME|my-|local)|config/data/private", path))


def test_what_code_spans_name_exists():
    wrong = {
        str(page.relative_to(ROOT)): sorted(filter(None, map(unknown, SPAN.findall(prose(page)))))
        for page in pages()
        if page.name != "CHANGELOG.md"  # names what used to be
    }
    assert {page: names for page, names in wrong.items() if names} == {}


@pytest.mark.parametrize(
    "span",
    [
        "make nothing",
        "scripts/nothing.py",
        "nothing_such",
        "no_such_key: 1",
        "tiers.no_such_key_at_all",
    ],
)
def test_a_name_that_does_not_exist_is_found(span):
    span = span.removeprefix("tiers.")
    assert unknown(span)


def test_commands_in_code_blocks_name_targets_and_rules_that_exist():
    for page in pages():
        blocks = "\n".join(match[0] for match in FENCE.finditer(page.read_text(encoding="utf-8")))
        used = set(re.findall(r"^ *make ([a-z-]+)", blocks, re.MULTILINE))
        assert used <= make_targets(), f"{page}: {used - make_targets()}"
        addressed = set(re.findall(r"--set-resources (\w+):", blocks))
        addressed |= set(re.findall(r"--until (\w+)", blocks))
        assert addressed <= rules(), f"{page}: {addressed - rules()}"


def test_the_glossary_has_every_outcome_status_and_probe_level():
    spans = set(SPAN.findall(prose(ROOT / "docs" / "glossary.md")))
    assert {*OUTCOMES_ALL, *VERDICT_STATUSES, *PROBE_LEVELS} <= spans


def test_the_statistics_page_has_every_definition():
    text = prose(ROOT / "docs" / "statistics.md")
    assert [name for name in DEFINITIONS if f"| {name} |" not in text] == []


def test_the_messages_of_the_troubleshooting_page_are_in_the_code():
    """Each literal part of a quoted message; `...`, numbers and nan stand for what varies."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for folder in ("scripts", "rules", "config"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".smk", ".yaml"):
                text += path.read_text(encoding="utf-8")
    code = re.sub(r"[\"']\s*\n\s*f?[\"']", "", text)  # one message over several lines
    lines = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8").splitlines()
    quoted = [
        s for line in lines if line.startswith("| ") for s in SPAN.findall(line.split("|")[1])
    ]
    parts = [part.strip(" :,") for s in quoted for part in re.split(r"\.\.\.|nan|\d+", s)]
    assert len(quoted) > 15
    assert [p for p in parts if p not in code and p != SNAKEMAKES_MESSAGE] == []


# --- the tree ------------------------------------------------------------------------------------

PACKAGES = sorted(p.parent.name for p in (ROOT / "scripts" / "em_tiers").glob("*/__init__.py"))


def prohibitions() -> list[tuple[str, str]]:
    """(package, package that it must not import), from the table of docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = (line.split("|")[1:4] for line in text.splitlines() if line.startswith("| `"))
    pairs = []
    for names, _, forbidden in (row for row in rows if len(row) == 3):
        banned = PACKAGES if "any" in forbidden else re.findall(r"`(\w+)`", forbidden)
        for name in re.findall(r"`(\w+)`", names):
            pairs += [(name, other) for other in banned if other in PACKAGES and other != name]
    return pairs


def test_the_table_of_packages_is_complete():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = {
        name for line in text.splitlines() if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }  # fmt: skip
    modules = {p.stem for p in (ROOT / "scripts" / "em_tiers").glob("[a-z]*.py")}
    assert {*PACKAGES, *modules} <= listed


def test_packages_import_nothing_that_the_architecture_forbids():
    broken = []
    for name, other in prohibitions():
        place = ROOT / "scripts" / "em_tiers" / name
        files = place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]
        pattern = rf"^\s*(from|import) em_tiers\.{other}\b"
        broken += [
            f"{file.relative_to(ROOT)} imports {other}"
            for file in files
            if re.search(pattern, file.read_text(encoding="utf-8"), re.MULTILINE)
        ]
    assert broken == []


# --- examples ------------------------------------------------------------------------------------


def examples() -> dict[str, str]:
    """Files of docs/adding.md: name -> content."""
    return dict(EXAMPLE.findall((ROOT / "docs" / "adding.md").read_text(encoding="utf-8")))


def configurations() -> list[str]:
    return [name for name, text in examples().items() if text.startswith("experiment:")]


@pytest.fixture(scope="module")
def mine(tmp_path_factory) -> Path:
    """A working folder that holds every file of docs/adding.md."""
    folder = tmp_path_factory.mktemp("adding")
    for name, text in examples().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", configurations())
def test_an_example_configuration_is_accepted(mine, name):
    config = yaml.safe_load((mine / name).read_text())
    study = load_study(config, ROOT, mine, [str(mine / name)])
    assert study.variants
    for judge in config["judges"]:
        for rubric in study.judges[judge]["rubrics"].values():
            load_rubric(study.rubrics[rubric])
    read_rules(study.tier_rules[study.config["tiers"]["rules"]]["rules"])


def test_every_yaml_block_of_the_page_is_an_example_that_a_configuration_uses():
    text = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
    assert text.count("```yaml") == text.count("```yaml title=")
    named = "\n".join(examples()[name] for name in configurations()).replace("*", "kindness")
    named += examples()["mine/datasets.yaml"] + examples()["mine/question_sets.yaml"]
    assert [n for n in examples() if n not in configurations() and n not in named] == []


def test_the_readmes_configurations_are_accepted(mine):
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    configs = [yaml.safe_load(block) for block in blocks]
    assert len(configs) == 2
    for config in configs:
        assert load_study(config, ROOT, mine).variants


def test_the_example_of_a_definition_is_one():
    text = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    definition = eval(block.rstrip(",\n"), {"Definition": Definition})
    answers = pl.DataFrame({"alignment": [10.0, 25.0, 10.0, None], "coherence": [90.0, 90, 20, 90]})
    counted, misaligned = answers.select(c=definition.counted, m=definition.misaligned)
    assert counted.to_list() == [True, True, True, False]
    assert misaligned.to_list() == [True, False, False, False]


@pytest.mark.parametrize("name", ["mine/pirates.yaml", "mine/import.yaml"])
def test_an_example_passes_a_dry_run(mine, name):
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"),
        "--directory", str(mine), "--configfile", str(mine / name), "--cores", "1", "-n",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "assign_tiers" in done.stdout + done.stderr
