// Package fakeprovider is an AI server that is none: it answers in the real wire format, at once, and
// always the same, and says in each answer that it is fake. `sealpost demo` shows by it how AI help is
// asked for and checked, without an account anywhere. wire.go is also what the tests' scripted server
// (assist/assisttest) is made of.
//
// A composition is the document as it was, with a paragraph behind it. Suggestions quote the text's
// own sentences; one more than can be, so that it can be seen that an invented quote is dropped.
package fakeprovider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// Model is the name under which the fake answers.
const Model = "sealpost-fake"

// Paragraph is what it puts behind a document.
const Paragraph = "> **Fake AI.** This paragraph was added by Sealpost's built-in fake provider. No model has read this document."

// Reason is what it says about each of its suggestions.
const Reason = "Sealpost's built-in fake provider suggests this for every text; no model has read it."

// Server is a running fake.
type Server struct {
	URL  string // the base URL, for assist.Options
	http *http.Server
	done chan struct{}
}

// Start starts a fake on a free port of this machine. key is what it takes as its API key.
func Start(ctx context.Context, key string) (*Server, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the fake AI: %w", err)
	}
	s := &Server{
		URL:  "http://" + l.Addr().String() + "/v1",
		http: &http.Server{Handler: Handler(key), ReadHeaderTimeout: 10 * time.Second},
		done: make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(l)
	}()
	return s, nil
}

// Close ends it, whatever it is doing.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.done
	return err
}

// Handler answers POST /v1/chat/completions.
func Handler(key string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		in, err := ReadRequest(r)
		switch {
		case r.Header.Get("Authorization") != "Bearer "+key:
			Refuse(w, http.StatusUnauthorized, "invalid_api_key", "this is not the fake's key")
		case err != nil || !in.Stream || len(in.Messages) == 0:
			Refuse(w, http.StatusBadRequest, "", "the fake takes streamed chat completions only")
		default:
			_ = answer(NewStream(w, Model), in)
		}
	})
	return mux
}

// answer streams word by word, as a model does.
func answer(s *Stream, in Request) error {
	message := in.Messages[len(in.Messages)-1].Content
	content, _ := textOf(message, "CONTENT")
	source, _ := textOf(message, "SOURCE")
	_, composing := textOf(message, "INSTRUCTIONS")
	text := suggestions(content, source)
	if composing {
		text = composition(content)
	}
	for word := range strings.SplitAfterSeq(text, " ") {
		if word == "" {
			continue
		}
		if err := s.Delta(word); err != nil {
			return err
		}
	}
	err := s.Finish("stop")
	if in.Usage {
		err = errors.Join(err, s.Usage(len(message)/4, len(text)/4))
	}
	return errors.Join(err, s.Done())
}

// textOf takes one text out of a message, from between its marks.
func textOf(message, name string) (string, bool) {
	mark, _, _ := strings.Cut(strings.TrimPrefix(message, "MARK "), "\n")
	_, rest, ok := strings.Cut(message, "\nBEGIN "+name+" "+mark+"\n")
	if !ok {
		return "", false
	}
	text, _, ok := strings.Cut(rest, "\nEND "+name+" "+mark+"\n")
	return text, ok
}

func composition(content string) string {
	content = strings.TrimRight(content, "\n")
	if content == "" {
		return Paragraph + "\n"
	}
	return content + "\n\n" + Paragraph + "\n"
}

// sentence is a plain one: from a capital letter to a full stop, within a line.
var sentence = regexp.MustCompile(`\p{Lu}[^.!?\n]{6,300}[.!?]`)

// maxQuoted is how many of a text's sentences are quoted.
const maxQuoted = 3

func suggestions(content, source string) string {
	type suggestion struct {
		Kind        string `json:"kind"`
		Quote       string `json:"quote"`
		Replacement string `json:"replacement"`
		Reason      string `json:"reason"`
		Source      string `json:"source"`
	}
	list := []suggestion{}
	fact := sentence.FindString(source)
	for _, quote := range sentence.FindAllString(content, -1) {
		if strings.Count(content, quote) != 1 || len(list) == maxQuoted {
			continue
		}
		s := suggestion{Kind: "CLARITY", Quote: quote, Replacement: quote + " *(fake AI)*", Reason: Reason}
		if fact != "" {
			s.Kind, s.Source, s.Replacement, fact = "FACT", fact, quote+" "+fact+" *(fake AI)*", ""
		}
		list = append(list, s)
	}
	list = append(list, suggestion{
		Kind: "CORRECTION", Quote: "This sentence stands in no document, so Sealpost drops the suggestion.", Reason: Reason,
	})
	text, _ := json.Marshal(map[string]any{"suggestions": list})
	return string(text)
}
