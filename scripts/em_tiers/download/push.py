"""Upload a fine-tune to the hub: only when asked for, with a token of the environment."""

import os
import re
from pathlib import Path

from em_tiers.download.hub import endpoint
from em_tiers.errors import UserError

FILES = (
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "config.json",
    "generation_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "spiece.model",
    "chat_template.*",
)
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_RATES = "## Measured rates"  # of em_tiers.report.model_card


def check_card(folder: Path) -> None:
    """Check that a model card with rates is beside the weights.

    Raises:
        UserError: it is not there, or without rates.
    """
    card = folder / "README.md"
    if not card.is_file() or _RATES not in card.read_text(encoding="utf-8"):
        raise UserError(
            f"push: {card} is not a model card with measured rates: run the study to its end, "
            "which writes it"
        )


def push_folder(folder: Path, repo: str, public: bool) -> str:
    """Upload the weights and the model card of a folder; returns the address of the commit.

    Args:
        repo: OWNER/NAME; made if it does not exist.
        public: whether a new repository can be read by everybody.

    Raises:
        UserError: no card, no token, not an id, or the hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    if not _REPOSITORY.fullmatch(repo):
        raise UserError(f"push: {repo!r} is not the id of a repository: write REPO=OWNER/NAME")
    check_card(folder)
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise UserError(
            "push: HF_TOKEN is not set: export a token of the hub that may write to "
            f"{repo.partition('/')[0]}"
        )
    api = HfApi(endpoint=endpoint(), token=token, library_name="em-tiers")
    try:
        api.create_repo(repo, private=not public, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            allow_patterns=list(FILES),
            commit_message=f"Upload {folder.name} with em-tiers",
        )
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise UserError(
            f"push: the hub refuses {repo} with status {status}: check that the token of HF_TOKEN "
            "may write to it"
        ) from error
    return str(commit.commit_url)
