CREATE TABLE narrow (id bigint PRIMARY KEY, grp int, val text, ts timestamptz);
