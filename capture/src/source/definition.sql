-- A table's definition as one JSON text: $1 is its OID, $2 the publication's name. The event trigger's function has it, too.
-- Nothing here locks a table (pg_partition_tree would): who changes one may take long, and others' changes do not wait.
SELECT json_build_object(
    'oid', c.oid::bigint,
    'schema', n.nspname,
    'name', c.relname,
    -- Of a partitioned table the partitions' files, added up.
    'storage', CASE WHEN c.relkind = 'p' THEN (
            WITH RECURSIVE tree AS (
                SELECT c.oid UNION ALL
                SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN tree ON i.inhparent = tree.oid)
            SELECT COALESCE(sum(p.relfilenode::bigint), 0) FROM tree JOIN pg_catalog.pg_class AS p ON p.oid = tree.oid)
        ELSE c.relfilenode::bigint END,
    -- What holds the rows of a partitioned table, and whether it was a table of its own before: what ATTACH takes has its
    -- columns' entries written anew, those of a partition that was made as one are as old as its system columns'.
    'leaves', CASE WHEN c.relkind = 'p' THEN (
        WITH RECURSIVE tree AS (
            SELECT c.oid, false AS joined UNION ALL
            SELECT i.inhrelid, tree.joined OR NOT COALESCE((
                SELECT i.xmin = s.xmin AND EXISTS (
                    SELECT FROM pg_catalog.pg_attribute AS u
                    WHERE u.attrelid = i.inhrelid AND u.attnum > 0 AND u.xmin = s.xmin AND u.cmin = s.cmin)
                FROM pg_catalog.pg_attribute AS s WHERE s.attrelid = i.inhrelid AND s.attnum = -6), false)
            FROM pg_catalog.pg_inherits AS i JOIN tree ON i.inhparent = tree.oid)
        SELECT COALESCE(json_agg(json_build_object(
            'oid', tree.oid::bigint, 'storage', p.relfilenode::bigint, 'joined', tree.joined) ORDER BY tree.oid), '[]'::json)
        FROM tree JOIN pg_catalog.pg_class AS p ON p.oid = tree.oid AND p.relkind <> 'p') END,
    'columns', (
        SELECT COALESCE(json_agg(json_build_object(
            'number', a.attnum,
            'name', CASE WHEN NOT a.attisdropped THEN a.attname END,
            'type_oid', a.atttypid::bigint,
            'modifier', a.atttypmod,
            'published', NOT a.attisdropped AND COALESCE(a.attnum = ANY (listed.numbers), a.attgenerated = ''),
            'default', a.atthasdef OR a.attidentity <> '',
            'missing', CASE WHEN c.relkind = 'p' THEN leaf.first IS NOT NULL AND leaf.first = leaf.last
                ELSE a.atthasmissing END,
            'value', CASE WHEN c.relkind = 'p' THEN (leaf.first::text[])[1] ELSE (a.attmissingval::text::text[])[1] END,
            'key', EXISTS (
                SELECT FROM pg_catalog.pg_index AS i
                WHERE i.indrelid = c.oid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
                    AND CASE c.relreplident WHEN 'd' THEN i.indisprimary AND i.indimmediate
                        WHEN 'i' THEN i.indisreplident ELSE false END),
            'xid', a.xmin::text::bigint
        ) ORDER BY a.attnum), '[]'::json)
        FROM pg_catalog.pg_attribute AS a
        LEFT JOIN LATERAL (
            SELECT min(l.attmissingval::text) AS first, max(l.attmissingval::text) AS last
            FROM (
                WITH RECURSIVE tree AS (
                    SELECT c.oid WHERE c.relkind = 'p' UNION ALL
                    SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN tree ON i.inhparent = tree.oid)
                SELECT tree.oid FROM tree) AS t
            JOIN pg_catalog.pg_class AS p ON p.oid = t.oid AND p.relkind <> 'p'
            JOIN pg_catalog.pg_attribute AS l ON l.attrelid = t.oid AND l.attname = a.attname
            WHERE l.atthasmissing AND NOT a.attisdropped
        ) AS leaf ON c.relkind = 'p'
        WHERE a.attrelid = c.oid AND a.attnum > 0)
)::text
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
-- The publication's own list of columns, from PostgreSQL 15 on.
LEFT JOIN LATERAL (
    SELECT string_to_array(to_jsonb(r) ->> 'prattrs', ' ')::int2[] AS numbers
    FROM pg_catalog.pg_publication_rel AS r JOIN pg_catalog.pg_publication AS p ON p.oid = r.prpubid
    WHERE r.prrelid = c.oid AND p.pubname = $2::text::name
) AS listed ON true
WHERE c.oid = $1::bigint::oid
