package config

import "github.com/jackc/pgx/v5/pgconn"

// DatabasePassword is the password that DATABASE_URL, or what PostgreSQL's own variables and files add to
// it, gives for the database; unset where there is none, as with SQLite.
func (c *Config) DatabasePassword() Secret {
	text := string(c.DatabaseURL.Reveal())
	if !isPostgres(text) {
		return Secret{}
	}
	parsed, err := pgconn.ParseConfig(text)
	if err != nil || parsed.Password == "" {
		return Secret{}
	}
	return NewSecret([]byte(parsed.Password))
}
