CREATE TABLE toasty (id bigint PRIMARY KEY, n int, status text, doc jsonb, note text);
