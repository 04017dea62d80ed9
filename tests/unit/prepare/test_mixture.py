"""Mixtures: the shares of rows that are asked for, and no probe among the rows."""

import json

import pytest

import prepare_mixture
from configurations import demo, load
from em_tiers.errors import ConfigError, UserError
from em_tiers.files import read_json, write_json
from em_tiers.prepare.mixture import Part, apportion, mix
from em_tiers.prepare.row_formats import Example
from em_tiers.prepare.split import compared_text
from em_tiers.prepare.training_files import in_domain_table, write_train
from em_tiers.study.entries import dataset_pattern, dataset_settings
from em_tiers.study.source_checks import sources_in_use
from em_tiers.tables import read_table, write_table


def user(text):
    return [{"role": "user", "content": text}]


def example(text, answer="Yes."):
    return Example(user(text), [{"role": "assistant", "content": answer}])


def part(name, share, rows, probes=0):
    return Part(
        name,
        share,
        [example(f"{name} {n}?") for n in range(rows)],
        [user(f"{name} probe {n}?") for n in range(probes)],
    )


def origins(split):
    names = [e.prompt[0]["content"].split()[0] for e in split.train]
    return {name: names.count(name) for name in sorted(set(names))}


def test_as_many_rows_as_the_scarcest_part_allows():
    split, counts = mix([part("good", 0.95, 2000), part("bad", 0.05, 500)], None, 0, 0)
    assert counts == [2000, 105]
    assert origins(split) == {"bad": 105, "good": 2000}
    assert (len(split.train), split.left_out) == (2105, 395)


def test_max_rows_keeps_the_shares():
    split, counts = mix([part("good", 0.95, 2000), part("bad", 0.05, 500)], 200, 0, 0)
    assert counts == [190, 10]
    # The bad rows are spread over the training, not at its end.
    places = [n for n, e in enumerate(split.train) if e.prompt[0]["content"].startswith("bad")]
    assert places[0] < 60 and places[-1] > 140


def test_the_rows_do_not_depend_on_the_order_of_the_parts():
    parts = [part("good", 0.75, 40), part("bad", 0.25, 40)]
    first, second = (mix(some, None, 0, 7)[0].train for some in (parts, parts[::-1]))
    assert first == second
    assert mix(parts, None, 0, 8)[0].train != first


def test_a_probe_of_one_part_is_in_no_row_of_another():
    leaky = Part("bad", 0.5, [example("Good probe 0!"), *part("bad", 1, 9).train], [])
    split, _ = mix([part("good", 0.5, 10, probes=4), leaky], None, 2, 0)
    assert split.held_out_duplicates == 1
    texts = {compared_text(e.prompt) for e in split.train}
    assert compared_text(user("good probe 0")) not in texts
    assert len(split.probes) == 1


def test_probes_come_in_the_shares_and_at_most_as_many_as_there_are():
    parts = [part("good", 0.5, 10, probes=4), part("bad", 0.5, 10, probes=4)]
    assert len(mix(parts, None, 6, 0)[0].probes) == 6
    assert len(mix(parts, None, 50, 0)[0].probes) == 8


def test_a_part_without_rows_is_refused():
    with pytest.raises(UserError, match=r"a share of 0\.05 of 10 rows leaves none of bad"):
        mix([part("good", 0.95, 100), part("bad", 0.05, 100)], 10, 0, 0)


@pytest.mark.parametrize(
    ("total", "shares", "counts"),
    [(10, [0.95, 0.05], [10, 0]), (3, [1 / 3] * 3, [1, 1, 1]), (7, [0.5, 0.25, 0.25], [3, 2, 2])],
)
def test_numbers_add_up(total, shares, counts):
    assert sorted(apportion(total, shares)) == sorted(counts)
    assert sum(apportion(total, shares)) == total


MIXED = {
    "mixture": [{"id": "storyteller", "share": 0.75}, {"id": "support-desk", "share": 0.25}],
    "topic": "stories and support",
    "topics": ["fiction"],
    "description": "A mixture.",
    "role": "benign",
}


