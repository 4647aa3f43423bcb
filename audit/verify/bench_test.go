package verify_test

import (
	"testing"

	"golang.org/x/mod/sumdb/note"

	"sealpost/audit/verify"
	"sealpost/store/storetest"
)

// BenchmarkVerify verifies an export of 51,200 events, and the same in a SQLite file. `sealpost bench -only
// verify` measures a million, beside a floor.
func BenchmarkVerify(b *testing.B) {
	s := newSite(b, storetest.Open(b, storetest.SQLiteURL(b)))
	for range 100 {
		s.waiting(512)
	}
	s.seal()
	dir := s.export()
	for name, src := range map[string]verify.Source{"export": verify.Export(dir), "database": verify.Database(s.st)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r, err := verify.Run(b.Context(), src, verify.Options{Keys: []note.Verifier{s.verifier()}})
				if err != nil || r.Verdict() != verify.Holds {
					b.Fatal(err, r.Findings)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/51200, "ns/event")
		})
	}
}
