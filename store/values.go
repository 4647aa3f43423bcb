package store

import (
	"fmt"
	"strconv"
	"time"
)

// Micros is a time as the tables keep it: microseconds since the epoch, null for the zero time.
func Micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

// FromMicros is the time of a value made by Micros, in UTC.
func FromMicros(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// Time scans a column of Micros into t; null gives the zero time.
func Time(t *time.Time) *TimeColumn { return (*TimeColumn)(t) }

// TimeColumn is a time that is being scanned.
type TimeColumn time.Time

// Scan implements sql.Scanner.
func (c *TimeColumn) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*c = TimeColumn{}
	case int64:
		*c = TimeColumn(FromMicros(v))
	default:
		return fmt.Errorf("scan a time: %T is not a number of microseconds", src)
	}
	return nil
}

// Text is a string as the tables keep it: null for the empty one.
func Text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// String scans a nullable text column into s; null gives "".
func String(s *string) *StringColumn { return (*StringColumn)(s) }

// StringColumn is a string that is being scanned.
type StringColumn string

// Scan implements sql.Scanner.
func (c *StringColumn) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*c = ""
	case string:
		*c = StringColumn(v)
	case []byte:
		*c = StringColumn(v)
	default:
		return fmt.Errorf("scan a text: got %T", src)
	}
	return nil
}

// Bytes scans a nullable column of bytes into b: null gives nil, and no bytes give an empty slice, which
// scanning into a plain slice does not do on SQLite.
func Bytes(b *[]byte) *BytesColumn { return (*BytesColumn)(b) }

// BytesColumn is a slice of bytes that is being scanned.
type BytesColumn []byte

// Scan implements sql.Scanner.
func (c *BytesColumn) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*c = nil
	case []byte:
		*c = append([]byte{}, v...)
	default:
		return fmt.Errorf("scan bytes: got %T", src)
	}
	return nil
}

// Placeholders writes "$from, $from+1, …", n of them, for lists of arguments.
func Placeholders(from, n int) string {
	b := make([]byte, 0, n*5)
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '$')
		b = strconv.AppendInt(b, int64(from+i), 10)
	}
	return string(b)
}

// Padded repeats the last argument until those behind the first `fixed` are a power of two in number,
// so that a list of ids has few texts, and those stay prepared.
func Padded(args []any, fixed int) []any {
	n := 1
	for n < len(args)-fixed {
		n *= 2
	}
	for len(args)-fixed < n {
		args = append(args, args[len(args)-1])
	}
	return args
}
