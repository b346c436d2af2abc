-- Grows with every change of any user. Writers lock it first, so they stand in one line.
CREATE TABLE user_changes (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    value BIGINT NOT NULL
);
INSERT INTO user_changes (id, value) VALUES (1, 0);

-- JIDs sort by their bytes, whatever the locale of the database.
CREATE TABLE users (
    jid TEXT COLLATE "C" PRIMARY KEY,
    name TEXT NOT NULL,
    language TEXT NOT NULL,
    video BOOLEAN NOT NULL,
    notices BOOLEAN NOT NULL,
    impp BOOLEAN NOT NULL
);

-- One owner for each address of record; place 0 is the one to show first.
CREATE TABLE aors (
    aor TEXT PRIMARY KEY,
    jid TEXT COLLATE "C" NOT NULL REFERENCES users (jid) ON DELETE CASCADE,
    place BIGINT NOT NULL,
    UNIQUE (jid, place)
);

-- One owner for each number.
CREATE TABLE numbers (
    number TEXT PRIMARY KEY,
    jid TEXT COLLATE "C" NOT NULL REFERENCES users (jid) ON DELETE CASCADE,
    place BIGINT NOT NULL,
    UNIQUE (jid, place)
);

-- One owner for each login, whatever the algorithms of its credentials.
CREATE TABLE logins (
    realm TEXT NOT NULL,
    username TEXT NOT NULL,
    jid TEXT COLLATE "C" NOT NULL REFERENCES users (jid) ON DELETE CASCADE,
    PRIMARY KEY (realm, username)
);
CREATE INDEX logins_by_jid ON logins (jid);

CREATE TABLE credentials (
    realm TEXT NOT NULL,
    username TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    ha1 TEXT NOT NULL,
    place BIGINT NOT NULL,
    PRIMARY KEY (realm, username, algorithm),
    FOREIGN KEY (realm, username) REFERENCES logins (realm, username) ON DELETE CASCADE
);

-- Times are milliseconds since 1970-01-01T00:00:00Z. No reference to users: a record outlives them.
CREATE TABLE call_records (
    session TEXT PRIMARY KEY,
    started BIGINT NOT NULL,
    answered BIGINT,
    ended BIGINT NOT NULL,
    caller TEXT COLLATE "C",
    from_address TEXT NOT NULL,
    callee TEXT COLLATE "C",
    to_address TEXT NOT NULL,
    class TEXT,
    trunk TEXT,
    cause TEXT NOT NULL,
    status BIGINT NOT NULL,
    warning TEXT NOT NULL,
    impp TEXT NOT NULL
);
CREATE INDEX call_records_by_started ON call_records (started);
CREATE INDEX call_records_by_caller ON call_records (caller, started);
CREATE INDEX call_records_by_callee ON call_records (callee, started);
