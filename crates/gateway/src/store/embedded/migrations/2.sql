-- Version 2: users whose imported hash waits to be wrapped are found without reading all others.

CREATE INDEX user_sealed ON user (id) WHERE password >= '$vestibule-sealed$' AND password < '$vestibule-sealed%';
