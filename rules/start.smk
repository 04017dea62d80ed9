# The start and the end of a run: what is checked, what its jobs are told.
from em_tiers.study import images, start
from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod


def start_run():
    """Check what a dry run does not need, and make the study that of all jobs of this run."""
    used_images = IMAGES if uses_containers() else None
    try:
        if not start.check_start(STUDY, workflow.dag.needrun_jobs(), used_images):
            return
        if IS_ALONE:
            hand_over_study()
            start.look_for_jobs_when_one_ends(workflow)
        for line in start.remove_leftovers(STUDY, Path(EXPERIMENT), Path(RESULTS)):
            logger.info(line)
    except ConfigError as error:
        raise WorkflowError(str(error))


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
