# The start and the end of a run: what is checked, what its jobs are told.
# No rule is defined here.
from em_tiers.damage import damaged_tables, remove
from em_tiers.study.checks import check_keys, check_ready
from em_tiers.study.outdated import outdated_files
from em_tiers.study import images
from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod


def start_run():
    """Check what a dry run does not need, and make the study that of all jobs of this run."""
    needed = list(workflow.dag.needrun_jobs())
    rules = {job.rule.name for job in needed}
    if rules <= {"plan_requests", "show_status"}:
        return  # they only print
    if rules <= {"check_gpu", "show_gpu_checks"}:
        # Of the study's models only the size is needed.
        if IS_ALONE:
            hand_over_study()
        return
    if STUDY.config["partial"] and "archive" in rules:
        raise WorkflowError(
            "archive: partial results cannot be archived: finish the study first"
        )
    try:
        if uses_containers():
            images.check_images(IMAGES)
    except ConfigError as error:
        raise WorkflowError(str(error))
    apis = {job.wildcards.judge for job in needed if job.rule.name == "judge_api"}
    sampled = [job.wildcards.batch for job in needed if job.rule.name == "sample_api"]
    try:
        check_ready(STUDY)
        check_keys(STUDY, sorted(apis), api_models.asked_models(STUDY, sampled))
        if IS_ALONE:
            hand_over_study()
    except ConfigError as error:
        raise WorkflowError(str(error))
    if damaged := damaged_tables(EXPERIMENT, RESULTS):
        # The jobs of this run are settled already: only another one makes them again.
        raise WorkflowError("\n".join(map(remove, damaged)))
    for path in outdated_files(STUDY, Path(EXPERIMENT), Path(RESULTS)):
        logger.info(f"{path} is of an earlier division into batches and is removed.")
        path.unlink()


def hand_over_study():
    """Write the study, and have jobs of the cluster load it instead of the configuration."""
    path = snapshot.write_snapshot(STUDY, f"{RESULTS}/.study")
    # Snakemake gives these to each job that it submits, as --config and --configfiles.
    settings = workflow.config_settings
    settings.config_args = [*settings.config_args, f"{snapshot.KEY}={path}"]
    settings.configfiles = []
    # What scripts see of the configuration: build_report hands it to another Snakemake.
    config[snapshot.KEY] = path


def say_what_was_edited():
    """Why jobs refused to run: otherwise only SLURM's own logs would hold the reason."""
    path = None if workflow.local_exec else config.get(snapshot.KEY)
    if path and (edited := snapshot.edited_code(path, ROOT)):
        logger.error(
            f"The workflow's code was edited after this run started ({edited}). Jobs of the "
            "cluster refuse to run edited code: start the run again."
        )


def uses_containers():
    """Whether `--sdm apptainer` was given."""
    return DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method


if workflow.is_main_process:
    for warning in summaries.warnings(STUDY, RESULTS):
        logger.warning(warning)
    if uses_containers():
        for line in images.describe_images(
            IMAGES, workflow.deployment_settings.apptainer_args
        ):
            logger.warning(line)
if workflow.remote_exec:
    # sbatch passes on the user's whole environment: remove the keys of judges and of the hub.
    for name in [*judges.key_names(STUDY), "HF_TOKEN"]:
        os.environ.pop(name, None)
