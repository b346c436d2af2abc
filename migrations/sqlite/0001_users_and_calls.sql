-- Grows with every change of any user. Writers lock it first, so they stand in one line.
CREATE TABLE user_changes (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    value INTEGER NOT NULL
) STRICT;
INSERT INTO user_changes (id, value) VALUES (1, 0);

CREATE TABLE users (
    jid TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    language TEXT NOT NULL,
    video INTEGER NOT NULL CHECK (video IN (0, 1)),
    notices INTEGER NOT NULL CHECK (notices IN (0, 1)),
    impp INTEGER NOT NULL CHECK (impp IN (0, 1))
) STRICT;

-- One owner for each address of record; place 0 is the one to show first.
CREATE TABLE aors (
    aor TEXT PRIMARY KEY,
    jid TEXT NOT NULL REFERENCES users (jid) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    UNIQUE (jid, place)
) STRICT;

-- One owner for each number.
CREATE TABLE numbers (
    number TEXT PRIMARY KEY,
    jid TEXT NOT NULL REFERENCES users (jid) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    UNIQUE (jid, place)
) STRICT;

-- One owner for each login, whatever the algorithms of its credentials.
CREATE TABLE logins (
    realm TEXT NOT NULL,
    username TEXT NOT NULL,
    jid TEXT NOT NULL REFERENCES users (jid) ON DELETE CASCADE,
    PRIMARY KEY (realm, username)
) STRICT;
CREATE INDEX logins_by_jid ON logins (jid);

CREATE TABLE credentials (
    realm TEXT NOT NULL,
    username TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    ha1 TEXT NOT NULL,
    place INTEGER NOT NULL,
    PRIMARY KEY (realm, username, algorithm),
    FOREIGN KEY (realm, username) REFERENCES logins (realm, username) ON DELETE CASCADE
) STRICT;

-- Times are milliseconds since 1970-01-01T00:00:00Z. No reference to users: a record outlives them.
CREATE TABLE call_records (
    session TEXT PRIMARY KEY,
    started INTEGER NOT NULL,
    answered INTEGER,
    ended INTEGER NOT NULL,
    caller TEXT,
    from_address TEXT NOT NULL,
    callee TEXT,
    to_address TEXT NOT NULL,
    class TEXT,
    trunk TEXT,
    cause TEXT NOT NULL,
    status INTEGER NOT NULL,
    warning TEXT NOT NULL,
    impp TEXT NOT NULL
) STRICT;
CREATE INDEX call_records_by_started ON call_records (started);
CREATE INDEX call_records_by_caller ON call_records (caller, started);
CREATE INDEX call_records_by_callee ON call_records (callee, started);
