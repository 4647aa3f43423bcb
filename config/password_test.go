package config

import "testing"

func TestDatabasePassword(t *testing.T) {
	t.Setenv("PGPASSWORD", "")
	t.Setenv("PGPASSFILE", t.TempDir()+"/none")
	for url, want := range map[string]string{
		"sqlite:/data/x.db":                       "",
		"postgres://sealpost@db/sealpost":         "",
		"postgres://sealpost:s%40fe@db/sealpost":  "s@fe",
		"postgres://db1,db2/sealpost?password=pw": "pw",
	} {
		c := &Config{DatabaseURL: NewSecret([]byte(url))}
		if got := c.DatabasePassword(); string(got.Reveal()) != want || got.IsSet() != (want != "") {
			t.Errorf("%s: %q, want %q", url, got.Reveal(), want)
		}
	}
	t.Setenv("PGPASSWORD", "from-the-environment")
	c := &Config{DatabaseURL: NewSecret([]byte("postgres://sealpost@db/sealpost"))}
	if got := string(c.DatabasePassword().Reveal()); got != "from-the-environment" {
		t.Errorf("PGPASSWORD: %q", got)
	}
}
