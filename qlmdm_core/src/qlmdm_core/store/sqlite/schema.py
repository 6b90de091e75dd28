"""The tables, by number of migration: how a database is made, brought up to date, checked."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from qlmdm_core.errors import NotSetUpError, StoreCorruptError, StoreError
from qlmdm_core.store.sqlite.connection import explained

APPLICATION_ID = 0x716C6D64  # "qlmd": PRAGMA application_id, and file(1), tell whose file it is

_QUICK_CHECK_BYTES = 8 << 20  # a larger file takes too long to read at each start


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One step forward. `PRAGMA user_version` is the number of the last one made."""

    number: int
    what: str
    statements: Sequence[str]


def _table(name: str, columns: str, options: str = "STRICT") -> str:
    # STRICT is of SQLite 3.37: on an older library the tables are made without.
    kept = [
        o for o in options.split(", ") if o != "STRICT" or sqlite3.sqlite_version_info >= (3, 37)
    ]
    return f"CREATE TABLE {name} ({columns}) {', '.join(kept)}"


# Times are milliseconds since 1970, UTC. JSON that only Python reads is a BLOB or TEXT column;
# no name that a client chose is ever a column, a path or part of a statement.
_FIRST = (
    _table("meta", "key TEXT PRIMARY KEY, value TEXT NOT NULL", "STRICT, WITHOUT ROWID"),
    _table(
        "leases",
        "name TEXT PRIMARY KEY, owner TEXT NOT NULL, until_at INTEGER NOT NULL",
        "STRICT, WITHOUT ROWID",
    ),
    _table("roots", "version INTEGER PRIMARY KEY, document BLOB NOT NULL"),
    _table(
        "invitations",
        """invitation_id TEXT PRIMARY KEY, secret TEXT NOT NULL, created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL, uses INTEGER NOT NULL, used INTEGER NOT NULL,
        created_by TEXT NOT NULL, tags TEXT NOT NULL, user_email TEXT,
        CHECK (used <= uses)""",
        "STRICT, WITHOUT ROWID",
    ),
    # Who a client is: written at enrolment and when a person changes something.
    _table(
        "clients",
        """no INTEGER PRIMARY KEY, cid TEXT NOT NULL UNIQUE, fingerprint TEXT NOT NULL UNIQUE,
        public_key TEXT NOT NULL, status TEXT NOT NULL, hostname TEXT NOT NULL, mid TEXT NOT NULL,
        enrolled_at INTEGER NOT NULL, invitation_id TEXT NOT NULL, release TEXT, user_email TEXT,
        tags TEXT NOT NULL, flags TEXT NOT NULL""",
    ),
    "CREATE INDEX clients_by_hostname ON clients (hostname, cid)",
    "CREATE INDEX clients_by_status ON clients (status, cid)",
    # What each accepted record changes: one row, made to fit into one page of the file.
    _table(
        "states",
        """no INTEGER PRIMARY KEY REFERENCES clients, version INTEGER NOT NULL,
        seq INTEGER NOT NULL, boot TEXT, last_seen_at INTEGER, reported_at INTEGER,
        times_newer INTEGER NOT NULL, recent BLOB NOT NULL, times BLOB NOT NULL""",
    ),
    # What only a changed value changes: `"name":{…}` for each collector. `id` is the client's
    # `no` times 2^20 plus the collector's place (see `reports`): a client's entries lie together,
    # and few bytes are written when one of them changes.
    _table("reports", "id INTEGER PRIMARY KEY, entry BLOB NOT NULL"),
    _table("facts", "no INTEGER PRIMARY KEY REFERENCES clients, facts BLOB NOT NULL"),
    _table(
        "changes",
        """no INTEGER PRIMARY KEY, cid TEXT NOT NULL, seq INTEGER NOT NULL,
        collector TEXT NOT NULL, changed_at INTEGER NOT NULL, body BLOB NOT NULL""",
    ),
    "CREATE INDEX changes_by_client ON changes (cid, changed_at)",
    "CREATE INDEX changes_by_time ON changes (changed_at)",
    # Why a client is to be judged; only active clients have something in here.
    _table(
        "audits",
        """no INTEGER PRIMARY KEY REFERENCES clients, cid TEXT NOT NULL, dirty TEXT,
        rejudge_at INTEGER""",
    ),
    "CREATE INDEX audits_dirty ON audits (cid) WHERE dirty IS NOT NULL",
    "CREATE INDEX audits_by_time ON audits (rejudge_at, cid) WHERE rejudge_at IS NOT NULL",
    "CREATE INDEX audits_by_client ON audits (cid, rejudge_at) WHERE rejudge_at IS NOT NULL",
    _table(
        "verdicts",
        """cid TEXT NOT NULL, check_name TEXT NOT NULL, state TEXT NOT NULL,
        since_at INTEGER NOT NULL, message TEXT NOT NULL, evidence TEXT NOT NULL,
        PRIMARY KEY (cid, check_name)""",
        "STRICT, WITHOUT ROWID",
    ),
    "CREATE INDEX verdicts_by_check ON verdicts (check_name, cid)",
    "CREATE INDEX verdicts_by_state ON verdicts (check_name, state)",
    # open_key is CID:CHECK while an issue is open, then null: at most one is open per pair.
    _table(
        "issues",
        """issue_id TEXT NOT NULL PRIMARY KEY, open_key TEXT UNIQUE, cid TEXT NOT NULL,
        check_name TEXT NOT NULL, state TEXT NOT NULL, message TEXT NOT NULL,
        opened_at INTEGER NOT NULL, alert_due_at INTEGER NOT NULL, evidence TEXT NOT NULL,
        alerted_at INTEGER, snoozed_until INTEGER, snooze_reason TEXT NOT NULL,
        snoozed_by TEXT NOT NULL, closed_at INTEGER, notified TEXT NOT NULL,
        revision INTEGER NOT NULL""",
    ),
    "CREATE INDEX issues_by_client ON issues (cid, issue_id)",
    "CREATE INDEX issues_by_check ON issues (check_name, issue_id)",
    "CREATE INDEX issues_open ON issues (issue_id) WHERE closed_at IS NULL",
    "CREATE INDEX issues_open_by_client ON issues (cid, issue_id) WHERE closed_at IS NULL",
    "CREATE INDEX issues_open_by_check ON issues (check_name, issue_id) WHERE closed_at IS NULL",
    "CREATE INDEX issues_due ON issues (alert_due_at, issue_id) WHERE closed_at IS NULL",
    "CREATE INDEX issues_closed ON issues (issue_id) WHERE closed_at IS NOT NULL",
    # Accepting a record is one INSERT into this view, which stands for five statements. Python's
    # module lets go of the interpreter lock for each statement, and a thread that wants it back
    # waits for the others, up to 5 ms, while all who want to write wait for this thread.
    """CREATE VIEW accepting (no, version, fingerprint, seq, boot, last_seen_at, reported_at,
        times_newer, recent, times, facts, dirty, entry_id, entry, cid, collector, changed_at, body)
        AS SELECT 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 WHERE 0""",
    """CREATE TRIGGER accept INSTEAD OF INSERT ON accepting BEGIN
        SELECT RAISE (IGNORE) WHERE NOT EXISTS (SELECT 1 FROM states AS s
            JOIN clients AS c ON c.no = s.no WHERE s.no = new.no AND s.version = new.version
            AND c.status = 'active' AND c.fingerprint = new.fingerprint);
        UPDATE states SET version = version + 1, seq = new.seq, boot = new.boot,
            last_seen_at = new.last_seen_at, reported_at = new.reported_at,
            times_newer = new.times_newer, recent = new.recent, times = new.times
            WHERE no = new.no;
        REPLACE INTO reports (id, entry) SELECT new.entry_id, new.entry
            WHERE new.entry_id IS NOT NULL;
        REPLACE INTO facts (no, facts) SELECT new.no, new.facts WHERE new.facts IS NOT NULL;
        INSERT INTO changes (cid, seq, collector, changed_at, body)
            SELECT new.cid, new.seq, new.collector, new.changed_at, new.body
            WHERE new.body IS NOT NULL;
        UPDATE audits SET dirty = new.dirty WHERE no = new.no AND new.dirty IS NOT NULL;
        END""",
)

