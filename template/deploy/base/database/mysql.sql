-- Owned by the template (flask-bastion): `copier update` replaces this file. Grants of your own: a second file beside it.
--
-- The database of this service and its two users. Whoever gets a statement past the service reads and writes its rows,
-- and can neither drop a table nor make one that a later version trusts. An administrator of the server runs it, by
-- `mysql` or `mariadb`:
--
--   mariadb --init-command="SET @database = 'my_service', @application = 'my_service', @owner = 'my_service_owner'" <mysql.sql
--
-- and then, in that client, which keeps no line with IDENTIFIED in its history, gives each of the two its password:
--
--   ALTER USER my_service IDENTIFIED BY '...' ACCOUNT UNLOCK;
--
-- Accounts of the service's name on other hosts ('my_service'@'localhost') get the same rights and keep their passwords.
-- Run on a database that has one user for everything, it brings that to the same state. See docs/bastion/database.md.

SET @within = CONCAT('`', REPLACE(@database, '_', '\\_'), '`.*'); -- in a grant `_` is any character

SET @do = CONCAT('CREATE DATABASE IF NOT EXISTS `', @database, '` CHARACTER SET utf8mb4');
PREPARE statement FROM @do; EXECUTE statement;

SET @do = CONCAT('CREATE USER IF NOT EXISTS ', QUOTE(@application), ', ', QUOTE(@owner), ' ACCOUNT LOCK');
PREPARE statement FROM @do; EXECUTE statement;

-- A service that connects from a host with an account of its own, as 'my_service'@'localhost', is that one.
SET SESSION group_concat_max_len = 1000000;
SET @do = CONCAT(
  'SELECT GROUP_CONCAT(QUOTE(user), ''@'', QUOTE(host)) INTO @accounts FROM mysql.user WHERE user = ', QUOTE(@application));
PREPARE statement FROM @do; EXECUTE statement;

SET @do = CONCAT('REVOKE ALL PRIVILEGES, GRANT OPTION FROM ', @accounts);
PREPARE statement FROM @do; EXECUTE statement;

SET @do = CONCAT('GRANT SELECT, INSERT, UPDATE, DELETE ON ', @within, ' TO ', @accounts);
PREPARE statement FROM @do; EXECUTE statement;

SET @do = CONCAT('GRANT ALL PRIVILEGES ON ', @within, ' TO ', QUOTE(@owner));
PREPARE statement FROM @do; EXECUTE statement;

DEALLOCATE PREPARE statement;
