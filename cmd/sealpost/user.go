package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"sealpost/account"
	"sealpost/config"
)

// `sealpost user` is the way in when nobody can sign in: the only ADMIN's phone is lost, or the password is
// forgotten. It is for whoever has the server's machine, who could read the database and its keys as well
// (decision 8). What it does is in the audit log, as done by the operator, with the reason that it asks for.
//
// No password is an argument, which everybody on the machine could read in the list of processes: it is
// read from the standard input, or made here and printed once.

type userTask struct {
	name, about string
	run         func(ctx context.Context, u *userRun) error
}

var userTasks = []userTask{
	{"create", "make an account. Its password is known here, so its user has to choose another when enrolling,\nwithin 72 hours.", createUser},
	{"reset-mfa", "take a user's second factor away, for a lost phone. The user's sessions end; a sign-in with the\npassword then leads to enrollment, for 72 hours.", resetMFA},
	{"reset-password", "take a user's password away, and print the token with which another can be chosen within an\nhour. The user's sessions end. The second factor is asked for as before.", resetPassword},
	{"revoke-sessions", "end a user's sessions, or everyone's, at once and on every server.", revokeSessions},
}

func userCommand(ctx context.Context, p program, args []string) error {
	names := make([]string, len(userTasks))
	for i, t := range userTasks {
		names[i] = t.name
	}
	if len(args) > 0 && slices.Contains([]string{"-h", "-help", "--help"}, args[0]) {
		for _, t := range userTasks {
			_, _ = fmt.Fprintf(p.stdout, "sealpost user %s: %s\n", t.name, t.about)
		}
		_, _ = fmt.Fprintln(p.stdout, "`sealpost user TASK -h` lists a task's flags.")
		return errHelp
	}
	i := -1
	if len(args) > 0 {
		i = slices.Index(names, args[0])
	}
	if i < 0 {
		return usage("user: say what to do first: sealpost user %s; with -h it explains itself", strings.Join(names, "|"))
	}
	u := &userRun{p: p}
	if err := u.read(userTasks[i], args[1:]); err != nil {
		return err
	}
	c, _, err := config.Parse(p.environ)
	if err != nil {
		return err
	}
	if u.password, err = u.readPassword(); err != nil {
		return err
	}
	if u.people, err = reachPeople(ctx, p, c); err != nil {
		return fmt.Errorf("nothing has been changed: %w", err)
	}
	u.c = c
	return errors.Join(userTasks[i].run(ctx, u), u.people.close())
}

// userRun is a run of `sealpost user`.
type userRun struct {
	p                         program
	c                         *config.Config
	people                    people
	email, name, role, reason string
	everyone, passwordStdin   bool
	password                  string // as it was read; "" where none was
}

// read reads the flags of a task.
func (u *userRun) read(t userTask, args []string) error {
	f := u.p.flags("user "+t.name, t.about+"\nIt asks the server that runs on this DATA_DIR, over the operator's socket; where none runs here\n"+
		"it works on the database itself. Status: 0 done, 1 not done, 2 wrong usage, 75 another process has\nthe database.")
	f.StringVar(&u.email, "email", "", "whose: the `address` of the account (required)")
	f.StringVar(&u.reason, "reason", "", "why, for the audit log, in a `sentence` with its ticket (required)")
	switch t.name {
	case "create":
		f.StringVar(&u.name, "name", "", "what the person is called (required)")
		f.StringVar(&u.role, "role", "", "ADMIN, AUTHOR or AUDITOR (required)")
		f.BoolVar(&u.passwordStdin, "password-stdin", false, "read the password from the standard input; without it, one is made and printed")
	case "reset-password":
		f.BoolVar(&u.passwordStdin, "password-stdin", false, "choose the new password now, and read it from the standard input")
	case "revoke-sessions":
		f.BoolVar(&u.everyone, "everyone", false, "everyone's sessions, in place of --email")
	}
	if err := u.p.parse(f, args); err != nil {
		return err
	}
	switch {
	case u.everyone && u.email != "":
		return usage("user %s: --email and --everyone are two answers to one question", t.name)
	case !u.everyone && strings.TrimSpace(u.email) == "":
		return usage("user %s: say whose account with --email", t.name)
	case strings.TrimSpace(u.reason) == "":
		return usage("user %s: say why with --reason: it goes into the audit log", t.name)
	case t.name == "create" && (strings.TrimSpace(u.name) == "" || u.role == ""):
		return usage("user create: give --name and --role")
	}
	return nil
}

