-- With which settings of the config a deploy ran: JSON, a digest for each key; NULL where it read none.
ALTER TABLE deploys ADD COLUMN settings TEXT;
