"""Batches: the variants that share one start of the engine for sampling, or of a judge.

A sampling batch holds one base model, or its fine-tunes on one data set, and is named after them: a
failed fine-tune holds up its own data set only. A judging batch takes answers of any base model:
one start of a large judge scores twenty small models.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from em_tiers.hashing import hash_of
from em_tiers.study.variants import Variant


def sampling_batches(variants: Sequence[Variant], size: int) -> dict[str, list[Variant]]:
    """Variants by the batch whose file of responses holds their answers.

    A base model alone is the batch BASE; its fine-tunes on one data set are BASE.DATASET.0,
    BASE.DATASET.1, ... of at most `size` variants, in the configuration's order; so are adapters
    that a user brings, as BASE.adapter.0, whatever their data sets, because no training of theirs
    can fail; imported answers are import.ID each.
    """
    groups: dict[str, list[Variant]] = defaultdict(list)
    for variant in variants:
        groups[_group(variant)].append(variant)
    batches: dict[str, list[Variant]] = {}
    for name, members in groups.items():
        if members[0].parent is None:
            batches[name] = members
            continue
        for start in range(0, len(members), size):
            batches[f"{name}.{start // size}"] = members[start : start + size]
    return batches


def _group(variant: Variant) -> str:
    if variant.imported or variant.parent is None:
        return variant.variant
    return f"{variant.base}.{'adapter' if variant.adapter else variant.dataset}"


def judging_batches(batches: Mapping[str, Sequence[Variant]], size: int) -> dict[str, list[str]]:
    """Ids of sampling batches by the judging batch that scores them: I-of-N.

    N is the smallest power of two for which a judging batch has `size` variants on average, or
    fewer. The place of a sampling batch follows from a hash of its id alone. A batch that is added
    therefore changes one judging batch, except where the study outgrows N: then each one splits in
    two, and the journal answers what was judged before.
    """
    total = sum(len(members) for members in batches.values())
    number = 1
    while number * size < total:
        number *= 2
    places: dict[int, list[str]] = defaultdict(list)
    for name in batches:
        places[int(hash_of(name, 16), 16) % number].append(name)
    return {f"{place + 1}-of-{number}": places[place] for place in sorted(places)}
