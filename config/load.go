package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Load is Parse and, when nothing is wrong, generates the secrets that nobody has set: outside
// production the keys, in production the bootstrap token. They are kept in the data directory, each in
// a file of its own, and are the same at the next start. The error is of type Problems.
func Load(environ []string) (*Config, []string, error) {
	c, warnings, err := Parse(environ)
	if err != nil {
		return nil, warnings, err
	}
	made, err := c.generateSecrets()
	if err != nil {
		return nil, warnings, err
	}
	if len(made) > 0 {
		warnings = append(warnings, fmt.Sprintf("not set, so generated into %s: %s",
			filepath.Dir(c.keptPath(made[0])), strings.Join(made, ", ")))
	}
	return c, warnings, nil
}

// generateSecrets sets what is unset and is to be kept, and gives the names of what it set.
func (c *Config) generateSecrets() ([]string, error) {
	var made []string
	var problems Problems
	eachVariable(func(v variable) {
		if v.kind == nil || v.kind.generate == nil || !v.kind.kept(c.Production()) || v.place(c).IsSet() || problems != nil {
			return
		}
		path := c.keptPath(v.Name)
		text, err := createOnce(path, v.kind.generate())
		if err != nil {
			problems = append(problems, Problem{
				"DATA_DIR", err.Error(),
				"a directory in which this process can keep " + v.Name + ", or that variable itself",
			})
			return
		}
		s := Secret{name: v.Name, kind: v.kind, source: Source{Generated, path}, production: c.Production()}
		if s, err = s.taking(text); err != nil {
			problems = append(problems, Problem{v.Name, err.Error() + " in the file " + path, v.takes(c.Production())})
			return
		}
		*v.place(c) = s
		made = append(made, v.Name)
	})
	if problems != nil {
		return nil, problems
	}
	return made, nil
}

// createOnce makes a private file that holds text, and gives what the file then holds: text or, where
// another process was faster, that one's. The text is on disk, whole, before the file has its name:
// linking gives a name only where there is none, so two starts agree on one value, and a crash leaves
// no half of one.
func createOnce(path, text string) (string, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	temp, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // exclusive, 0600
	if err != nil {
		return "", err
	}
	defer os.Remove(temp.Name()) //nolint:errcheck // a leftover is never read
	_, err = temp.WriteString(text + "\n")
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return "", err
	}
	if err := os.Link(temp.Name(), path); errors.Is(err, os.ErrExist) {
		return readSecretFile(path)
	} else if err != nil {
		return "", err
	}
	return text, errors.Join(syncDir(dir), syncDir(filepath.Dir(dir)))
}

// syncDir puts a directory's new names on disk.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // a directory that was just made here
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
