package web

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/store"
)

// The sizes of a page.
const (
	defaultLimit = 50
	maxLimit     = 200
	maxCursor    = 512 // bytes of a cursor's text
)

// Paging is embedded in the input of a list: ?limit= and ?cursor=, which become Page.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many to give at most"`
	Cursor string `query:"cursor" doc:"The nextCursor of the page before; without it, the list starts"`

	Page store.Page
}

// Resolve implements huma.Resolver.
func (p *Paging) Resolve(huma.Context) []error {
	after, ok := parseCursor(p.Cursor)
	if !ok {
		return []error{&huma.ErrorDetail{Location: "query.cursor", Message: "this is no cursor that a list has given"}}
	}
	p.Page = store.Page{Limit: p.Limit, After: after}
	return nil
}

// PageInfo tells where a page stands in its list.
type PageInfo struct {
	HasMore    bool    `json:"hasMore" doc:"Whether there is a page behind this one"`
	NextCursor *string `json:"nextCursor" doc:"What to give as cursor for the next page; null at the end"`
	Returned   int     `json:"returned" doc:"How many this page has"`
}

// pageInfo is the pageInfo of a list.
func pageInfo[T any](l store.List[T]) PageInfo {
	info := PageInfo{HasMore: l.Next != "", Returned: len(l.Items)}
	if info.HasMore {
		next := makeCursor(l.Next)
		info.NextCursor = &next
	}
	return info
}

// A cursor is base64url of a version and the key behind which the list goes on. The version lets a
// later release tell cursors of another form from its own.
const cursorVersion = "1"

func makeCursor(key string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(cursorVersion + key))
}

// parseCursor gives a cursor's key, "" for no cursor.
func parseCursor(cursor string) (key string, ok bool) {
	if cursor == "" {
		return "", true
	}
	if len(cursor) > maxCursor {
		return "", false
	}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || !utf8.Valid(b) {
		return "", false
	}
	key, ok = strings.CutPrefix(string(b), cursorVersion)
	// A key has one cursor: base64 also reads line breaks, and goes on behind them.
	return key, ok && key != "" && strings.IndexByte(key, 0) < 0 && makeCursor(key) == cursor
}

// items is a list's part as JSON wants it: an empty list is [], not null.
func items[T any](l store.List[T]) []T {
	if l.Items == nil {
		return []T{}
	}
	return l.Items
}
