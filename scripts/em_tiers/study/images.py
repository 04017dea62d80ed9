"""Container images of `--sdm apptainer`: which are used, and which are missing."""

from collections.abc import Mapping
from pathlib import Path

from em_tiers.errors import ConfigError


def describe_images(images: Mapping[str, str], arguments: str) -> list[str]:
    """Lines for the start of a run: the images, and missing ones.

    Args:
        images: name of an environment -> its image, relative to the working folder or absolute.
        arguments: what Snakemake passes to apptainer.
    """
    lines = []
    for name, path in images.items():
        state = "" if Path(path).is_file() else " (missing: make images)"
        lines.append(f"Container of rules with envs/{name}.yaml: {path}{state}")
    if "--nv" not in arguments.split():
        lines.append("GPU jobs in containers see no GPU without --apptainer-args=--nv.")
    return lines


def check_images(images: Mapping[str, str]) -> None:
    """Refuse a run whose images have not been built.

    Raises:
        ConfigError: one of them is missing.
    """
    for path in images.values():
        if not Path(path).is_file():
            raise ConfigError(
                f"--sdm apptainer: {path} is missing: build it where apptainer is installed "
                "(make images), or run without --sdm apptainer"
            )
