-- In POSTGRES_DB, when the entrypoint has made it.
CREATE SCHEMA narvik;
CREATE EXTENSION narvik SCHEMA narvik CASCADE;
ALTER DATABASE :"DBNAME" SET search_path = public, narvik;
