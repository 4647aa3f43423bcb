package config

import (
	"fmt"
	"strings"
)

// ExitStatus is the status of a program that ends for Problems: EX_CONFIG of sysexits.h, which systemd
// shows by name and RestartPreventExitStatus= can tell from a crash.
const ExitStatus = 78

// Problem is one variable that stops the start. No field ever holds a secret's value.
type Problem struct {
	Variable string
	Got      string // what it got: the value in quotes or, for a secret, how long it is and where from
	Want     string // what it takes
}

// String says it in one line.
func (p Problem) String() string {
	return fmt.Sprintf("%s: got %s; takes %s", p.Variable, p.Got, p.Want)
}

// Problems are all that is wrong, in the order of the reference, so that one round of corrections is
// enough. They are the error of Parse and Load.
type Problems []Problem

// Error lists them, one on a line.
func (ps Problems) Error() string {
	var b strings.Builder
	if len(ps) == 1 {
		b.WriteString("1 problem in the configuration:")
	} else {
		fmt.Fprintf(&b, "%d problems in the configuration:", len(ps))
	}
	for _, p := range ps {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}
