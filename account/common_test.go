package account

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"
)

// The list is the one that its licence file speaks of, and in the form in which it is searched.
func TestCommonList(t *testing.T) {
	licence, err := os.ReadFile("common.LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(commonText))
	if !strings.Contains(string(licence), hex.EncodeToString(sum[:])) {
		t.Errorf("common.LICENSE does not name the checksum %x", sum)
	}
	ranks := commonRanks()
	if len(ranks) != commonWordCount || len(strings.Fields(commonText)) != commonWordCount {
		t.Errorf("%d words, of which %d differ, want %d", len(strings.Fields(commonText)), len(ranks), commonWordCount)
	}
	for word := range ranks {
		if len(word) < minCommon || len(word) > maxCommon || word != string(plain(word)) {
			t.Errorf("%q is too short, too long or not in plain form", word)
		}
	}
	for word, rank := range map[string]int32{"123456": 1, "the": 1, "password": 2, "dragon": 10} {
		if ranks[word] != rank {
			t.Errorf("the rank of %s is %d, want %d", word, ranks[word], rank)
		}
	}
}

func TestIsCommon(t *testing.T) {
	own := [][]rune{[]rune("lovelace")}
	for _, tt := range []struct {
		password string
		want     bool
	}{
		{"summer2026!!", true},
		{"$ummer2026!!", true},
		{"p@55w0rd!", true},
		{"trustno1!!!!", true},
		{"!!2026kettle", true},
		{"l0v3l@ce-99", true},
		{"123456", true},
		{"c1ns!d3r", false},
		{"kettle-moth7", false},
		{"kettle7!kettlf", false},
		{"72635498!#", false},
		{"7#ab%9", false},
		{"", false},
		{"!!!!", false},
	} {
		if got := isCommon([]rune(tt.password), own); got != tt.want {
			t.Errorf("isCommon(%q) = %v", tt.password, got)
		}
	}
}
