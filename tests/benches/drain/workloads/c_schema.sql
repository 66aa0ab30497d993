CREATE TABLE wide (
  id bigint PRIMARY KEY,
  i1 integer,
  i2 integer,
  i3 integer,
  i4 integer,
  i5 bigint,
  i6 bigint,
  i7 bigint,
  i8 bigint,
  n1 numeric(18,4),
  n2 numeric(18,4),
  n3 numeric(18,4),
  n4 numeric(18,4),
  n5 numeric(18,4),
  n6 numeric(18,4),
  ts1 timestamptz,
  ts2 timestamptz,
  ts3 timestamptz,
  ts4 timestamptz,
  d1 date,
  d2 date,
  t1 text,
  t2 text,
  t3 text,
  t4 text,
  t5 text,
  t6 text,
  t7 text,
  t8 text,
  t9 text,
  t10 text,
  b1 boolean,
  b2 boolean,
  b3 boolean,
  f1 double precision,
  f2 double precision,
  u1 uuid,
  u2 uuid,
  j1 jsonb,
  j2 jsonb
);
CREATE OR REPLACE PROCEDURE c_ins(n bigint, step bigint) LANGUAGE plpgsql AS $$
DECLARE lo bigint := 1;
BEGIN WHILE lo <= n LOOP
  INSERT INTO wide SELECT g,
    (g*7919)%100,
    (g*15838)%1000,
    (g*23757)%10000,
    (g*31676)%100000,
    (g*39595)%1000000,
    (g*47514)%10000000,
    (g*55433)%100000000,
    (g*63352)%1000000000,
    ((g*104729)%100000000)/10000.0,
    ((g*209458)%100000000)/10000.0,
    ((g*314187)%100000000)/10000.0,
    ((g*418916)%100000000)/10000.0,
    ((g*523645)%100000000)/10000.0,
    ((g*628374)%100000000)/10000.0,
    timestamptz '2024-01-01' + g*interval '1.137 second',
    timestamptz '2024-01-01' + g*interval '2.237 second',
    timestamptz '2024-01-01' + g*interval '3.337 second',
    timestamptz '2024-01-01' + g*interval '4.437 second',
    date '2020-01-01' + (g%1000)::int,
    date '2020-01-01' + (g%2000)::int,
    'name-1-' || g,
    'name-2-' || g,
    (ARRAY['new','paid','shipped','returned','cancelled'])[1+(g/3)%5],
    (ARRAY['new','paid','shipped','returned','cancelled'])[1+(g/4)%5],
    md5(g::text),
    'user' || (g%100000) || '@example.com',
    CASE WHEN g%3=0 THEN NULL ELSE 'note, with "quotes" and, commas ' || (g%997) END,
    CASE WHEN g%50=0 THEN E'line one\nline two ' || g ELSE 'plain ' || (g%10007) END,
    'Straße ' || (g%3001) || ', Zürich',
    repeat(chr(97+(g%26)::int), 10+(g%40)::int),
    (g%2)=0,
    (g%3)=0,
    (g%4)=0,
    sqrt(g*1),
    sqrt(g*2),
    md5('1-'||g)::uuid,
    md5('2-'||g)::uuid,
    jsonb_build_object('k',g%1000,'tags',jsonb_build_array('a','b',g%17),'s','text '||(g%91),'nested',jsonb_build_object('x',g*1,'y',(g%7)=0)),
    jsonb_build_object('k',g%1000,'tags',jsonb_build_array('a','b',g%17),'s','text '||(g%91),'nested',jsonb_build_object('x',g*2,'y',(g%7)=0))
  FROM generate_series(lo, lo+step-1) g;
  COMMIT; lo := lo+step; END LOOP; END $$;
CREATE OR REPLACE PROCEDURE c_upd(n bigint, step bigint) LANGUAGE plpgsql AS $$
DECLARE lo bigint := 1;
BEGIN WHILE lo <= n LOOP
  UPDATE wide SET i1=i1+1, n1=n1+1.5, ts1=ts1+interval '1 day', t3='shipped', t8='upd '||id WHERE id >= lo AND id < lo+step;
  COMMIT; lo := lo+step; END LOOP; END $$;
CREATE OR REPLACE PROCEDURE c_del(n bigint, step bigint) LANGUAGE plpgsql AS $$
DECLARE lo bigint := 1;
BEGIN WHILE lo <= n LOOP
  DELETE FROM wide WHERE id >= lo AND id < lo+step;
  COMMIT; lo := lo+step; END LOOP; END $$;
