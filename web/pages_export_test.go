package web

import "time"

// Page is a page's route, for tests that hold all of them to the same rules.
type Page struct {
	Pattern       string
	Public, Fresh bool
}

// Pages are all pages of a server.
func Pages(s *Server) []Page {
	list := make([]Page, len(s.pages))
	for i, p := range s.pages {
		list[i] = Page{p.pattern, p.access.public, p.access.fresh}
	}
	return list
}

// LocalPage tells where a page that somebody wants to go to leads.
func LocalPage(s *Server, to string) string { return s.localPage(to) }

// StaticAddress is where a file of the pages is served.
func StaticAddress(s *Server, name string) string { return s.assets.address[name] }

// Limits of streams.
const (
	MaxStreams = maxStreams
	MaxOwn     = maxOwn
)

// FillStreams takes the place of n streams of other people until it is undone.
func FillStreams(s *Server, n int) (undo func()) {
	s.streams.mu.Lock()
	defer s.streams.mu.Unlock()
	s.streams.open += n
	return func() {
		s.streams.mu.Lock()
		defer s.streams.mu.Unlock()
		s.streams.open -= n
	}
}

// OpenStreams is how many streams are open.
func OpenStreams(s *Server) int {
	s.streams.mu.Lock()
	defer s.streams.mu.Unlock()
	return s.streams.open
}

// AsText, Took, ByteSize and InWords are how pages write what they show.
func AsText(b []byte, limit int) (string, bool, bool) { return asText(b, limit) }

// Took is how long something lasted.
func Took(d time.Duration) string { return took(time.Unix(0, 0), time.Unix(0, 0).Add(d)) }

// ByteSize is a number of bytes.
func ByteSize(n int) string { return byteSize(n) }

// InWords is a time to wait.
func InWords(d time.Duration) string { return inWords(d) }

// StandingKnown tells whether somebody looks how alerts and controls stand, and has seen it.
func StandingKnown(s *Server) bool {
	now, _ := s.standing.read()
	return now.known
}
