package store

// Page asks for a part of a list: at most Limit rows behind the row whose key is After.
type Page struct {
	Limit int
	After string // "": from the start
}

// List is a part of a list.
type List[T any] struct {
	Items []T
	Next  string // the key to ask for what follows; "": this is the end
}

// Cut makes a List of up to Limit+1 rows, the last of which only tells that there are more.
func Cut[T any](rows []T, page Page, key func(T) string) List[T] {
	if len(rows) <= page.Limit {
		return List[T]{Items: rows}
	}
	rows = rows[:page.Limit]
	return List[T]{Items: rows, Next: key(rows[len(rows)-1])}
}
