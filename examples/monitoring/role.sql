-- Who reads the counters, and no session.  The exporter runs as the system's user
-- of this name, so that it needs no password on the server's own socket.
-- For a superuser, in each database that has narvik:  psql -d shop -f role.sql

SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'prometheus') AS new \gset
\if :new
CREATE ROLE prometheus LOGIN IN ROLE pg_monitor;
\endif

-- narvik may be in any schema.
SELECT format('GRANT USAGE ON SCHEMA %1$I TO prometheus;
    ALTER ROLE prometheus IN DATABASE %2$I SET search_path = %1$I', nspname, current_database())
FROM pg_extension JOIN pg_namespace AS n ON n.oid = extnamespace WHERE extname = 'narvik' \gexec
