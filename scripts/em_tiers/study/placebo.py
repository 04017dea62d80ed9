"""Another data set's topic for each data set: what the tier rules remove by it is chance."""

from em_tiers.errors import ConfigError
from em_tiers.study.study import Study


def placebo_topics(study: Study) -> dict[str, str]:
    """Data set -> the next one of the study with none of its topics; empty where not asked for."""
    if not study.config["tiers"]["placebo_topic"]:
        return {}
    names = list(dict.fromkeys(v.dataset for v in study.variants.values() if v.dataset))
    topics = {name: set(study.datasets[name]["topics"]) for name in names}
    found = {}
    for place, name in enumerate(names):
        after = [*names[place + 1 :], *names[:place]]
        others = (other for other in after if not topics[name] & topics[other])
        if other := next(others, None):
            found[name] = other
    return found


def check_placebo(study: Study) -> None:
    """Check that a placebo is possible.

    Raises:
        ConfigError: it is asked for, and all data sets have a topic in common.
    """
    if study.config["tiers"]["placebo_topic"] and not placebo_topics(study):
        raise ConfigError(
            "config.tiers.placebo_topic: true needs variants of two data sets without a common "
            "topic: add one, or write false"
        )
