-- A bit for each kind of notice that the user wants: 1 charge, 2 incoming call, 4 missed call, 8 refused call.
ALTER TABLE users ADD COLUMN notice_kinds SMALLINT NOT NULL DEFAULT 0;
UPDATE users SET notice_kinds = CASE WHEN notices THEN 13 ELSE 0 END;
ALTER TABLE users DROP COLUMN notices;
