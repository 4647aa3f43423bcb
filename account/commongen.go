//go:build ignore

// The program that made common.txt, from the lists of zxcvbn as github.com/trustelem/zxcvbn has them:
// go run commongen.go. It is no part of the build.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// lists are zxcvbn's, each in the order of how often its words are used, and how many of each are taken: as
// many as zxcvbn takes, and all the passwords.
var lists = []struct {
	name string
	most int
}{
	{"passwords.txt", 50_000}, {"english_wikipedia.txt", 30_000}, {"female_names.txt", 3_712}, {"male_names.txt", 983},
	{"us_tv_and_film.txt", 19_160}, {"surnames.txt", 10_000},
}

func main() {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/trustelem/zxcvbn").Output()
	if err != nil {
		log.Fatal(err)
	}
	words := make([][]string, len(lists))
	for i, l := range lists {
		b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "data", l.name))
		if err != nil {
			log.Fatal(err)
		}
		for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan() && len(words[i]) < l.most; {
			if fields := strings.Fields(lines.Text()); len(fields) > 0 && usable(strings.ToLower(fields[0])) {
				words[i] = append(words[i], strings.ToLower(fields[0]))
			}
		}
	}
	// Line n has the nth word of each list, without what an earlier line has: a word's line is its rank.
	var out bytes.Buffer
	seen := map[string]bool{}
	for rank := range words[0] { // the longest
		var line []string
		for _, list := range words {
			if rank < len(list) && !seen[list[rank]] {
				seen[list[rank]] = true
				line = append(line, list[rank])
			}
		}
		fmt.Fprintln(&out, strings.Join(line, " "))
	}
	if err := os.WriteFile("common.txt", out.Bytes(), 0o644); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(seen), "words,", out.Len(), "bytes")
}

// usable keeps printable ASCII of 3 to 32 characters: anything shorter is found by counting characters.
func usable(word string) bool {
	if len(word) < 3 || len(word) > 32 {
		return false
	}
	return !strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}
