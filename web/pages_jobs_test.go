package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"sealpost/audit"
	"sealpost/dispatch"
	"sealpost/store"
	"sealpost/web/webtest"
)

var operator = audit.Principal{Kind: audit.User, UserID: "01890a5d-ac96-774b-bcce-b302099a8057", Role: audit.Admin, IP: "127.0.0.1"}

// pageEndpoint makes an endpoint, and pageJob a job for it.
func pageEndpoint(t *testing.T, s *webtest.Server, name, url string) string {
	t.Helper()
	e, _, err := s.Dispatch.CreateEndpoint(t.Context(), operator, dispatch.NewEndpoint{Name: name, URL: url})
	if err != nil {
		t.Fatal(err)
	}
	return e.ID
}

func pageJob(t *testing.T, s *webtest.Server, by audit.Principal, n dispatch.NewJob) string {
	t.Helper()
	if n.ContentType == "" {
		n.ContentType, n.Payload = "text/plain", []byte("hello")
	}
	var id string
	_, err := s.Dispatch.Accept(t.Context(), by, n, audit.Once{}, func(j dispatch.Job) audit.Answer {
		id = j.ID
		return audit.Answer{Status: 202}
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// pageJobIs waits until a job has a status.
func pageJobIs(t *testing.T, s *webtest.Server, id string, want dispatch.Status) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		job, err := s.Dispatch.Get(t.Context(), operator, id)
		if err != nil {
			t.Fatal(err)
		}
		if job.Status == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("job %s is %s, want %s", id, job.Status, want)
		}
	}
}

// answering is a receiver with one answer.
func answering(t *testing.T, status int, body string) string {
	t.Helper()
	r := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(r.Close)
	return r.URL
}

// shownJobs are the ids of the jobs in a list's page, in their order.
func shownJobs(a webtest.Answer) (ids []string) {
	for _, m := range regexp.MustCompile(`<tr id="job-([^"]+)">`).FindAllStringSubmatch(a.Text, -1) {
		ids = append(ids, m[1])
	}
	return ids
}

func TestJobsPage(t *testing.T) {
	eachPageServer(t, func(t *testing.T, s *webtest.Server) {
		v := signIn(t, s, audit.Admin)
		wantPage(t, v.get("/jobs"), 200, "No job has been accepted yet.")
		archive := pageEndpoint(t, s, "Archive <b>", answering(t, 200, "ok"))
		ledger := pageEndpoint(t, s, "Ledger", answering(t, 400, "no"))
		later := dispatch.NewJob{EndpointID: archive, DeliverAfter: time.Now().Add(time.Hour)}
		sent, dead, waits := pageJob(t, s, operator, dispatch.NewJob{EndpointID: archive}),
			pageJob(t, s, operator, dispatch.NewJob{EndpointID: ledger}), pageJob(t, s, operator, later)
		pageJobIs(t, s, sent, dispatch.Dispatched)
		pageJobIs(t, s, dead, dispatch.DeadLetter)

		all := v.get("/jobs")
		wantPage(t, all, 200, "Archive &lt;b&gt;", "400 Bad Request", "PERMANENT", `hx-get="/jobs"`,
			`<script defer src="/static/app.`, `<form method="post" action="/jobs/`+dead+`/replay">`)
		if got := fmt.Sprint(shownJobs(all)); got != fmt.Sprint([]string{waits, dead, sent}) {
			t.Errorf("the list is %s", got)
		}
		if n := strings.Count(all.Text, ">Replay</button>"); n != 1 {
			t.Errorf("%d jobs can be replayed at once", n)
		}
		if !regexp.MustCompile(`<time datetime="20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z">20\d\d-\d\d-\d\d \d\d:\d\d:\d\d</time>`).MatchString(all.Text) {
			t.Error("a time is not in UTC, for machines and for people")
		}
		for _, tt := range []struct {
			query string
			want  []string
		}{
			{"status=DEAD_LETTER", []string{dead}},
			{"status=DISPATCHED", []string{sent}},
			{"status=PENDING", []string{waits}},
			{"status=IN_FLIGHT", nil},
			{"status=nonsense", []string{waits, dead, sent}},
			{"endpoint=" + ledger, []string{dead}},
			{"endpoint=" + archive + "&status=PENDING", []string{waits}},
			{"endpoint=" + someID, nil},
			{"q=" + dead, []string{dead}},
			{"q=" + dead[:8], []string{waits, dead, sent}},
		} {
			a := v.get("/jobs?" + tt.query)
			wantPage(t, a, 200)
			if got := fmt.Sprint(shownJobs(a)); got != fmt.Sprint(tt.want) {
				t.Errorf("%s: the list is %s, want %s", tt.query, got, tt.want)
			}
			if tt.want == nil && !strings.Contains(a.Text, "No job is like that.") {
				t.Errorf("%s: an empty list does not say so", tt.query)
			}
		}
		wantPage(t, v.get("/jobs?q=zz"), 422, `value="zz"`, `aria-invalid="true" aria-describedby="q-error"`, "Id is the first 8 to 36 characters")
		wantPage(t, v.get("/jobs?status=DEAD_LETTER&q="+dead), 200, `<option selected>DEAD_LETTER</option>`, `value="`+dead+`"`,
			`hx-get="/jobs?q=`+dead+`&amp;status=DEAD_LETTER"`)
	})
}