# What the server hands out, and the keys that were replaced. Nothing of the first version is
# changed, the view `accepting` and its trigger included.
_SECOND = (
    # Every key that was ever replaced: nobody may come with one again. Only the last of a client
    # still has its `public_key`, and is found by `key`; the older ones are empty.
    _table(
        "old_keys",
        """fingerprint TEXT PRIMARY KEY, no INTEGER NOT NULL REFERENCES clients,
        public_key TEXT NOT NULL, replaced_at INTEGER NOT NULL""",
        "STRICT, WITHOUT ROWID",
    ),
    "CREATE INDEX old_keys_last ON old_keys (no) WHERE public_key <> ''",
    "CREATE INDEX clients_by_release ON clients (status, release)",
    _table(
        "unattributed",
        "hostname TEXT PRIMARY KEY NOT NULL, received_at INTEGER NOT NULL, report BLOB NOT NULL",
    ),
    _table("blobs", "sha256 TEXT PRIMARY KEY NOT NULL, data BLOB NOT NULL"),
    _table(
        "releases",
        """epoch INTEGER NOT NULL, number INTEGER NOT NULL, manifest_sha256 TEXT NOT NULL,
        tar_sha256 TEXT NOT NULL, tar_size INTEGER NOT NULL, created_at INTEGER NOT NULL,
        created_by TEXT NOT NULL, note TEXT NOT NULL, status TEXT NOT NULL, rollout TEXT NOT NULL,
        about TEXT NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (epoch, number)""",
    ),
    # `swept`: it expired, and none of its targets waits to be begun any more.
    _table(
        "commands",
        """no INTEGER PRIMARY KEY, command_id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
        summary TEXT NOT NULL, created_at INTEGER NOT NULL, created_by TEXT NOT NULL,
        not_before INTEGER NOT NULL, expires_at INTEGER NOT NULL, hosts INTEGER NOT NULL,
        payload_sha256 TEXT, cancelled_at INTEGER, about TEXT NOT NULL,
        swept INTEGER NOT NULL DEFAULT 0""",
    ),
    "CREATE INDEX commands_by_time ON commands (created_at, command_id)",
    "CREATE INDEX commands_by_kind ON commands (kind, created_at, command_id)",
    "CREATE INDEX commands_unswept ON commands (expires_at) WHERE swept = 0",
    _table(
        "parts",
        """command_no INTEGER NOT NULL REFERENCES commands, part INTEGER NOT NULL,
        document BLOB NOT NULL, PRIMARY KEY (command_no, part)""",
    ),
    # `finished_at` is null while the target is open, and only then. The indexes are few: a
    # command for the whole fleet fills them all.
    _table(
        "targets",
        """no INTEGER PRIMARY KEY, command_no INTEGER NOT NULL REFERENCES commands,
        cid TEXT NOT NULL, part INTEGER NOT NULL, state TEXT NOT NULL,
        updated_at INTEGER NOT NULL, delivered_at INTEGER, started_at INTEGER,
        finished_at INTEGER, result BLOB""",
    ),
    "CREATE UNIQUE INDEX targets_by_command ON targets (command_no, cid)",
    "CREATE INDEX targets_by_state ON targets (command_no, state, cid)",
    "CREATE INDEX targets_by_client ON targets (cid, finished_at)",
    _table(
        "drafts",
        """name TEXT PRIMARY KEY NOT NULL, kind TEXT NOT NULL, role TEXT NOT NULL,
        texts TEXT NOT NULL, sigs TEXT NOT NULL, created_at INTEGER NOT NULL,
        created_by TEXT NOT NULL, attach TEXT NOT NULL, revision INTEGER NOT NULL""",
    ),
)

