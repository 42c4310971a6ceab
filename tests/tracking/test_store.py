"""A SQLite store that cannot be opened is told at once, before a training and by every command."""

import sqlite3
from contextlib import closing

import pytest

from pipeline.errors import InputError
from pipeline.tracking.store import check_sqlite, check_store, connect


def _make(path, *, locked=False):
    store = sqlite3.connect(path)
    store.execute("CREATE TABLE a (b)")
    store.executemany("INSERT INTO a VALUES (?)", [("x" * 500,)] * 50)
    store.commit()
    if locked:
        store.execute("BEGIN EXCLUSIVE")
    return store


def _cut(path):
    _make(path).close()
    path.write_bytes(path.read_bytes()[:3000])


def _put_file_above(path):
    path.parent.rmdir()
    path.parent.touch()


FAULTS = {
    "a pointer of Git LFS": (lambda p: p.write_text("version https://git-lfs.github.com"), "not a"),
    "cut": (_cut, "malformed"),
    "a folder": (lambda p: p.mkdir(), "folder"),
    "below a file": (_put_file_above, "exists"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_cannot_be_opened_is_named_with_the_cause(fault, tmp_path, monkeypatch):
    path = tmp_path / "stores" / "mlflow.db"
    path.parent.mkdir()
    spoil, cause = FAULTS[fault]
    spoil(path)
    uri = f"sqlite:///{path}"
    with pytest.raises(InputError, match=rf"(?i)mlflow\.db cannot be opened .*{cause}.*; .*URI"):
        check_store(uri, offline=False, enabled=True)
    check_store(uri, offline=False, enabled=False)
    with pytest.raises(InputError, match=r"mlflow\.db"):
        connect(uri)


@pytest.mark.parametrize(
    "uri", ["sqlite:///", "sqlite://", "sqlite:mlflow.db", "sqlite:///:memory:"]
)
def test_a_store_without_a_file_is_refused(uri):
    with pytest.raises(InputError, match="names no file"):
        check_sqlite(uri)


def test_what_is_or_can_be_made_is_a_store(tmp_path):
    check_sqlite("http://127.0.0.1:9")
    check_sqlite(f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "empty 100%.db").touch()
    check_sqlite(f"sqlite:///{tmp_path / 'empty 100%.db'}?timeout=5")
    with closing(_make(tmp_path / "a.db")):
        check_sqlite(f"sqlite:///{tmp_path / 'a.db'}", write=False)
        check_sqlite(f"sqlite:///{tmp_path / 'a.db'}")


def test_the_program_that_holds_a_store_is_to_be_ended(tmp_path, monkeypatch):
    whole = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: whole(*a, **k | {"timeout": 0.01}))
    with (
        closing(_make(tmp_path / "a.db", locked=True)),
        pytest.raises(InputError, match=r"locked.*; end the program"),
    ):
        check_sqlite(f"sqlite:///{tmp_path / 'a.db'}")