func TestJobsPagePages(t *testing.T) {
	s := pageServer(t)
	v := signIn(t, s, audit.Admin)
	endpoint := pageEndpoint(t, s, "Ledger", "https://receiver.example")
	if _, err := s.Dispatch.SetPaused(t.Context(), operator, endpoint, true, ""); err != nil {
		t.Fatal(err)
	}
	ids := make([]string, 51)
	for i := range ids {
		ids[50-i] = pageJob(t, s, operator, dispatch.NewJob{EndpointID: endpoint})
	}
	first := v.get("/jobs?status=PENDING")
	older := regexp.MustCompile(`id="older" href="([^"]+)"`).FindStringSubmatch(first.Text)
	if fmt.Sprint(shownJobs(first)) != fmt.Sprint(ids[:50]) || older == nil || strings.Contains(first.Text, `id="newest"`) {
		t.Fatalf("the first page has %d jobs, and leads to %s", len(shownJobs(first)), older)
	}
	second := v.get(strings.ReplaceAll(older[1], "&amp;", "&"))
	wantPage(t, second, 200, `id="newest" href="/jobs?status=PENDING"`)
	if fmt.Sprint(shownJobs(second)) != fmt.Sprint(ids[50:]) || strings.Contains(second.Text, `id="older"`) {
		t.Errorf("the second page is %s", shownJobs(second))
	}
	for range 51 - 1 {
		pageEndpoint(t, s, "More", "https://receiver.example")
	}
	list := v.get("/endpoints")
	more := regexp.MustCompile(`href="(/endpoints\?cursor=[^"]+)"`).FindStringSubmatch(list.Text)
	if more == nil {
		t.Fatalf("51 endpoints are one page: %s", list.Text)
	}
	wantPage(t, v.get(more[1]), 200, `<a href="/endpoints">First</a>`, "More")
}

// An AUTHOR sees own jobs, and of others' not even that they are.
func TestOwnJobsPage(t *testing.T) {
	s := pageServer(t)
	author := signIn(t, s, audit.Author)
	by, err := s.Accounts.AuthenticatePage(t.Context(), author.cookies["sealpost"], audit.Principal{})
	if err != nil {
		t.Fatal(err)
	}
	endpoint := pageEndpoint(t, s, "Ledger", answering(t, 400, "no"))
	own, other := pageJob(t, s, by, dispatch.NewJob{EndpointID: endpoint}), pageJob(t, s, operator, dispatch.NewJob{EndpointID: endpoint})
	pageJobIs(t, s, own, dispatch.DeadLetter)
	list := author.get("/jobs")
	wantPage(t, list, 200, "Ledger")
	if got := shownJobs(list); len(got) != 1 || got[0] != own {
		t.Errorf("an author sees %s", got)
	}
	if strings.Contains(list.Text, "Replay") || strings.Contains(list.Text, `name="endpoint"`) {
		t.Error("an author is offered what is an admin's")
	}
	page := author.get("/jobs/" + own)
	wantPage(t, page, 200, "400 Bad Request")
	if strings.Contains(page.Text, "/replay") || strings.Contains(page.Text, "/payload") || strings.Contains(page.Text, "/endpoints/") {
		t.Error("an author is offered what is an admin's")
	}
	wantPage(t, author.get("/jobs/"+other), 404, "There is no job")
	auditor := signIn(t, s, audit.Auditor)
	wantPage(t, auditor.get("/jobs/"+other), 200, "/endpoints/"+endpoint)
	if got := shownJobs(auditor.get("/jobs")); len(got) != 2 {
		t.Errorf("an auditor sees %s", got)
	}
}

