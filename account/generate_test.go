package account

import (
	"regexp"
	"testing"
)

func TestGeneratedPasswords(t *testing.T) {
	pattern := regexp.MustCompile(`^([2-9A-HJ-NP-Za-km-z]{6}-){4}[2-9A-HJ-NP-Za-km-z]{6}$`)
	seen := map[string]bool{}
	for range 200 {
		password := GeneratePassword()
		if !pattern.MatchString(password) || seen[password] || CheckPassword(password, 34) != nil {
			t.Fatalf("the password %s is of another form, weak, or came twice", password)
		}
		seen[password] = true
	}
}
