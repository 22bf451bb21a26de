"""Which repository holds what: SQLite in WAL mode, one writer, one reader.

Blocking, and safe to call from several threads.  Content lies in files beside it; a row is
added after its file is durable and removed before its file is.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bpfpack.registry.server.condition import Condition
from bpfpack.registry.server.storage import NewManifest, Overtaken, Page
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import StoreError
from bpfpack.spec.limits import LIMITS

_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE blob (
    repository TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
CREATE INDEX blob_digest ON blob (digest);
CREATE TABLE manifest (
    repository TEXT NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL,
    subject TEXT, artifact_type TEXT, descriptor TEXT,
    PRIMARY KEY (repository, digest)
);
CREATE INDEX manifest_digest ON manifest (digest);
CREATE INDEX manifest_subject ON manifest (repository, subject, digest)
    WHERE subject IS NOT NULL;
CREATE TABLE tag (
    repository TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL,
    PRIMARY KEY (repository, name)
) WITHOUT ROWID;
CREATE INDEX tag_digest ON tag (repository, digest);
"""
# Pages of referrers end here, so that with its envelope a page stays a manifest's size
# unless a single descriptor does not.
_PAGE_BYTES: Final = LIMITS.manifest // 2
_PAGE_ENTRIES: Final = 1000


class Metadata:
    """The database of one data directory."""

    def __init__(self, path: Path) -> None:
        """Open or create it; raises StoreError."""
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()
        with _mapped(path):
            self._writer = _connect(path)
            try:
                _prepare(self._writer, path)
                self._reader = _connect(path)
            except BaseException:
                self._writer.close()
                raise
        self._path = path

    def close(self) -> None:
        """Close both connections."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()

    def blob_size(self, repository: str, digest: Digest) -> int | None:
        """Return the size of a blob of this repository."""
        row = self._one(
            "SELECT size FROM blob WHERE repository = ? AND digest = ?", repository, str(digest)
        )
        return row[0] if row else None

    def add_blob(
        self, repository: str, digest: Digest, size: int, publish: Callable[[], None]
    ) -> None:
        """Link a blob to a repository, after ``publish`` has given its file its name."""
        with self._transaction() as db:
            publish()
            _link(db, repository, digest, size)

    def mount(self, repository: str, digest: Digest, source: str | None) -> bool:
        """Link a blob that ``source``, or any repository, holds; say whether one does."""
        with self._transaction() as db:
            row = db.execute(
                "SELECT size FROM blob WHERE digest = ? AND (? IS NULL OR repository = ?) LIMIT 1",
                (str(digest), source, source),
            ).fetchone()
            if row:
                _link(db, repository, digest, row[0])
        return row is not None

    def delete_blob(self, repository: str, digest: Digest, unlink: Callable[[], None]) -> bool:
        """Take a blob out of a repository; ``unlink`` runs when no other repository has it."""
        return self._delete(
            "DELETE FROM blob WHERE repository = ? AND digest = ?", repository, digest, unlink
        )

    def manifest(self, repository: str, reference: Digest | str) -> tuple[Digest, str] | None:
        """Return digest and media type of what a digest or tag names."""
        if isinstance(reference, Digest):
            row = self._one(
                "SELECT digest, media_type FROM manifest WHERE repository = ? AND digest = ?",
                repository,
                str(reference),
            )
        else:
            row = self._one(
                "SELECT manifest.digest, media_type FROM tag JOIN manifest"
                " ON manifest.repository = tag.repository AND manifest.digest = tag.digest"
                " WHERE tag.repository = ? AND tag.name = ?",
                repository,
                reference,
            )
        return (Digest.parse(row[0]), row[1]) if row else None

    def put_manifest(
        self,
        repository: str,
        manifest: NewManifest,
        tags: Sequence[str],
        publish: Callable[[], None],
        condition: Condition | None = None,
    ) -> frozenset[Digest]:
        """Record a manifest and its tags together; return the blobs it lacks instead, if any.

        Raises Overtaken when ``condition`` does not hold: asked and done in one transaction.
        """
        digest = str(manifest.digest)
        with self._transaction() as db:
            if condition and not condition.holds(_named(db, repository, condition.name)):
                raise Overtaken(f"{condition.name} is not what it was taken for")
            if missing := _missing(db, repository, manifest.needs):
                return missing
            publish()
            db.execute(
                "INSERT OR REPLACE INTO manifest VALUES (?, ?, ?, ?, ?, ?)",
                (
                    repository,
                    digest,
                    manifest.media_type,
                    str(manifest.subject) if manifest.subject else None,
                    manifest.artifact_type,
                    manifest.descriptor if manifest.subject else None,
                ),
            )
            db.executemany(
                "INSERT OR REPLACE INTO tag VALUES (?, ?, ?)",
                [(repository, tag, digest) for tag in tags],
            )
        return frozenset()

    def delete_manifest(self, repository: str, digest: Digest, unlink: Callable[[], None]) -> bool:
        """Forget a manifest and every tag on it; ``unlink`` as for blobs."""
        return self._delete(
            "DELETE FROM manifest WHERE repository = ? AND digest = ?",
            repository,
            digest,
            unlink,
            also="DELETE FROM tag WHERE repository = ? AND digest = ?",
        )

    def delete_tag(self, repository: str, tag: str) -> bool:
        """Forget a tag and leave its manifest."""
        with self._transaction() as db:
            done = db.execute(
                "DELETE FROM tag WHERE repository = ? AND name = ?", (repository, tag)
            )
            return done.rowcount > 0

    def tags(self, repository: str, after: str, most: int) -> Page | None:
        """Return up to ``most`` tags after ``after``, in byte order."""
        known = self._one(
            "SELECT EXISTS (SELECT 1 FROM manifest WHERE repository = ?1)"
            " OR EXISTS (SELECT 1 FROM blob WHERE repository = ?1)",
            repository,
        )
        if not known or not known[0]:
            return None
        rows = self._all(
            "SELECT name FROM tag WHERE repository = ? AND name > ? ORDER BY name LIMIT ?",
            repository,
            after,
            most + 1,
        )
        names = tuple(row[0] for row in rows[:most])
        return Page(entries=names, last=names[-1] if names else "", more=len(rows) > most)

    def referrers(
        self, repository: str, subject: Digest, artifact_type: str | None, after: str
    ) -> Page:
        """Return descriptors of what refers to ``subject``, bounded in number and bytes."""
        found: list[str] = []
        last, total, more = "", 0, False
        with self._read_lock, _mapped(self._path):
            rows = self._reader.execute(
                "SELECT digest, descriptor FROM manifest WHERE repository = ?1 AND subject = ?2"
                " AND digest > ?3 AND (?4 IS NULL OR artifact_type = ?4) ORDER BY digest",
                (repository, str(subject), after, artifact_type),
            )
            for digest, descriptor in rows:
                total += len(descriptor)
                if found and (total > _PAGE_BYTES or len(found) == _PAGE_ENTRIES):
                    more = True
                    break
                found.append(descriptor)
                last = digest
            rows.close()
        return Page(entries=tuple(found), last=last, more=more)

    def _delete(
        self,
        statement: str,
        repository: str,
        digest: Digest,
        unlink: Callable[[], None],
        *,
        also: str | None = None,
    ) -> bool:
        # The lock is held until the file is gone: a push of the same content that came
        # between commit and unlink would lose its file.
        with self._write_lock, _mapped(self._path):
            with _begun(self._writer) as db:
                found = db.execute(statement, (repository, str(digest))).rowcount > 0
                if also:
                    db.execute(also, (repository, str(digest)))
                (used,) = db.execute(
                    "SELECT EXISTS (SELECT 1 FROM blob WHERE digest = ?1)"
                    " OR EXISTS (SELECT 1 FROM manifest WHERE digest = ?1)",
                    (str(digest),),
                ).fetchone()
            if found and not used:
                unlink()
        return found

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._write_lock, _mapped(self._path), _begun(self._writer) as db:
            yield db

    def _one(self, statement: str, *values: Any) -> Any:
        with self._read_lock, _mapped(self._path):
            return self._reader.execute(statement, values).fetchone()

    def _all(self, statement: str, *values: Any) -> list[Any]:
        with self._read_lock, _mapped(self._path):
            return self._reader.execute(statement, values).fetchall()


def _connect(path: Path) -> sqlite3.Connection:
    # Autocommit: transactions begin and end where this module says.
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        # FULL syncs the log at every commit: what was acknowledged survives a power cut.
        db.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == 0:
        db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version = {_VERSION};COMMIT;")
    elif version != _VERSION:
        raise StoreError(f"{path} has format {version}, this bpfpack knows {_VERSION}")


@contextmanager
def _begun(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


@contextmanager
def _mapped(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as e:
        raise StoreError(f"{path}: {e}") from e


def _link(db: sqlite3.Connection, repository: str, digest: Digest, size: int) -> None:
    db.execute("INSERT OR REPLACE INTO blob VALUES (?, ?, ?)", (repository, str(digest), size))


def _named(db: sqlite3.Connection, repository: str, name: Digest | str) -> Digest | None:
    """What a tag or digest stands for inside a transaction."""
    query = "SELECT digest FROM tag WHERE repository = ? AND name = ?"
    if isinstance(name, Digest):
        query = "SELECT digest FROM manifest WHERE repository = ? AND digest = ?"
    row = db.execute(query, (repository, str(name))).fetchone()
    return Digest.parse(row[0]) if row else None


def _missing(
    db: sqlite3.Connection, repository: str, needs: frozenset[Digest]
) -> frozenset[Digest]:
    query = "SELECT 1 FROM blob WHERE repository = ? AND digest = ?"
    return frozenset(
        need for need in needs if not db.execute(query, (repository, str(need))).fetchone()
    )