func TestJobPage(t *testing.T) {
	eachPageServer(t, func(t *testing.T, s *webtest.Server) {
		v := signIn(t, s, audit.Admin)
		const said = `<script>alert("x")</script> & more`
		endpoint := pageEndpoint(t, s, "Ledger", answering(t, 400, said))
		id := pageJob(t, s, operator, dispatch.NewJob{EndpointID: endpoint})
		pageJobIs(t, s, id, dispatch.DeadLetter)
		page := v.get("/jobs/" + id)
		wantPage(t, page, 200, "DEAD_LETTER", "PERMANENT", "400 Bad Request", "What the receiver said",
			`&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt; &amp; more`, `id="attempt-1-FAILED"`,
			`href="/endpoints/`+endpoint+`"`, "5 B, text/plain", `<button type="submit" id="replay">Replay</button>`)
		if strings.Contains(page.Text, said) {
			t.Error("the receiver's answer is markup")
		}
		for _, path := range []string{"/replay", "/dead-letter", "/payload"} {
			wantPage(t, v.get("/jobs/"+id+path), 200, id)
		}

		// The payload, and the event that it was read.
		events, err := s.Log.Events(t.Context(), audit.Filter{Action: "dispatch.payload.read", EntityID: id}, store.Page{Limit: 10})
		if err != nil || len(events.Items) != 1 || events.Items[0].Actor.Role != audit.Admin {
			t.Errorf("the reading is recorded as %+v, %v", events.Items, err)
		}
		binary := pageJob(t, s, operator, dispatch.NewJob{EndpointID: endpoint, ContentType: "image/png", Payload: []byte{0x89, 'P', 0, 0xff}})
		wantPage(t, v.get("/jobs/"+binary+"/payload"), 200, "89 50 00 ff", "hexadecimal", "image/png")
		large := pageJob(t, s, operator, dispatch.NewJob{EndpointID: endpoint, ContentType: "text/html", Payload: []byte("<i>" + strings.Repeat("y", 64<<10))})
		a := v.get("/jobs/" + large + "/payload")
		wantPage(t, a, 200, "These are the first 64.0 KiB", "&lt;i&gt;yyy")
		if n := strings.Count(a.Text, "yyyyyyyyyyyyyyyy"); n != (64<<10-3)/16 {
			t.Errorf("the page shows %d times 16 bytes", n)
		}
		wantPage(t, v.get("/jobs/"+someID+"/payload"), 404)
	})
}

