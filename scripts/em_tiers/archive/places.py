"""Machine-dependent paths in an archive, replaced by tokens and put back on restore.

`@CODE@/` a file of the workflow, `@ROOT@` its folder, `@WORKDIR@` the folder of results/, `@HOME@`
the user's home. Snakemake compares recorded paths as text: a rule's params hold a workflow file as
a relative path where one runs inside the checkout, and as an absolute one elsewhere, so those have
a token of their own.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_END = r"(?![\w.-])"
_BEFORE = r"(?<![\w.@/-])"
_ANY_HOME = re.compile(r"(?<![\w@.-])/(?:home|Users)/[^/\s'\":,;)\]]+")
_CODE = re.compile(r"@ROOT@/([^'\"\s,;:)\]}]+)")


@dataclass(frozen=True)
class Places:
    """Folders of one machine, and the workflow's files relative to `root`."""

    root: Path
    workdir: Path
    home: Path
    code: Collection[str] = field(default_factory=frozenset)

    def hide(self, text: str) -> str:
        """Replace absolute paths by tokens."""
        folders = {"@ROOT@": self.root, "@WORKDIR@": self.workdir, "@HOME@": self.home}
        if self.workdir == self.root:
            del folders["@WORKDIR@"]
        for token, folder in sorted(folders.items(), key=lambda item: -len(str(item[1]))):
            if len(folder.parts) > 1:
                text = re.sub(_BEFORE + re.escape(str(folder)) + _END, token, text)
        return text

    def hide_in_log(self, text: str) -> str:
        """As `hide`, and other people's homes too; nothing reads a log back."""
        return _ANY_HOME.sub("@HOME@", self.hide(text))

    def hide_in_record(self, value: Any, quoted: bool = False) -> Any:
        """As `hide`, through a record of Snakemake; workflow files become `@CODE@/NAME`."""
        if isinstance(value, dict):
            return {
                self.hide_in_record(key): self.hide_in_record(below, key == "params")
                for key, below in value.items()
            }
        if isinstance(value, list):
            return [self.hide_in_record(below, quoted) for below in value]
        if not isinstance(value, str):
            return value
        text = _CODE.sub(self._as_code, self.hide(value))
        if text in self.code:
            return f"@CODE@/{text}"
        if quoted and self.workdir == self.root:
            text = re.sub(r"'([^'@\n]+)'", self._as_quoted_code, text)
        return text

    def show(self, value: Any) -> Any:
        """Put this machine's paths in the place of tokens, in text or in a record."""
        if isinstance(value, dict):
            return {self.show(key): self.show(below) for key, below in value.items()}
        if isinstance(value, list):
            return [self.show(below) for below in value]
        if not isinstance(value, str):
            return value
        code = "" if self.workdir == self.root else f"{self.root}/"
        value = value.replace("@CODE@/", code).replace("@ROOT@", str(self.root))
        return value.replace("@WORKDIR@", str(self.workdir)).replace("@HOME@", str(self.home))

    def _as_code(self, match: re.Match) -> str:
        return f"@CODE@/{match[1]}" if match[1] in self.code else match[0]

    def _as_quoted_code(self, match: re.Match) -> str:
        return f"'@CODE@/{match[1]}'" if match[1] in self.code else match[0]