MIGRATIONS: tuple[Migration, ...] = (
    Migration(number=1, what="made the tables and indexes", statements=_FIRST),
    Migration(number=2, what="added releases, commands and replaced keys", statements=_SECOND),
)


def migrate(
    connection: sqlite3.Connection, path: str, migrations: Sequence[Migration]
) -> list[str]:
    """Bring the database forward to the last migration; say what was done."""
    refuse_foreign(connection, path, migrations)
    done = []
    with explained(path):
        connection.execute("PRAGMA journal_mode = WAL")
        for migration in migrations:
            connection.execute("BEGIN IMMEDIATE")
            try:
                if _version(connection) < migration.number:
                    for statement in migration.statements:
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    connection.execute(f"PRAGMA user_version = {migration.number}")
                    done.append(f"{path}: {migration.what} (version {migration.number})")
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
        for (kind, name), statement in _missing(connection, migrations).items():
            if kind == "index":
                connection.execute(statement)
                done.append(f"{path}: made the index {name} again")
    return done


def refuse_foreign(
    connection: sqlite3.Connection, path: str, migrations: Sequence[Migration]
) -> None:
    """Raise `StoreError` for a file that is another program's, or a newer qlmdm's."""
    with explained(path):
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        has_tables = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        version = _version(connection)
    if has_tables and application != APPLICATION_ID:
        raise StoreError(f"{path}: this is a database of another program; nothing was changed")
    if version > migrations[-1].number:
        raise StoreError(
            f"{path}: the database is of version {version}, this qlmdm knows up to "
            f"{migrations[-1].number}; nothing was changed. Install the newer qlmdm again"
        )