func TestReplayPage(t *testing.T) {
	eachPageServer(t, func(t *testing.T, s *webtest.Server) {
		v := signIn(t, s, audit.Admin)
		endpoint := pageEndpoint(t, s, "Ledger", answering(t, 200, "ok"))
		id := pageJob(t, s, operator, dispatch.NewJob{EndpointID: endpoint})
		pageJobIs(t, s, id, dispatch.Dispatched)

		// The receiver has it: a reason is asked for.
		wantPage(t, v.get("/jobs/"+id), 200, `<a role="button" id="replay" href="/jobs/`+id+`/replay">`)
		wantPage(t, v.get("/jobs/"+id+"/replay"), 200, `name="force" value="true"`, "The receiver has this job already")
		refused := v.post("/jobs/"+id+"/replay", "reason", "typed")
		wantPage(t, refused, 409, "The receiver has this job: to send it again", `value="typed"`)
		wantPage(t, v.post("/jobs/"+id+"/replay", "force", "true"), 422, "Reason has 1 to 500 characters",
			`aria-describedby="reason-error reason-hint"`)
		wantPage(t, v.post("/jobs/"+id+"/replay", "force", "true", "reason", strings.Repeat("ü", 501)), 422, "Reason has 1 to 500 characters")
		wantTo(t, v.post("/jobs/"+id+"/replay", "force", "true", "reason", strings.Repeat("ü", 500)), "/jobs/"+id+"?done=replayed")
		pageJobIs(t, s, id, dispatch.Dispatched)
		wantPage(t, v.get("/jobs/"+id+"?done=replayed"), 200, `<p class="done" role="status">The job is attempted again now.</p>`)

		// From a list back to it, and nowhere else.
		later := dispatch.NewJob{EndpointID: endpoint, DeliverAfter: time.Now().Add(time.Hour)}
		a := v.post("/jobs/"+pageJob(t, s, operator, later)+"/replay", "back", "/jobs?status=DEAD_LETTER")
		wantTo(t, a, "/jobs?done=replayed&status=DEAD_LETTER")
		wantTo(t, v.post("/jobs/"+pageJob(t, s, operator, later)+"/replay", "back", "//evil.example"), "/jobs?done=replayed")

		// One that has expired asks for a new end.
		short := dispatch.NewJob{EndpointID: endpoint, ExpireAt: time.Now().Add(300 * time.Millisecond), DeliverAfter: time.Now().Add(250 * time.Millisecond)}
		if _, err := s.Dispatch.SetPaused(t.Context(), operator, endpoint, true, ""); err != nil {
			t.Fatal(err)
		}
		expired := pageJob(t, s, operator, short)
		time.Sleep(time.Until(short.ExpireAt) + 10*time.Millisecond)
		if _, err := s.Dispatch.SetPaused(t.Context(), operator, endpoint, false, ""); err != nil {
			t.Fatal(err)
		}
		pageJobIs(t, s, expired, dispatch.DeadLetter)
		wantPage(t, v.get("/jobs/"+expired), 200, "EXPIRED", "Replay…")
		if list := v.get("/jobs"); strings.Contains(list.Text, "/jobs/"+expired+"/replay") {
			t.Error("a list replays a job that has expired")
		}
		wantPage(t, v.get("/jobs/"+expired+"/replay"), 200, `type="datetime-local"`, "It expired at")
		wantPage(t, v.post("/jobs/"+expired+"/replay"), 409, "give a new expireAt")
		wantPage(t, v.post("/jobs/"+expired+"/replay", "expireAt", "soon"), 422, "The new end is a time in UTC", `value="soon"`)
		wantPage(t, v.post("/jobs/"+expired+"/replay", "expireAt", "2020-01-01T00:00"), 422, "The new end is over already")
		wantTo(t, v.post("/jobs/"+expired+"/replay", "expireAt", time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04")), "/jobs/"+expired+"?done=replayed")
		pageJobIs(t, s, expired, dispatch.Dispatched)
		wantPage(t, v.post("/jobs/"+someID+"/replay"), 404)
	})
}

func TestDeadLetterPage(t *testing.T) {
	eachPageServer(t, func(t *testing.T, s *webtest.Server) {
		v := signIn(t, s, audit.Admin)
		endpoint := pageEndpoint(t, s, "Ledger", answering(t, 200, "ok"))
		id := pageJob(t, s, operator, dispatch.NewJob{EndpointID: endpoint, DeliverAfter: time.Now().Add(time.Hour)})
		wantPage(t, v.get("/jobs/"+id), 200, "Dead-letter…", "Replay now")
		wantPage(t, v.get("/jobs/"+id+"/dead-letter"), 200, "until somebody replays it")
		wantPage(t, v.post("/jobs/"+id+"/dead-letter", "reason", "  "), 422, "Reason has 1 to 500 characters")
		wantTo(t, v.post("/jobs/"+id+"/dead-letter", "reason", "sent by hand"), "/jobs/"+id+"?done=deadlettered")
		page := v.get("/jobs/" + id + "?done=deadlettered")
		wantPage(t, page, 200, "The job was dead-lettered.", "OPERATOR")
		if strings.Contains(page.Text, "Dead-letter…") {
			t.Error("a dead job can be given up")
		}
		wantPage(t, v.post("/jobs/"+id+"/dead-letter", "reason", "again"), 409, "This job is DEAD_LETTER already", `value="again"`)
		wantPage(t, v.post("/jobs/"+someID+"/dead-letter", "reason", "x"), 404)
	})
}

func TestRetryDuePage(t *testing.T) {
	eachPageServer(t, func(t *testing.T, s *webtest.Server) {
		v := signIn(t, s, audit.Admin)
		wantPage(t, v.post("/jobs/retry-due", "limit", "20"), 200, "No job was due.")
		endpoint := pageEndpoint(t, s, "Ledger", answering(t, 500, "not now"))
		id := pageJob(t, s, operator, dispatch.NewJob{EndpointID: endpoint})
		pageJobIs(t, s, id, dispatch.Retrying)
		wantPage(t, v.post("/jobs/retry-due", "limit", "20"), 200, "No job was due.")
		page := v.post("/jobs/retry-due", "limit", "20", "includeWaiting", "true")
		wantPage(t, page, 200, "One job was attempted", "RETRYING", `<td class="number"><span class="visually-hidden">attempt </span>2</td>`)
		if got := shownJobs(page); len(got) != 1 || got[0] != id {
			t.Errorf("the outcomes are of %s", got)
		}
		for _, limit := range []string{"0", "201", "many", ""} {
			wantPage(t, v.post("/jobs/retry-due", "limit", limit), 422, "Limit is 1 to 200")
		}
	}, "DISPATCH_BACKOFF_MS=3600000")
}
