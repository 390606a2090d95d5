"""The cache: what has not changed is not read again, and whatever is wrong with it stops nothing."""

import json
import os
import sqlite3

import pytest

from lt_fast.errors import UsageError
from lt_fast.inspection.cache import FactsCache, Key, default_cache, key_of, refuse_inside
from lt_fast.inspection.facts import Facts

FACTS = Facts(None, 3, 4, "RGB", "PNG", None, "00ff", "ff00", 2**64 - 1, "AAAA", 12.5, "Canon")


def test_facts_come_back_as_they_were(tmp_path):
    key, other = Key("a/b.jpg", 7, 2**62), Key("caf\udce9.jpg", 8, 1)
    with FactsCache(tmp_path / "new" / "c.sqlite") as cache:
        assert cache.found(key) is None
        cache.store([(key, FACTS), (other, FACTS._replace(looks=None)), (Key("x", 1, 1), Facts("damaged"))])
    with FactsCache(tmp_path / "new" / "c.sqlite") as cache:
        assert cache.found(key) == FACTS
        assert cache.found(other) == FACTS._replace(looks=None)
        assert cache.found(key._replace(size=8)) is None
        assert cache.found(key._replace(changed=1)) is None
        assert cache.found(Key("x", 1, 1)) is None  # what cannot be read is tried again


def test_a_file_that_changes_has_another_key(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"12")
    before = key_of(str(file))
    os.utime(file, ns=(0, 5))
    assert before[:2] == (str(file), 2)
    assert key_of(str(file)) == (str(file), 2, 5)
    assert key_of(str(tmp_path / "gone")).size == -1


def test_a_path_is_the_same_file_from_wherever_it_starts(tmp_path, monkeypatch):
    (tmp_path / "a").touch()
    monkeypatch.chdir(tmp_path)
    with FactsCache(tmp_path / "c.sqlite") as cache:
        cache.store([(key_of("a"), FACTS)])
        assert cache.found(key_of(str(tmp_path / "a"))) == FACTS


def test_without_a_path_it_stores_nothing():
    with FactsCache(None) as cache:
        cache.store([(Key("a", 1, 1), FACTS)])
        assert cache.found(Key("a", 1, 1)) is None


def test_another_programs_file_is_left_alone(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("mine " * 200)
    database = sqlite3.connect(tmp_path / "other.sqlite")
    database.execute("CREATE TABLE files (path)")
    database.commit()
    database.close()
    for name in ("notes.txt", "other.sqlite"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(UsageError, match=rf"--cache must name a new file or one of lt-fast inspect, got .*{name}"):
            FactsCache(tmp_path / name)
        assert (tmp_path / name).read_bytes() == before
    with pytest.raises(UsageError, match="--cache must name a file, got"):
        FactsCache(tmp_path)


def test_a_file_that_cannot_be_used_is_warned_of(tmp_path, common_user):
    (common_user / "closed").mkdir()
    (common_user / "closed").chmod(0o500)
    with pytest.warns(UserWarning, match=r"c\.sqlite cannot be used \(.*\), so nothing is remembered"):
        cache = FactsCache(common_user / "closed" / "c.sqlite")
    cache.store([(Key("a", 1, 1), FACTS)])
    assert cache.found(Key("a", 1, 1)) is None


def test_a_damaged_row_or_file_is_warned_of(tmp_path):
    path = tmp_path / "c.sqlite"
    with FactsCache(path) as cache:
        cache.store([(Key("a", 1, 1), FACTS)])
    database = sqlite3.connect(path)
    database.execute("UPDATE files SET facts = ?", (json.dumps([None] * 99),))
    database.commit()
    database.close()
    with FactsCache(path) as cache, pytest.warns(UserWarning, match=r"c\.sqlite cannot be used \(.*remove it, or name"):
        assert cache.found(Key("a", 1, 1)) is None
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)  # the header is whole
    path.write_bytes(data)
    with pytest.warns(UserWarning, match=r"c\.sqlite cannot be used"), FactsCache(path) as cache:
        cache.store([(Key("a", 1, 1), FACTS)])


def test_facts_of_an_older_version_are_dropped(tmp_path):
    path = tmp_path / "c.sqlite"
    with FactsCache(path) as cache:
        cache.store([(Key("a", 1, 1), FACTS)])
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 0")
    database.close()
    with FactsCache(path) as cache:
        assert cache.found(Key("a", 1, 1)) is None


def test_the_default_is_by_folder_and_in_the_users_cache(tmp_path, cache_home, monkeypatch):
    one, other = default_cache(tmp_path), default_cache(tmp_path / "x")
    assert one.parent == other.parent == cache_home / "lt-fast"
    assert one != other == default_cache(tmp_path / "y" / ".." / "x")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the specification: to be ignored
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache(tmp_path / "photos").parent == tmp_path / ".cache" / "lt-fast"
    assert default_cache(tmp_path) is None  # the photographs' folder is only read


def test_the_photographs_folder_is_only_read(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    for path in ("photos", "photos/x.csv", "link/deep/x.csv", "photos/../photos/y"):
        with pytest.raises(UsageError, match="--csv must be outside the folder of the photographs, which is only read"):
            refuse_inside(tmp_path / "photos", tmp_path / path, "--csv")
    refuse_inside(tmp_path / "photos", tmp_path / "photos.csv", "--csv")