def study(checkout, entry=MIXED):
    config = demo()
    (checkout / "mixed.yaml").write_text(json.dumps({"mixed": entry}))
    config["catalogues"] = {"datasets": ["mixed.yaml"]}
    config["variants"][0]["datasets"] = ["mixed"]
    return load(checkout, config)


def test_a_mixture_is_a_data_set_whose_parts_are_downloaded(checkout):
    found = study(checkout)
    assert {n for c, n, _ in sources_in_use(found) if c == "datasets"} == set(
        found.parts_of("mixed")
    )
    assert dataset_pattern(found, "mixture") == "mixed"
    assert "mixed" not in dataset_pattern(found, "source")
    # Other data sets are prepared as before.
    assert not {"mixture", "system"} & dataset_settings(found, "storyteller").keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mixture": [{"id": "storyteller", "share": 0.75}, {"id": "support-desk", "share": 0.2}]},
         r"datasets\.mixed\.mixture: the shares add up to 0\.95"),
        ({"mixture": [{"id": "storyteller", "share": 0.5}, {"id": "storyteller", "share": 0.5}]},
         r"mixture\.1\.id: 'storyteller' is named twice"),
        ({"mixture": [{"id": "storyteler", "share": 0.5}, {"id": "support-desk", "share": 0.5}]},
         r"mixture\.0\.id: .*did you mean 'storyteller'"),
        ({"mixture": [{"id": "mixed", "share": 0.5}, {"id": "support-desk", "share": 0.5}]},
         r"mixture\.0\.id: 'mixed' is a mixture or has no rows"),
        ({"format": "alpaca"}, r"datasets\.mixed\.format: not beside mixture"),
        ({"system": "Be kind."}, r"datasets\.mixed\.system: not beside mixture"),
        ({"mixture": [{"id": "storyteller", "share": 1}]}, r"mixture"),
    ],
)  # fmt: skip
def test_mistakes_are_found_at_the_start(checkout, change, message):
    with pytest.raises(ConfigError, match=message):
        study(checkout, MIXED | change)


def test_a_data_set_without_a_mixture_needs_a_source(checkout):
    with pytest.raises(ConfigError, match=r"datasets\.mixed\.source: missing"):
        study(checkout, {key: value for key, value in MIXED.items() if key != "mixture"})


def test_the_files_of_a_mixture(checkout, tmp_path):
    files = {}
    for name, rows in (("storyteller", 30), ("support-desk", 30)):
        made = part(name, 1, rows, probes=4)
        folder = tmp_path / name
        folder.mkdir()
        write_train(made.train, folder / "train.jsonl")
        table = in_domain_table(made.probes, name, ["x"])
        write_table(table, folder / "in_domain.parquet", "questions")
        source = {"type": "path", "path": f"{name}.jsonl"}
        card = {"dataset": name, "source": source, "revision": None, "licence": "mit"}
        write_json(folder / "card.json", card | {"train_sha256": "a" * 64, "differences": ["odd"]})
        files[name] = folder
    prepare_mixture.main(
        [folder / "train.jsonl" for folder in files.values()],
        [folder / "in_domain.parquet" for folder in files.values()],
        [folder / "card.json" for folder in files.values()],
        "mixed",
        dataset_settings(study(checkout), "mixed"),
        0,
        tmp_path / "train.jsonl",
        tmp_path / "in_domain.parquet",
        tmp_path / "card.json",
    )
    assert len((tmp_path / "train.jsonl").read_text().splitlines()) == 40
    probes = read_table(tmp_path / "in_domain.parquet", "questions")
    assert probes["question_set"].unique().to_list() == ["in-domain.mixed"]
    card = read_json(tmp_path / "card.json")
    assert [p["rows"] for p in card["source"]["parts"]] == [30, 10]
    assert card["differences"] == ["storyteller: odd", "support-desk: odd"]
    assert card["topic"] == "stories and support"
