-- When a wait was set: it holds from then on only, for a clock that was ahead may be set back.
ALTER TABLE outbox ADD COLUMN put_off REAL NOT NULL DEFAULT 0;
ALTER TABLE pauses ADD COLUMN since REAL NOT NULL DEFAULT 0;
-- Those of before may have been set at any time that is no further from their end than what a
-- receiver may ask for: ten days, and an hour besides.
UPDATE outbox SET put_off = next_try - 867600;
UPDATE pauses SET since = until - 867600;
