-- What compose.yaml adds to the example's schema: the password of the application's role,
-- and a cookie that browsers store without https, too.
\getenv password WEBAPP_PASSWORD
ALTER ROLE webapp PASSWORD :'password';
ALTER DATABASE :"DBNAME" SET narvik.cookie_secure = off;
ALTER DATABASE :"DBNAME" SET narvik.cookie_name = 'session';
