"""What the loopback hub answers to an upload: a new repository, the kind of each file, a commit.

Files that the real hub stores as large ones go to its storage first, by the LFS protocol.
"""

import base64
import hashlib
import json
import re

_REPO = re.compile(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main$")
_BATCH = re.compile(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch$")


class Uploads:
    """The part of the hub's request handler that takes uploads; `hub.writer` may write."""

    def do_POST(self) -> None:
        body = self.note()
        path = self.path.split("?")[0]
        if path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []}, {}, None)
        elif self.headers.get("Authorization") != f"Bearer {self.hub.writer}":
            self._send(403, b"", {})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif match := _BATCH.match(path):
            self._batch(json.loads(body))
        elif match := _REPO.match(path):
            repository = self.hub.repositories["models", match[1]]
            if match[2] == "preupload":
                self._preupload(repository, json.loads(body)["files"])
            else:
                self._commit(match[1], repository, [json.loads(line) for line in body.splitlines()])
        else:
            self._send(404, b"", {})

    def do_PUT(self) -> None:
        body = self.note()
        self.hub.stored[hashlib.sha256(body).hexdigest()] = body
        self._send(200, b"", {})

    def _create(self, asked: dict) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if ("models", name) in self.hub.repositories:
            self._send(409, b"{}", {})
            return
        is_private = asked.get("visibility") == "private" or asked.get("private")
        token = self.hub.writer if is_private else None
        self.hub.add("model", name, {}, token=token)
        self._json({"url": f"{self.hub.url}/{name}", "name": name, "id": name}, {}, None)

    def _preupload(self, repository, files: list[dict]) -> None:
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if repository.is_large(file["path"]) else "regular",
                "shouldIgnore": False,
            }
            for file in files
        ]
        self._json({"files": modes}, {}, None)

    def _batch(self, asked: dict) -> None:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.hub.storage_url}/{one['oid']}"}}}
            for one in asked["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects}, {}, None)

    def _commit(self, name: str, repository, lines: list[dict]) -> None:
        files = dict(repository.files)
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
        commit = self.hub.add("model", name, files, token=repository.token).revision
        url = f"{self.hub.url}/{name}/commit/{commit}"
        self._json({"success": True, "commitOid": commit, "commitUrl": url}, {}, None)
