package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// credentialsDirectory is set by systemd for LoadCredential= and its kin.
const credentialsDirectory = "CREDENTIALS_DIRECTORY"

// Parse reads the configuration from an environment in the form of os.Environ, and the secret files
// that it names. It changes nothing: secrets that Load would generate stay unset. The warnings are for
// the log; the error is of type Problems. An empty variable is an unset one.
func Parse(environ []string) (*Config, []string, error) {
	r := &reading{env: environment(environ), config: &Config{}, texts: map[string]string{}}
	eachVariable(func(v variable) {
		if v.kind != nil {
			r.secret(v)
		} else {
			r.plain(v)
		}
	})
	r.checkTogether()
	if r.config.Production() {
		r.checkProduction()
	}
	r.findNearMisses()
	if len(r.problems) > 0 {
		return nil, r.warnings, r.sorted()
	}
	r.advise()
	return r.config, r.warnings, nil
}

// environment makes a map of it. Where a name comes twice the last one counts, as in os/exec.
func environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok && name != "" {
			env[name] = value
		}
	}
	return env
}

// reading is one pass over an environment.
type reading struct {
	env      map[string]string
	config   *Config
	texts    map[string]string // of the variables that are no secrets: what was read, defaults included
	problems Problems
	warnings []string
}

// plain reads a variable that is no secret. A wrong value is replaced by the default, so that what
// depends on it is not reported as well.
func (r *reading) plain(v variable) {
	if text := r.env[v.Name]; text != "" {
		err := clean(text)
		if err == nil {
			err = v.read(r.config, text)
		}
		if err == nil {
			r.texts[v.Name] = text
			return
		}
		r.problem(v.Name, shown(v, text, err), v.takes(r.config.Production()))
	}
	text := v.fallback(r.config)
	if text == "" {
		return
	}
	if err := v.read(r.config, text); err != nil {
		r.problem(v.Name, "the default "+shown(v, text, err), v.takes(r.config.Production()))
	}
	r.texts[v.Name] = text
}

// shown says what a variable that is no secret got, and why it is wrong where there is more to say.
func shown(v variable, text string, err error) string {
	show := v.show
	if show == nil {
		show = quoted
	}
	if errors.Is(err, errWrong) {
		return show(text)
	}
	return fmt.Sprintf("%s (%v)", show(text), err)
}

// secret reads a secret from the one place it is in.
func (r *reading) secret(v variable) {
	text, from, ok := r.find(v)
	if !ok {
		return
	}
	if text == "" && from.Kind == Unset && v.fallback != nil {
		text, from = v.fallback(r.config), Source{Kind: Default}
	}
	at := v.place(r.config)
	*at = Secret{name: v.Name, kind: v.kind, source: from, production: r.config.Production()}
	if text == "" && from.Kind == Unset {
		return
	}
	s, err := at.taking(text)
	if err != nil {
		got := err.Error()
		if from.Path != "" {
			got += " in the file " + from.Path
		}
		r.problem(v.Name, got, v.takes(r.config.Production()))
		return
	}
	*at = s
	if s.IsSet() && !s.production && v.kind.guessable(text, s.Reveal()) {
		r.warn("%s is a known sample value or a pattern: production will refuse it (%s)", v.Name, howToMake)
	}
}

func (r *reading) problem(name, got, want string) {
	r.problems = append(r.problems, Problem{Variable: name, Got: got, Want: want})
}

func (r *reading) warn(format string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
}

// refused tells whether a variable is a problem already, in which case nothing is said about its value.
func (r *reading) refused(name string) bool {
	return slices.ContainsFunc(r.problems, func(p Problem) bool { return p.Variable == name || p.Variable == name+"_FILE" })
}

// sorted gives the problems in the order of the reference.
func (r *reading) sorted() Problems {
	place := map[string]int{}
	eachVariable(func(v variable) {
		place[v.Name], place[v.Name+"_FILE"] = len(place), len(place)
	})
	slices.SortStableFunc(r.problems, func(a, b Problem) int { return place[a.Variable] - place[b.Variable] })
	return r.problems
}
