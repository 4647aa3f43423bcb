package assist

import (
	"context"
	"strings"
	"unicode/utf8"

	"sealpost/fault"
)

// ComposeRequest asks for a document's new content.
type ComposeRequest struct {
	Title        string
	Content      string // Markdown; may be empty
	Instructions string // 1 to 4,000 code points, from the author
	Source       string // what the author wants it to be based on; may be empty
}

// Composed is a document's new content.
type Composed struct {
	Text  string // Markdown
	Trace Trace  // also where there is an error; zero where no call was made
}

// Compose asks a model to write. onDelta, where it is not nil, gets the answer as it comes, in pieces
// that make up the answer; an error of it ends the call. They are a preview: what counts is Text,
// which is there only when the answer came whole.
//
// fault.Invalid (instructions that are empty or too long, a text that is too long for the model, a
// model that declines), fault.TooLarge, fault.Unavailable (AI is off, or the server failed). When ctx
// ends, so does the call at the server, and the error is the context's.
func (a *Assistant) Compose(ctx context.Context, r ComposeRequest, onDelta func(text string) error) (Composed, error) {
	if err := a.Check(); err != nil {
		return Composed{}, err
	}
	switch {
	case strings.TrimSpace(r.Instructions) == "":
		return Composed{}, fault.New(fault.Invalid, "the instructions are empty: say what is to be written")
	case utf8.RuneCountInString(r.Instructions) > MaxInstructions:
		return Composed{}, fault.New(fault.Invalid, "the instructions have more than %d characters", MaxInstructions)
	}
	texts := []section{{"TITLE", r.Title}, {"CONTENT", r.Content}, {"INSTRUCTIONS", r.Instructions}}
	if r.Source != "" {
		texts = append(texts, section{"SOURCE", r.Source})
	}
	if err := checkInput(texts); err != nil {
		return Composed{}, err
	}
	text, trace, err := a.ask(ctx, composing, texts, onDelta)
	if err != nil {
		return Composed{Trace: trace}, err
	}
	return Composed{Text: unwrap(text), Trace: trace}, nil
}

// checkInput bounds what a call costs. fault.TooLarge.
func checkInput(texts []section) error {
	n := 0
	for _, s := range texts {
		n += len(s.text)
	}
	if n > MaxInput {
		return fault.New(fault.TooLarge, "the texts for the AI have %d bytes together; it takes %d", n, MaxInput).With("limitBytes", MaxInput)
	}
	return nil
}

// unwrap takes the code fence off an answer that is nothing but one block of Markdown, which many
// models put around it whatever they are told.
func unwrap(text string) string {
	body, ok := strings.CutSuffix(strings.TrimSpace(text), "\n```")
	if !ok {
		return text
	}
	for _, fence := range []string{"```markdown\n", "```md\n"} {
		if inner, ok := strings.CutPrefix(body, fence); ok && balanced(inner) {
			return inner + "\n"
		}
	}
	return text
}

// balanced tells whether the code blocks in a text are whole, so that fences around the text belong
// together. A block without a language is not told from the end of what is around it (CommonMark).
func balanced(text string) bool {
	open := false
	for line := range strings.SplitSeq(text, "\n") {
		language, fence := strings.CutPrefix(strings.TrimLeft(line, " "), "```")
		switch {
		case !fence:
		case !open && strings.TrimSpace(language) == "":
			return false
		default:
			open = !open
		}
	}
	return !open
}