// maxPasswordLine is the longest line that is read as a password, in bytes: the longest password has 128
// characters of at most 4.
const maxPasswordLine = 4 * account.MaxPasswordLength

// readPassword reads the first line of the standard input, where it was asked to.
func (u *userRun) readPassword() (string, error) {
	if !u.passwordStdin {
		return "", nil
	}
	if u.p.stdin == nil {
		u.p.stdin = strings.NewReader("")
	}
	line, err := bufio.NewReader(io.LimitReader(u.p.stdin, maxPasswordLine+2)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password from the standard input: %w", err)
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	switch {
	case line == "":
		return "", usage("--password-stdin: the standard input is empty; `read -rs P; printf %%s \"$P\" | sealpost user …` asks for a password")
	case len(line) > maxPasswordLine:
		return "", usage("--password-stdin: the line is longer than a password can be")
	}
	return line, nil
}

func (u *userRun) say(format string, args ...any) {
	_, _ = fmt.Fprintf(u.p.stdout, format+"\n", args...)
}

// weak adds what is wrong with a password to the error that says so.
func weak(err error, issues []account.Issue) error {
	for _, i := range issues {
		err = fmt.Errorf("%w\n  %s: %s", err, i.Code, i.Message)
	}
	return err
}

func createUser(ctx context.Context, u *userRun) error {
	made := u.password == ""
	if made {
		u.password = account.GeneratePassword()
	}
	user, err := u.people.create(ctx, account.NewUser{Email: u.email, Name: u.name, Role: u.role, Password: u.password, Reason: u.reason})
	if err != nil {
		return err
	}
	u.say("made %s (%s, %s), by %s", plain(user.Email), user.Role, user.ID, u.people.where())
	if made {
		u.say("password, shown this once: %s", u.password)
	}
	u.say("next: sign in at %s/login within 72 hours, enroll a second factor and choose another password", u.c.PublicURL)
	return nil
}

func resetMFA(ctx context.Context, u *userRun) error {
	id, err := u.people.find(ctx, u.email)
	if err != nil {
		return err
	}
	user, err := u.people.resetMFA(ctx, id, u.reason)
	if err != nil {
		return err
	}
	u.say("%s has no second factor any more, and no session, by %s", plain(user.Email), u.people.where())
	u.say("next: sign in at %s/login with the password within 72 hours, and enroll a new one", u.c.PublicURL)
	return nil
}

func resetPassword(ctx context.Context, u *userRun) error {
	id, err := u.people.find(ctx, u.email)
	if err != nil {
		return err
	}
	token, until, err := u.people.resetPassword(ctx, id, u.reason)
	if err != nil {
		return err
	}
	if u.password != "" {
		err = u.people.choose(ctx, token, u.password)
		if err == nil {
			u.say("%s has the password that was given, and no session, by %s", plain(u.email), u.people.where())
			u.say("next: sign in at %s/login; the second factor is asked for as before", u.c.PublicURL)
			return nil
		}
	}
	u.say("%s has no password any more, and no session, by %s", plain(u.email), u.people.where())
	u.say("reset token, shown this once, good until %s: %s", until.Format(time.RFC3339), token)
	u.say(`next: choose a new password with it: POST %s/api/auth/password/reset {"resetToken":"…","newPassword":"…"}`, u.c.PublicURL)
	return err
}

func revokeSessions(ctx context.Context, u *userRun) error {
	whose := account.Whose{Everyone: u.everyone, Reason: u.reason}
	if !u.everyone {
		id, err := u.people.find(ctx, u.email)
		if err != nil {
			return err
		}
		whose.UserID = id
	}
	if err := u.people.revoke(ctx, whose); err != nil {
		return err
	}
	who := "everyone's"
	if !u.everyone {
		who = "the user's"
	}
	u.say("%s sessions have ended, on every server, by %s", who, u.people.where())
	return nil
}
