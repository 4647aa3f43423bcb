package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// defaultDatabase is a file in the data directory.
func defaultDatabase(c *Config) string {
	return "sqlite:" + filepath.Join(c.DataDir, "sealpost.db")
}

// checkDatabaseURL takes sqlite:PATH, or a PostgreSQL URL as the driver itself understands it: several
// hosts, parameters, and libpq's PG* variables for what it leaves open.
func checkDatabaseURL(text string, _ bool) ([]byte, error) {
	if path, ok := strings.CutPrefix(text, "sqlite:"); ok {
		return []byte(text), checkSQLitePath(path)
	}
	if !isPostgres(text) {
		return nil, errors.New(bytesOf(text) + " that begin neither with sqlite: nor with postgres://")
	}
	if _, err := pgconn.ParseConfig(text); err != nil {
		return nil, whyNotPostgres(text)
	}
	return []byte(text), nil
}

func isPostgres(text string) bool {
	return strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
}

// checkSQLitePath refuses what other programs write behind sqlite: and what would here be a file of a
// strange name, in a strange place.
func checkSQLitePath(path string) error {
	switch {
	case path == "":
		return errors.New("sqlite: without a path")
	case strings.HasPrefix(path, "//"):
		return errors.New("sqlite: with two slashes; the path begins right behind the colon")
	case strings.HasPrefix(path, ":memory:"):
		return errors.New("sqlite: without a file; what is accepted must survive a restart")
	case strings.Contains(path, "?"):
		return errors.New("sqlite: with parameters; it takes none")
	}
	return nil
}

// postgresParameters are the parameters in which the driver finds mistakes. Other names are not shown:
// they may be the rest of a password with a question mark in it.
var postgresParameters = []string{
	"channel_binding", "connect_timeout", "host", "max_protocol_version",
	"min_protocol_version", "port", "require_auth", "service", "servicefile", "ssl", "sslcert", "sslcertmode", "sslkey",
	"sslmode", "sslnegotiation", "sslpassword", "sslrootcert", "sslsni", "target_session_attrs",
}

// whyNotPostgres says which part of the URL is wrong. The driver's own error cannot be shown: it quotes
// the URL, and where the URL is malformed it cannot know which part of it is the password.
func whyNotPostgres(text string) error {
	bare, query, found := strings.Cut(text, "?")
	if _, err := pgconn.ParseConfig(bare); err != nil || !found {
		return errors.New("a PostgreSQL URL whose user, password, hosts or ports cannot be read " +
			"(special characters in a name or a password are written as %40 and the like)")
	}
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		name, _, _ := strings.Cut(pair, "=")
		others := strings.Join(slices.Delete(slices.Clone(pairs), i, i+1), "&")
		if _, err := pgconn.ParseConfig(bare + "?" + others); err == nil && slices.Contains(postgresParameters, name) {
			return fmt.Errorf("a PostgreSQL URL whose parameter %s is wrong", name)
		}
	}
	return errors.New("a PostgreSQL URL with a parameter that cannot be read")
}

// inClear tells whether a connection to this database could go over a network without TLS. libpq's
// default, sslmode=prefer, gives TLS up silently when a server, or someone before it, says no.
func inClear(text string) bool {
	if !isPostgres(text) {
		return false
	}
	c, err := pgconn.ParseConfig(text)
	if err != nil {
		return false
	}
	ways := append([]*pgconn.FallbackConfig{{Host: c.Host, Port: c.Port, TLSConfig: c.TLSConfig}}, c.Fallbacks...)
	return slices.ContainsFunc(ways, func(w *pgconn.FallbackConfig) bool {
		if w.TLSConfig != nil || onlyHere(w.Host) {
			return false
		}
		network, _ := pgconn.NetworkAddress(w.Host, w.Port)
		return network != "unix"
	})
}
