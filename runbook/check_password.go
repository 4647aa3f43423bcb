package runbook

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sealpost/account"
)

// The password policy is checked by asking it about sample passwords: the same function that every route
// asks. None of them is anybody's.

// goodPassword keeps every rule but for a longer minimum.
const goodPassword = "Quiet-Harbour-42-Lanterns"

// sample is a password with the issues it must have. own are texts about the user whose it would be.
type sample struct {
	password string
	own      []string
	codes    []string
	exactly  bool // and no others
}

// judge holds the policy against samples, at the runbook's own minimum length.
func judge(samples []sample, ask func(password string, minLength int, own ...string) []account.Issue) Finding {
	var wrong []string
	for _, s := range samples {
		codes := codesOf(ask(s.password, minPasswordLength, s.own...))
		missing := slices.ContainsFunc(s.codes, func(code string) bool { return !slices.Contains(codes, code) })
		if missing || s.exactly && len(codes) != len(s.codes) {
			wrong = append(wrong, fmt.Sprintf("%q got [%s], not [%s]", s.password, strings.Join(codes, " "), strings.Join(s.codes, " ")))
		}
	}
	evidence := map[string]any{"samples": len(samples), "wrong": len(wrong)}
	if len(wrong) > 0 {
		return found(false, evidence, "of %d sample passwords %d were answered wrongly: %s", len(samples), len(wrong), strings.Join(wrong, "; "))
	}
	return found(true, evidence, "%d sample passwords were answered rightly", len(samples))
}

func codesOf(issues []account.Issue) []string {
	codes := make([]string, len(issues))
	for i, issue := range issues {
		codes[i] = issue.Code
	}
	return codes
}

func samplesCheck(samples []sample) func(context.Context, *Checker) (Finding, error) {
	return func(context.Context, *Checker) (Finding, error) { return judge(samples, account.CheckPassword), nil }
}

var (
	passwordClasses = samplesCheck([]sample{
		{goodPassword, nil, nil, true},
		{"quiet-harbour-42-lanterns", nil, []string{account.MissingUppercase}, true},
		{"QUIET-HARBOUR-42-LANTERNS", nil, []string{account.MissingLowercase}, true},
		{"Quiet-Harbour-of-Lanterns", nil, []string{account.MissingNumber}, true},
		{"Quiet9Harbour42of7Lanterns", nil, []string{account.MissingSymbol}, true},
	})
	passwordWhitespace = samplesCheck([]sample{
		{"Quiet Harbour-42-Lanterns", nil, []string{account.ContainsWhitespace}, true},
		{"Quiet-Harbour-42-Lanterns ", nil, []string{account.ContainsWhitespace}, true},
		{"Quiet\tHarbour-42-Lanterns", nil, []string{account.ContainsWhitespace}, false},
		{"Quiet\nHarbour-42-Lanterns", nil, []string{account.ContainsWhitespace}, false},
		{"Quiet\u00a0Harbour-42-Lanterns", nil, []string{account.ContainsWhitespace}, true},
		{"Quiet\u3000Harbour-42-Lanterns", nil, []string{account.ContainsWhitespace}, true},
	})
	passwordWeak = samplesCheck([]sample{
		{"Password1234!", nil, []string{account.WeakPattern}, true},
		{"P@ssw0rd2026!", nil, []string{account.WeakPattern}, true},
		{"Summer2026!!", nil, []string{account.WeakPattern}, true},
		{"Qwertyuiop123!", nil, []string{account.WeakPattern}, true},
		{"Aa1!Aa1!Aa1!Aa1!", nil, []string{account.WeakPattern}, true},
		{"Ada-Lovelace-1815", []string{"Ada Lovelace", "ada.lovelace@example.org"}, []string{account.WeakPattern}, true},
	})
	passwordSeveral = sample{"a b", nil, []string{
		account.TooShort, account.MissingUppercase, account.MissingNumber, account.MissingSymbol, account.ContainsWhitespace,
	}, false}
)

// passwordLength holds PASSWORD_MIN_LENGTH, and tries it at its edge.
func passwordLength(_ context.Context, c *Checker) (Finding, error) {
	least := c.o.Config.Auth.PasswordMinLength
	short := slices.Contains(codesOf(account.CheckPassword(strings.Repeat("x", least-1), least)), account.TooShort)
	long := slices.Contains(codesOf(account.CheckPassword(strings.Repeat("x", least), least)), account.TooShort)
	return decideLength(least, short, !long), nil
}

// decideLength tells whether the least length is enough, one shorter was refused and one as long taken.
func decideLength(least int, shortRefused, longTaken bool) Finding {
	return found(least >= minPasswordLength && shortRefused && longTaken,
		map[string]any{"PASSWORD_MIN_LENGTH": least, "oneShorterRefused": shortRefused, "asLongTaken": longTaken},
		"PASSWORD_MIN_LENGTH=%d; one character fewer is refused: %t; as many are taken: %t", least, shortRefused, longTaken)
}

// passwordIssues tries a password with which much is wrong.
func passwordIssues(context.Context, *Checker) (Finding, error) {
	return explicit(account.CheckPassword(passwordSeveral.password, minPasswordLength)), nil
}

// explicit tells whether all that is wrong with passwordSeveral was told, each with a sentence.
func explicit(issues []account.Issue) Finding {
	codes := codesOf(issues)
	holds := !slices.ContainsFunc(passwordSeveral.codes, func(code string) bool { return !slices.Contains(codes, code) }) &&
		!slices.ContainsFunc(issues, func(i account.Issue) bool { return i.Message == "" })
	return found(holds, map[string]any{"codes": codes}, "a password with much wrong about it got %d issues: %s", len(issues), strings.Join(codes, " "))
}
