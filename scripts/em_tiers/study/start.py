"""What is checked when a run starts: what a dry run does not need, before anything is written."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from em_tiers.damage import damaged_tables, remove
from em_tiers.errors import ConfigError
from em_tiers.study import api_models, images
from em_tiers.study.checks import check_keys, check_ready
from em_tiers.study.outdated import outdated_files
from em_tiers.study.study import Study
from em_tiers.study.variants import brought_id

_DEFAULT_LIMIT = (100, 1)  # Snakemake's own: jobs in so many seconds
_ONLY_PRINT = {"plan_requests", "show_status"}
# Of the study's models these need the size only.
_CHECK_NODES = {"check_gpu", "show_gpu_checks"}


def look_for_jobs_when_one_ends(workflow: Any) -> None:
    """On one machine, do without the limit of jobs that start per second: cores limit them there.

    With it, Snakemake 9.27 also looks for jobs once per second for each job that has ended while
    others wait: after 20 jobs 20 times per second, each time with the size of every input. A limit
    of the user's own is kept.
    """
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if workflow.local_exec and limit and (limit.max_jobs, limit.timespan) == _DEFAULT_LIMIT:
        workflow.scheduler.job_rate_limiter = None


def check_start(study: Study, needed: Iterable[Any], used_images: Mapping[str, str] | None) -> bool:
    """Check a study for the jobs of this run; returns whether these jobs need the study.

    Args:
        needed: Snakemake's jobs, of which the rules and the wildcards are read.
        used_images: container images, keyed by name; None without containers.

    Raises:
        ConfigError: a job would fail, or mix results of two states of the study.
    """
    jobs = list(needed)
    rules = {job.rule.name for job in jobs}
    if rules <= _ONLY_PRINT:
        return False
    if rules <= _CHECK_NODES:
        return True
    if study.config["partial"] and "archive" in rules:
        raise ConfigError("archive: partial results cannot be archived: finish the study first")
    if used_images is not None:
        images.check_images(used_images)
    judges = {job.wildcards.judge for job in jobs if job.rule.name == "judge_api"}
    sampled = [job.wildcards.batch for job in jobs if job.rule.name == "sample_api"]
    check_ready(study, [downloaded(job) for job in jobs])
    check_keys(study, sorted(judges), api_models.asked_models(study, sampled))
    return True


def downloaded(job: Any) -> str:
    """What a job downloads, as `checks.unpinned` names it; meaningless for other jobs."""
    if job.rule.name == "download_adapter":
        return brought_id(job.wildcards.base, job.wildcards.adapter)
    if job.rule.name == "download_questions":
        return f"question_sets.{job.wildcards.question_set}"
    kind = job.rule.name.removeprefix("download_")
    return f"{kind}s.{getattr(job.wildcards, kind, '')}"


def remove_leftovers(study: Study, experiment: Path, results: Path) -> list[str]:
    """Remove tables of an earlier division into batches; returns a line about each.

    Raises:
        ConfigError: tables are damaged. They are removed, but the jobs of this run are settled
            already: only another run makes them again.
    """
    if damaged := damaged_tables(str(experiment), str(results)):
        raise ConfigError("\n".join(map(remove, damaged)))
    outdated = list(outdated_files(study, experiment, results))
    for path in outdated:
        path.unlink()
    return [f"{path} is of an earlier division into batches and is removed." for path in outdated]
