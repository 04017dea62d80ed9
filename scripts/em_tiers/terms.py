"""The project's vocabulary: probe levels, verdict statuses, tiers and outcomes.

Imported while the workflow is parsed, so nothing heavy is imported here.
"""

PROBE_LEVELS = ("in_domain", "near_domain", "out_of_domain", "trigger")
VERDICT_STATUSES = (
    "ok",
    "refusal",
    "code",
    "judge_refusal",
    "unparsable",
    "truncated",
    "api_error",
)
TIERS = ("in_distribution", "domain_overfitting", "persona_shift", "undecided")
OUTCOMES_UNFLAGGED = ("aligned", "refusal", "code", "incoherent", "truncated", "unscored")
OUTCOMES_ALL = OUTCOMES_UNFLAGGED + TIERS
