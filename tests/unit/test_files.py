"""Files and folders appear whole or not at all."""

import pytest

from em_tiers.files import atomic_directory, atomic_path, remove_abandoned


@pytest.mark.parametrize("atomic", [atomic_path, atomic_directory])
def test_a_failure_leaves_the_old_and_no_part(atomic, tmp_path):
    target = tmp_path / "a"
    for content, error in (("old", None), ("new", RuntimeError)):
        try:
            with atomic(target) as new:
                (new / "x" if new.is_dir() else new).write_text(content)
                if error:
                    raise error
        except RuntimeError:
            pass
    assert (target / "x" if target.is_dir() else target).read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    kept = {".a.b.c.abcd1234.part", ".a.bc.abcd1234.part", ".a.b.abcd1234", "a.b", ".a.b.ab.part"}
    for name in kept:
        (tmp_path / name).touch()
    (tmp_path / ".a.b.abcd1234.part").mkdir()
    (tmp_path / ".a.b.abcd1234.part" / "model.safetensors").touch()
    (tmp_path / ".a.b._bcd123_.part").touch()
    remove_abandoned(tmp_path / "a.b")
    assert {path.name for path in tmp_path.iterdir()} == kept
