package config

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/url"
	"strings"
	"unicode"
)

// serverURL is a variable for the URL of a server that gets what Sealpost holds, and so must be https
// in production.
func serverURL(name, def string, at func(*Config) *string, about string) variable {
	return variable{
		Variable: Variable{Name: name, Takes: takesBaseURL, Default: def, About: about},
		fallback: fixed(def),
		read: func(c *Config, s string) error {
			base, err := baseURL(s, c.Production())
			if err == nil {
				*at(c) = base
			}
			return err
		},
		show: shownURL,
	}
}

// witnesses is a variable for a list of such URLs, each of which may have a key behind it.
func witnesses(name string, at func(*Config) *[]Witness, about string) variable {
	return variable{
		Variable: Variable{
			Name: name, About: about,
			Takes: "URLs with commas between them, each " + takesBaseURL + ", and behind a space the witness's key (name+hash+key) where it is known",
		},
		fallback: fixed(""),
		read: func(c *Config, s string) error {
			var list []Witness
			for item := range strings.SplitSeq(s, ",") {
				at, key, keyed := strings.Cut(strings.Trim(item, " "), " ")
				base, err := baseURL(at, c.Production())
				if err == nil && keyed {
					err = checkWitnessKey(key)
				}
				if err != nil {
					return err
				}
				list = append(list, Witness{URL: base, Key: key})
			}
			*at(c) = list
			return nil
		},
		show: func(s string) string {
			var list []string
			for item := range strings.SplitSeq(s, ",") {
				at, key, keyed := strings.Cut(strings.Trim(item, " "), " ")
				shown := shownURL(at)
				if keyed {
					shown += " " + quoted(key)
				}
				list = append(list, shown)
			}
			return strings.Join(list, ", ")
		},
	}
}

// checkWitnessKey reads a note verifier (C2SP signed-note) of Ed25519 cosignatures (C2SP tlog-cosignature).
func checkWitnessKey(s string) error {
	parts := strings.SplitN(s, "+", 3)
	if len(parts) != 3 || parts[0] == "" || strings.ContainsFunc(s, unicode.IsSpace) {
		return errors.New("a key that is not name+hash+key")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != 4 {
		return errors.New("a key that is none of Ed25519 cosignatures")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	if hex.EncodeToString(sum[:4]) != parts[1] {
		return errors.New("a key whose hash does not fit it")
	}
	return nil
}

// telemetry is a variable for the URL of a collector, which is often http on the same machine.
func telemetry(name string, at func(*Config) *string, about string) variable {
	v := text(name, "", "an http:// or https:// URL without user or fragment", at, func(s string) error {
		_, err := webURL(s)
		return err
	}, about)
	v.show = shownURL
	return v
}

// webURL reads an http or https URL of the kind a server is named by. A user, a password or a fragment
// in it is refused: the first two would be secrets in a place that is printed.
func webURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil: // its text quotes the URL, and what is in it
		return nil, errWrong
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return nil, errWrong
	case u.User != nil:
		return nil, errors.New("a user name or a password in it")
	case u.Fragment != "" || strings.Contains(s, "#"):
		return nil, errors.New("a fragment in it")
	case strings.ContainsAny(s, " \\"):
		return nil, errWrong
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if _, err := parseNumber(port, 1, 65535); err != nil {
			return nil, errors.New("a port that is none")
		}
	}
	return u, nil
}

// baseURL reads a URL that paths are appended to, and cuts the slash at its end.
func baseURL(s string, production bool) (string, error) {
	u, err := webURL(s)
	switch {
	case err != nil:
		return "", err
	case production && u.Scheme != "https":
		return "", errors.New("not https")
	case u.RawQuery != "" || u.ForceQuery:
		return "", errors.New("a query in it")
	}
	return strings.TrimRight(s, "/"), nil
}

// shownURL shows a wrong URL without the parts in which people put passwords and tokens.
func shownURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return bytesOf(s) + " that are no URL"
	}
	shown := u.Scheme + "://" + u.Host
	if len(u.Path) > 1 || u.RawQuery != "" || u.Fragment != "" {
		shown += "/…"
	}
	return quoted(shown)
}