def require_current(
    connection: sqlite3.Connection, path: str, migrations: Sequence[Migration]
) -> None:
    """Raise unless the database is of exactly this version; cheap enough for each connection."""
    with explained(path):
        version = _version(connection)
    if version != migrations[-1].number:
        refuse_foreign(connection, path, migrations)
        raise NotSetUpError(
            f"{path}: the database is of version {version}, this qlmdm needs "
            f"{migrations[-1].number}; run qlmdm-server-setup"
        )


def check(connection: sqlite3.Connection, path: str, migrations: Sequence[Migration]) -> None:
    """Prove that the tables and indexes are there; read a small database through."""
    require_current(connection, path, migrations)
    with explained(path):
        missing = list(_missing(connection, migrations))
        damage = None
        if os.path.getsize(path) <= _QUICK_CHECK_BYTES:
            damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if damage not in (None, "ok"):
        raise StoreCorruptError(
            f"{path}: {str(damage).splitlines()[-1]}; nothing was changed. Restore a backup"
        )
    for kind, name in missing:
        if kind != "index":
            raise StoreCorruptError(
                f"{path}: the {kind} {name} is missing; nothing was changed. Restore a backup"
            )
        raise NotSetUpError(f"{path}: the index {name} is missing; run qlmdm-server-setup")


def _missing(
    connection: sqlite3.Connection, migrations: Sequence[Migration]
) -> dict[tuple[str, str], str]:
    """Type and name of what is not there, tables first, and the statement that makes it."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as scratch:
        for migration in migrations:
            for statement in migration.statements:
                scratch.execute(statement)
        wanted = _objects(scratch)
    there = _objects(connection)
    missing = sorted(wanted.keys() - there.keys(), key=lambda o: (o[0] == "index", o))
    return {found: wanted[found] for found in missing}


def _objects(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {(row[0], row[1]): row[2] for row in rows}


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
