"""Files that several rules read, with the path variables of the rules."""

from em_tiers.study.api_models import api_batches
from em_tiers.study.asked import question_tables
from em_tiers.study.jobs import carded_datasets
from em_tiers.study.judge_cards import case_kinds, has_cards
from em_tiers.study.judges import CARD_BATCHES, judge_ids, judged_batches
from em_tiers.study.placebo import placebo_topics
from em_tiers.study.study import Study
from em_tiers.terms import JUDGE_CARD


def responses(study: Study, judge: str | None = None) -> list[str]:
    """Responses of all batches, or of those that a judge scores."""
    batches = study.batches if judge is None else judged_batches(study, judge)
    return [f"<experiment>/responses/{batch}.parquet" for batch in batches]


def api_responses(study: Study) -> list[str]:
    """Responses of models behind an API."""
    return [f"<experiment>/responses/{batch}.parquet" for batch in api_batches(study)]


def responses_of_base(study: Study, imported: str) -> list[str]:
    """Responses of the import that an import is compared with; none without a base."""
    base = study.imports[imported]["base"]
    return [f"<experiment>/responses/import.{base}.parquet"] if base in study.imports else []


def questions_of_base(study: Study, imported: str) -> list[str]:
    """Questions that the sampled base model of an import is asked; none without one."""
    base = study.imports[imported]["base"]
    if not base or base in study.imports:
        return []
    return [f"<experiment>/{table}" for table in question_tables(study, study.variants[base])]


def judged_responses(study: Study, batch: str) -> list[str]:
    """Responses that a judging batch scores: answers of the study, or cases that test the judge."""
    if batch in CARD_BATCHES:
        return judge_cases(study, batch)
    return [f"<experiment>/responses/{name}.parquet" for name in study.judging_batches[batch]]


def judge_cases(study: Study, batch: str = JUDGE_CARD) -> list[str]:
    """The tables of cases on which a judge is tested."""
    return [f"<experiment>/judge_cases/{kind}.parquet" for kind in case_kinds(study, batch)]


def judge_case_truths(study: Study, batch: str = JUDGE_CARD) -> list[str]:
    """What is known of these cases."""
    return [f"<experiment>/judge_cases/{kind}.truth.parquet" for kind in case_kinds(study, batch)]


def card_verdicts(study: Study) -> list[str]:
    """Verdicts on these cases of all judges that the study tests."""
    tested = study.config["judges"] if has_cards(study) else []
    return [f"<results>/verdicts/{judge}/{JUDGE_CARD}.parquet" for judge in tested]


def judge_card(study: Study) -> list[str]:
    """The table judge_card, where the study tests its judges."""
    return ["<results>/tables/judge_card.parquet"] if has_cards(study) else []


def judged_datasets(study: Study, batch: str) -> list[str]:
    """Data sets whose cards a judge is shown in a judging batch."""
    own = carded_datasets(study, study.judging_batches.get(batch))
    others = placebo_topics(study) if batch not in CARD_BATCHES else {}
    return list(dict.fromkeys([*own, *(others[name] for name in own if name in others)]))


def judged_cards(study: Study, batch: str) -> list[str]:
    """Cards of the data sets in a judging batch."""
    datasets = judged_datasets(study, batch)
    return [f"<experiment>/datasets/{dataset}/card.json" for dataset in datasets]


def verdicts(study: Study, judge: str | None = None) -> list[str]:
    """Verdicts of one judge, or of all.

    The verdicts of an imported judge are in the file of their import, together with those of the
    other judges in that import.
    """
    if judge is None:
        files = (file for name in judge_ids(study) for file in verdicts(study, name))
        return list(dict.fromkeys(files))
    if judge in study.config["judges"]:
        return [f"<results>/verdicts/{judge}/{batch}.parquet" for batch in study.judging_batches]
    return [f"<experiment>/imports/{batch}.parquet" for batch in judged_batches(study, judge)]


def placebo_verdicts(study: Study) -> list[str]:
    """Verdicts of the study's own judges, among them those on another data set's topic."""
    asked = study.config["judges"] if placebo_topics(study) else []
    return [file for judge in asked for file in verdicts(study, judge)]


def outcomes(study: Study) -> list[str]:
    """Outcomes tables of all judges."""
    return [f"<results>/outcomes/{judge}.parquet" for judge in judge_ids(study)]


def text_marks(study: Study) -> list[str]:
    """Which answers read like training data; none without training data."""
    return ["<results>/text_marks.parquet"] if text_datasets(study) else []


def text_datasets(study: Study) -> list[str]:
    """Data sets with rows on which models that answer here were trained, here or elsewhere."""
    tested = (v for v in study.variants.values() if v.dataset and not v.imported)
    return sorted({v.dataset for v in tested if study.has_rows(v.dataset)})


def trained_datasets(study: Study) -> list[str]:
    """Data sets that fine-tunes of this study train on."""
    return sorted({v.dataset for v in study.fine_tunes})


def trained_models(study: Study) -> list[str]:
    """Base models of these fine-tunes."""
    return sorted({v.base for v in study.fine_tunes})
