-- A fleet as the first version of the tables kept it: two clients, one of which reported.
PRAGMA application_id = 1902931300;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE audits (no INTEGER PRIMARY KEY REFERENCES clients, cid TEXT NOT NULL, dirty TEXT,
        rejudge_at INTEGER) STRICT;
INSERT INTO "audits" VALUES(1,'c1',NULL,NULL);
INSERT INTO "audits" VALUES(2,'c2','42b0bff03b5a48dd',NULL);
CREATE TABLE changes (no INTEGER PRIMARY KEY, cid TEXT NOT NULL, seq INTEGER NOT NULL,
        collector TEXT NOT NULL, changed_at INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
INSERT INTO "changes" VALUES(1,'c1',1,'os_info',1741064767890,X'7B226F6C645F736861323536223A6E756C6C2C226E65775F736861323536223A2234646238383632666437333063343932316136626631363538376438636239303632346662386630326330373865333637316332643265356565393265303961222C226F6C645F737461747573223A6E756C6C2C226E65775F737461747573223A226F6B222C227061746873223A5B22225D2C226F6C64223A6E756C6C2C226E6577223A7B227374617465223A22617661696C61626C65222C226964223A2261726368227D7D');
CREATE TABLE clients (no INTEGER PRIMARY KEY, cid TEXT NOT NULL UNIQUE, fingerprint TEXT NOT NULL UNIQUE,
        public_key TEXT NOT NULL, status TEXT NOT NULL, hostname TEXT NOT NULL, mid TEXT NOT NULL,
        enrolled_at INTEGER NOT NULL, invitation_id TEXT NOT NULL, release TEXT, user_email TEXT,
        tags TEXT NOT NULL, flags TEXT NOT NULL) STRICT;
INSERT INTO "clients" VALUES(1,'c1','FPRc1','KEY c1','active','host-c1','mid-c1',1741064767890,'inv',NULL,NULL,'["lab"]','{"old":1}');
INSERT INTO "clients" VALUES(2,'c2','FPRc2','KEY c2','active','host-c2','mid-c2',1741064767890,'inv',NULL,NULL,'[]','{}');
CREATE TABLE facts (no INTEGER PRIMARY KEY REFERENCES clients, facts BLOB NOT NULL) STRICT;
INSERT INTO "facts" VALUES(1,X'7B226F735F696E666F2E7374617465223A22617661696C61626C65222C226F735F696E666F2E6964223A2261726368227D');
CREATE TABLE invitations (invitation_id TEXT PRIMARY KEY, secret TEXT NOT NULL, created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL, uses INTEGER NOT NULL, used INTEGER NOT NULL,
        created_by TEXT NOT NULL, tags TEXT NOT NULL, user_email TEXT,
        CHECK (used <= uses)) STRICT, WITHOUT ROWID;
INSERT INTO "invitations" VALUES('inv','00ff',1741064767890,1741068367890,1000000,2,'ada','[]',NULL);
CREATE TABLE issues (issue_id TEXT NOT NULL PRIMARY KEY, open_key TEXT UNIQUE, cid TEXT NOT NULL,
        check_name TEXT NOT NULL, state TEXT NOT NULL, message TEXT NOT NULL,
        opened_at INTEGER NOT NULL, alert_due_at INTEGER NOT NULL, evidence TEXT NOT NULL,
        alerted_at INTEGER, snoozed_until INTEGER, snooze_reason TEXT NOT NULL,
        snoozed_by TEXT NOT NULL, closed_at INTEGER, notified TEXT NOT NULL,
        revision INTEGER NOT NULL) STRICT;
INSERT INTO "issues" VALUES('i1','c1:firewall-disabled','c1','firewall-disabled','fail','It is off.',1741064767890,1741064767890,'{"ipv4":"off"}',NULL,NULL,'','',NULL,'{}',0);
CREATE TABLE leases (name TEXT PRIMARY KEY, owner TEXT NOT NULL, until_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('server_id','"srv-1"');
CREATE TABLE reports (id INTEGER PRIMARY KEY, entry BLOB NOT NULL) STRICT;
INSERT INTO "reports" VALUES(1048576,X'226F735F696E666F223A7B22737461747573223A226F6B222C2276616C7565223A7B227374617465223A22617661696C61626C65222C226964223A2261726368227D2C2276616C75655F736861323536223A2234646238383632666437333063343932316136626631363538376438636239303632346662386630326330373865333637316332643265356565393265303961222C22636F6C6C65637465645F6174223A22323032352D30332D30345430353A30363A30372E3839303132332B30303A3030222C226368616E6765645F6174223A22323032352D30332D30345430353A30363A30372E3839302B30303A3030222C227365636F6E6473223A302E32357D');
CREATE TABLE roots (version INTEGER PRIMARY KEY, document BLOB NOT NULL) STRICT;
CREATE TABLE states (no INTEGER PRIMARY KEY REFERENCES clients, version INTEGER NOT NULL,
        seq INTEGER NOT NULL, boot TEXT, last_seen_at INTEGER, reported_at INTEGER,
        times_newer INTEGER NOT NULL, recent BLOB NOT NULL, times BLOB NOT NULL) STRICT;
INSERT INTO "states" VALUES(1,1,1,'boot-1',1741064767890,1741064767890,0,X'B3101A1F387B410A285C1A7DD5BFBEC1000001955F8C0992',X'7B226F735F696E666F223A5B223464623838363266643733306334393231613662663136353837643863623930222C22323032352D30332D30345430353A30363A30372E3839303132332B30303A3030222C302E32355D7D');
INSERT INTO "states" VALUES(2,0,0,NULL,NULL,NULL,0,X'',X'');
CREATE TABLE verdicts (cid TEXT NOT NULL, check_name TEXT NOT NULL, state TEXT NOT NULL,
        since_at INTEGER NOT NULL, message TEXT NOT NULL, evidence TEXT NOT NULL,
        PRIMARY KEY (cid, check_name)) STRICT, WITHOUT ROWID;
INSERT INTO "verdicts" VALUES('c1','firewall-disabled','fail',1741064767890,'It is off.','{"n":1}');
CREATE INDEX clients_by_hostname ON clients (hostname, cid);
CREATE INDEX clients_by_status ON clients (status, cid);
CREATE INDEX changes_by_client ON changes (cid, changed_at);
CREATE INDEX changes_by_time ON changes (changed_at);
CREATE INDEX audits_dirty ON audits (cid) WHERE dirty IS NOT NULL;
CREATE INDEX audits_by_time ON audits (rejudge_at, cid) WHERE rejudge_at IS NOT NULL;
CREATE INDEX audits_by_client ON audits (cid, rejudge_at) WHERE rejudge_at IS NOT NULL;
CREATE INDEX verdicts_by_check ON verdicts (check_name, cid);
CREATE INDEX verdicts_by_state ON verdicts (check_name, state);
CREATE INDEX issues_by_client ON issues (cid, issue_id);
CREATE INDEX issues_by_check ON issues (check_name, issue_id);
CREATE INDEX issues_open ON issues (issue_id) WHERE closed_at IS NULL;
CREATE INDEX issues_open_by_client ON issues (cid, issue_id) WHERE closed_at IS NULL;
CREATE INDEX issues_open_by_check ON issues (check_name, issue_id) WHERE closed_at IS NULL;
CREATE INDEX issues_due ON issues (alert_due_at, issue_id) WHERE closed_at IS NULL;
CREATE INDEX issues_closed ON issues (issue_id) WHERE closed_at IS NOT NULL;
CREATE VIEW accepting (no, version, fingerprint, seq, boot, last_seen_at, reported_at,
        times_newer, recent, times, facts, dirty, entry_id, entry, cid, collector, changed_at, body)
        AS SELECT 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 WHERE 0;
CREATE TRIGGER accept INSTEAD OF INSERT ON accepting BEGIN
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
        END;
COMMIT;
