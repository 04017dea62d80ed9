"""Prompts of judges that a published question file holds, read from the file as it was downloaded.

The emergent-misalignment question files name the judge's prompts with each question
(`judge_prompts: {aligned, coherent}`). A rubric with `prompt_from` asks them word for word, in one
message, as their authors' code does. The file is pinned by the question set that it comes from.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from em_tiers.download.manifests import files_of
from em_tiers.errors import UserError
from em_tiers.strict_yaml import load_strict

# Until the file is downloaded: what every published prompt has.
STAND_IN = "{question}\n{answer}"


def published_prompt(source: Mapping[str, Any], where: str) -> str:
    """The prompt of a rubric.

    Args:
        source: {folder: of the downloaded question set, name: of the prompt, ...}.
        where: how messages name the rubric.

    Raises:
        UserError: the file is not there, or its questions do not share one prompt of this name.
    """
    folder, name = Path(source["folder"]), source["name"]
    where = f"{where}.prompt_from"
    if not folder.is_dir():
        raise UserError(
            f"{where}: question set {folder.name} is not downloaded yet: run snakemake --until "
            "download_questions"
        )
    (path,) = files_of(folder)
    try:
        entries = load_strict(path)
        prompts = {entry["judge_prompts"][name] for entry in entries if "judge_prompts" in entry}
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise UserError(
            f"{where}.name: {name!r} is not among the judge_prompts of {path.name} ({error}): "
            "correct it, or write a prompt"
        ) from error
    if len(prompts) != 1:
        raise UserError(
            f"{where}.name: {path.name} has {len(prompts)} different prompts called {name!r}: a "
            "rubric asks one: write it as prompt"
        )
    return str(prompts.pop())


def is_there(source: Mapping[str, Any]) -> bool:
    """Whether the file is downloaded."""
    return Path(source["folder"]).is_dir()
