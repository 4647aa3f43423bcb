package assist

import (
	"context"
	"encoding/json"
	"strings"

	"sealpost/fault"
)

// SuggestRequest asks for suggestions on a document.
type SuggestRequest struct {
	Title   string
	Content string // Markdown; not empty
	Source  string // what facts may be taken from; may be empty
}

// Suggested is what a model suggests, as far as it could be verified.
type Suggested struct {
	Suggestions []Suggestion // at most 20, in the model's order
	Dropped     int          // how many more there were, which did not match the texts
	Trace       Trace        // also where there is an error; zero where no call was made
}

// Suggestion is a change to a document.
type Suggestion struct {
	Kind        string `json:"kind"`        // one of kinds
	Quote       string `json:"quote"`       // occurs exactly once in the content
	Replacement string `json:"replacement"` // may be empty
	Reason      string `json:"reason"`
	Source      string `json:"source"` // occurs in the source; empty where no fact is added
}

// The kinds of suggestions.
const (
	Correction  = "CORRECTION"  // spelling, grammar, punctuation
	Clarity     = "CLARITY"     // misleading, or longer than it needs to be
	Consistency = "CONSISTENCY" // against another place of the content
	Fact        = "FACT"        // what the source says and the content does not
)

var kinds = []string{Correction, Clarity, Consistency, Fact}

// Suggest asks a model for suggestions and verifies each. fault.Invalid (a content that is empty or too
// long for the model, a model that declines), fault.TooLarge, fault.Unavailable (AI is off, or the
// server failed). When ctx ends, so does the call at the server, and the error is the context's.
func (a *Assistant) Suggest(ctx context.Context, r SuggestRequest) (Suggested, error) {
	if err := a.Check(); err != nil {
		return Suggested{}, err
	}
	if strings.TrimSpace(r.Content) == "" {
		return Suggested{}, fault.New(fault.Invalid, "the document is empty: there is nothing to make suggestions about")
	}
	texts := []section{{"TITLE", r.Title}, {"CONTENT", r.Content}}
	if r.Source != "" {
		texts = append(texts, section{"SOURCE", r.Source})
	}
	if err := checkInput(texts); err != nil {
		return Suggested{}, err
	}
	text, trace, err := a.ask(ctx, suggesting, texts, nil)
	if err != nil {
		return Suggested{Trace: trace}, err
	}
	items, err := parse(text)
	if err != nil {
		trace.Outcome = Unusable
		return Suggested{Trace: trace}, unusable(err)
	}
	s := Suggested{Trace: trace}
	s.Suggestions, s.Dropped = verify(items, r.Content, r.Source)
	s.Trace.Dropped = s.Dropped
	return s, nil
}

// parse reads {"suggestions":[…]}. It is tolerant of what stands around the object, since models
// without structured outputs like to explain themselves and to draw fences, and strict about the
// object; what the list has in it is for verify.
func parse(text string) ([]json.RawMessage, error) {
	start, end := strings.IndexByte(text, '{'), strings.LastIndexByte(text, '}')
	if start < 0 || end < start {
		return nil, &garbled{"there is no JSON object in it"}
	}
	var answer struct {
		Suggestions *[]json.RawMessage `json:"suggestions"`
	}
	if json.Unmarshal([]byte(text[start:end+1]), &answer) != nil || answer.Suggestions == nil {
		return nil, &garbled{"it is no list of suggestions"}
	}
	return *answer.Suggestions, nil
}
