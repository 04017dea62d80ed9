"""A file that ships inside an installed Python distribution, found without importing it."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from em_tiers.errors import UserError
from em_tiers.files import sha256_of_file


def find_package_file(package: str, version: str, file: str, sha256: str) -> Path:
    """Path of `file` (as the distribution's RECORD names it) of the installed `package`.

    Raises:
        UserError: not installed, another version, no such file, or another content.
    """
    remedy = f"pip install --no-deps {package}=={version}"
    try:
        found = distribution(package)
    except PackageNotFoundError as error:
        raise UserError(f"package {package}: not installed: {remedy}") from error
    if found.version != version:
        raise UserError(f"package {package}: version {found.version} is installed: {remedy}")
    listed = [entry for entry in found.files or [] if entry.as_posix() == file]
    path = Path(str(found.locate_file(listed[0]))) if listed else None
    if path is None or not path.is_file():
        raise UserError(f"package {package}: holds no {file}: correct `file` in the catalogue")
    digest = sha256_of_file(path)
    if digest != sha256:
        raise UserError(f"package {package}: SHA-256 of {file} is {digest}, expected {sha256}")
    return path
