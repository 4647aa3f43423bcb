package config

import (
	"fmt"
	"strings"
)

const referenceIntro = `Sealpost is configured by environment variables. An empty variable is an unset one.

A secret NAME may also come as NAME_FILE, the path of a file that holds it, or as a file NAME in
$CREDENTIALS_DIRECTORY (systemd's LoadCredential=). One newline at the file's end does not count.
Secrets from files are read again when the file changes: replace it by renaming another onto it.

With a wrong value the program does not start: it lists every problem and exits with status %d.
`

// Reference gives the whole reference as text: every variable with what it takes, its default, and
// what production asks of it.
func Reference() string {
	var b strings.Builder
	fmt.Fprintf(&b, referenceIntro, ExitStatus)
	section := ""
	for _, v := range Variables() {
		if v.Section != section {
			section = v.Section
			fmt.Fprintf(&b, "\n%s\n", section)
		}
		name := v.Name
		if v.Secret {
			name += " (secret)"
		}
		fmt.Fprintf(&b, "  %s\n      %s\n      Takes %s.\n", name, v.About, v.Takes)
		if v.Default == "" {
			b.WriteString("      Default: unset.\n")
		} else {
			fmt.Fprintf(&b, "      Default: %s.\n", v.Default)
		}
		if v.Production != "" {
			fmt.Fprintf(&b, "      Production: %s.\n", v.Production)
		}
	}
	return b.String()
}
