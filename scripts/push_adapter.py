"""Upload a fine-tune of this study to the hub, with its model card: `make push`."""

import argparse
import sys
from pathlib import Path

from em_tiers.download.push import push_folder
from em_tiers.errors import ConfigError, UserError, require_known
from em_tiers.inference.adapter_folder import verify_adapter
from em_tiers.study.jobs import adapter_folder
from em_tiers.study.load import load_study
from em_tiers.study.schema import load_yaml

ROOT = Path(__file__).resolve().parents[1]


def main(config: Path, root: Path, workdir: Path, variant: str, repo: str, public: bool) -> str:
    """Upload the weights of a variant; returns the address of the commit.

    Raises:
        UserError: the variant was not trained here, or see em_tiers.download.push.
    """
    study = load_study(load_yaml(config), root, workdir, [str(config)])
    tuned = {v.variant for v in study.fine_tunes}
    own = {v.variant: v for v in study.variants.values() if v.parent in tuned}
    require_known(variant, own, "VARIANT", "fine-tune")
    folder = workdir / study.folder / adapter_folder(own[variant])
    if not folder.is_dir():
        raise UserError(f"push: {folder} is missing: run the study first")
    verify_adapter(folder)
    return push_folder(folder, repo, public)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("variant", help="the fine-tune, as tables name it")
    parser.add_argument("repo", help="OWNER/NAME on the hub")
    parser.add_argument("--public", action="store_true", help="make a new repository public")
    given = parser.parse_args()
    try:
        print(main(given.config, ROOT, Path.cwd(), given.variant, given.repo, given.public))
    except (ConfigError, UserError) as error:
        sys.exit(str(error))
