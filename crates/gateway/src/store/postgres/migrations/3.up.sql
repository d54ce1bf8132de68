-- Version 3: users whose imported hash waits to be wrapped are found without reading all others.

CREATE INDEX user_sealed ON vestibule."user" (id) WHERE starts_with(password, '$vestibule-sealed$');
