package account

import "crypto/rand"

// generatedGroups of six letters and digits each, with a hyphen between: some 178 bits that can be read
// out. Letters and digits that look like others are left out.
const (
	generatedGroups  = 5
	generatedLetters = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
)

// GeneratePassword makes a password that meets the policy, for the command line.
func GeneratePassword() string {
	for {
		var text []byte
		var b [256]byte
		_, _ = rand.Read(b[:])
		const fair = 256 - 256%len(generatedLetters)
		for _, c := range b {
			if int(c) >= fair || len(text) == generatedGroups*7-1 {
				continue
			}
			if len(text)%7 == 6 {
				text = append(text, '-')
			}
			text = append(text, generatedLetters[int(c)%len(generatedLetters)])
		}
		if password := string(text); len(text) == generatedGroups*7-1 && len(CheckPassword(password, len(text))) == 0 {
			return password
		}
	}
}
