package web_test

import (
	"testing"

	"sealpost/store"
	"sealpost/store/storetest"
	"sealpost/web"
	"sealpost/web/webtest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// start starts a server on SQLite, for tests of the frame, which no database matters to.
func start(t testing.TB, env ...string) *webtest.Server {
	t.Helper()
	s := webtest.Start(t, storetest.Open(t, storetest.SQLiteURL(t)), env...)
	web.AddTestRoutes(s.Web)
	return s
}

// each starts a server on each database.
func each(t *testing.T, test func(*testing.T, *webtest.Server)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		t.Helper()
		s := webtest.Start(t, st)
		web.AddTestRoutes(s.Web)
		test(t, s)
	})
}
