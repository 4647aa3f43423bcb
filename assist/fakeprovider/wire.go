package fakeprovider

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Request is a chat completion that a client asks for.
type Request struct {
	Authorization string
	Header        http.Header
	Body          []byte // as it was received

	Model    string
	Messages []Message
	Stream   bool
	Usage    bool   // the count of tokens is wanted at the end
	Format   string // of the answer: "", "json_object" or "json_schema"
}

// Message is one message of a request.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

const maxRequest = 4 << 20

// ReadRequest reads a request for POST /chat/completions.
func ReadRequest(r *http.Request) (Request, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest))
	if err != nil {
		return Request{}, fmt.Errorf("read the request: %w", err)
	}
	var in struct {
		Model         string    `json:"model"`
		Messages      []Message `json:"messages"`
		Stream        bool      `json:"stream"`
		StreamOptions struct {
			IncludeUsage bool `json:"include_usage"`
		} `json:"stream_options"`
		ResponseFormat struct {
			Type string `json:"type"`
		} `json:"response_format"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return Request{}, fmt.Errorf("read the request: %w", err)
	}
	return Request{
		Authorization: r.Header.Get("Authorization"), Header: r.Header, Body: body,
		Model: in.Model, Messages: in.Messages, Stream: in.Stream, Usage: in.StreamOptions.IncludeUsage, Format: in.ResponseFormat.Type,
	}, nil
}

// Stream writes an answer as OpenAI's chat completions stream it: server-sent events, each with a
// chunk of JSON, and [DONE] at the end.
type Stream struct {
	w     http.ResponseWriter
	model string
}

// NewStream begins an answer.
func NewStream(w http.ResponseWriter, model string) *Stream {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	return &Stream{w: w, model: model}
}

// Raw writes bytes as they are, and sends them off.
func (s *Stream) Raw(text string) error {
	if _, err := io.WriteString(s.w, text); err != nil {
		return fmt.Errorf("write the stream: %w", err)
	}
	return http.NewResponseController(s.w).Flush()
}

// Delta writes a piece of the answer.
func (s *Stream) Delta(text string) error {
	return s.choice(map[string]any{"content": text}, nil)
}

// Finish ends the answer for a reason: "stop" where it is whole.
func (s *Stream) Finish(reason string) error { return s.choice(map[string]any{}, reason) }

// Refusal writes that the model would rather not.
func (s *Stream) Refusal(text string) error {
	return s.choice(map[string]any{"refusal": text}, nil)
}

// Usage writes the count of tokens, in a chunk without an answer.
func (s *Stream) Usage(in, out int) error {
	return s.chunk([]any{}, map[string]any{"prompt_tokens": in, "completion_tokens": out, "total_tokens": in + out})
}

// Done writes the end of the stream.
func (s *Stream) Done() error { return s.Raw("data: [DONE]\n\n") }

func (s *Stream) choice(delta map[string]any, reason any) error {
	return s.chunk([]any{map[string]any{"index": 0, "delta": delta, "logprobs": nil, "finish_reason": reason}}, nil)
}

func (s *Stream) chunk(choices []any, usage any) error {
	chunk, err := json.Marshal(map[string]any{
		"id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": time.Now().Unix(), "model": s.model,
		"system_fingerprint": nil, "choices": choices, "usage": usage,
	})
	if err != nil {
		return fmt.Errorf("write a chunk: %w", err)
	}
	return s.Raw("data: " + string(chunk) + "\n\n")
}

// Refuse answers with an error as OpenAI does.
func Refuse(w http.ResponseWriter, status int, code, message string) {
	body, _ := json.Marshal(map[string]any{
		"error": map[string]any{"message": message, "type": "invalid_request_error", "param": nil, "code": code},
	})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
