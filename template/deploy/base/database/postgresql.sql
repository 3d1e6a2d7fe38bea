-- Owned by the template (flask-bastion): `copier update` replaces this file. Grants of your own: a second file beside it.
--
-- The database of this service and its two roles. Whoever gets a statement past the service reads and writes its rows,
-- and can neither drop a table nor make one that a later version trusts. An administrator of the server runs it by psql:
--
--   psql --set database=my_service --set application=my_service --set owner=my_service_owner --file postgresql.sql postgres
--
-- and then gives both roles their passwords with \password, so that these are in no file and no history. Run on a
-- database that has one role for everything, it brings that to the same state. See docs/bastion/database.md.

\set ON_ERROR_STOP on
\set QUIET on

SELECT format('CREATE ROLE %I LOGIN', name) FROM (VALUES (:'application'), (:'owner')) AS wanted (name)
  WHERE name NOT IN (SELECT rolname FROM pg_roles) \gexec
SELECT format('ALTER ROLE %I NOSUPERUSER NOREPLICATION NOBYPASSRLS', rolname) FROM pg_roles
  WHERE rolname IN (:'application', :'owner') AND (rolsuper OR rolreplication OR rolbypassrls) \gexec
ALTER ROLE :"application" NOCREATEDB NOCREATEROLE;
ALTER ROLE :"owner" NOCREATEDB NOCREATEROLE;
-- What the service's role is a member of, it can become. From version 16 on each grantor's word counts by itself.
SELECT format('REVOKE %s FROM %s %s CASCADE', roleid::regrole, member::regrole,
    CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN format('GRANTED BY %s', grantor::regrole) END)
  FROM pg_auth_members WHERE member = (SELECT oid FROM pg_roles WHERE rolname = :'application') \gexec
-- For as long as this takes: an administrator who is no superuser gives things to a role that he is a member of.
GRANT :"application", :"owner" TO CURRENT_USER;

SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING ''UTF8''', :'database', :'owner')
  WHERE :'database' NOT IN (SELECT datname FROM pg_database) \gexec
ALTER DATABASE :"database" OWNER TO :"owner";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC, :"application"; -- everybody might connect, and make temporary tables
GRANT CONNECT ON DATABASE :"database" TO :"application";

\connect :"database"
REASSIGN OWNED BY :"application" TO :"owner"; -- the tables of a service that had one role
ALTER SCHEMA public OWNER TO :"owner";
REVOKE ALL ON SCHEMA public FROM PUBLIC, :"application";
GRANT USAGE ON SCHEMA public TO :"application";
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM :"application";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO :"application";
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO :"application";
-- The same for the tables of later migrations.
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"application";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA public GRANT USAGE ON SEQUENCES TO :"application";

REVOKE :"application", :"owner" FROM CURRENT_USER;
