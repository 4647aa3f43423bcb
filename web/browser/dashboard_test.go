package browser_test

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/dispatch"
	"sealpost/store"
	"sealpost/store/storetest"
)

// TestTheBrowserSaysWhatIsWrong makes sure that a fault would be seen: each of these has to be reported.
func TestTheBrowserSaysWhatIsWrong(t *testing.T) {
	o := begin(t, storetest.Open(t, storetest.SQLiteURL(t)))
	o.visit("/login")
	for part, wrong := range map[string]string{
		"Content Security Policy": `document.body.insertAdjacentHTML("beforeend", "<p style='color: red'>x</p>")`,
		"no such thing":           `console.error("no such thing")`,
		"thrown":                  `setTimeout(() => { throw new Error("thrown") }, 0)`,
		"404":                     `fetch("/nowhere")`,
	} {
		o.value(wrong)
		for end := time.Now().Add(patience); !o.noticed(part); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("nobody noticed: %s", wrong)
			}
		}
	}
}

// TestRunbookInABrowser does what the runbook's section 5 says: correct the endpoint, replay, and see it
// arrive. The pages show each step without being loaded again.
func TestRunbookInABrowser(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		o := begin(t, st)
		o.enroll()
		r := receive(t)

		o.visit("/endpoints")
		o.click("main [role=button]")
		o.at("/endpoints/new")
		o.fill("#name", "Ledger")
		o.fill("#url", r.URL+"/wrong")
		o.shot("endpoint-new")
		o.click("form[action='/endpoints'] button")
		o.sees("h1", "Signing secret of Ledger")
		if secret := o.value(`document.querySelector("#secret").value`); !strings.HasPrefix(secret, "whsec_") {
			t.Errorf("the secret is %q", secret)
		}
		o.shot("secret")
		o.run(chromedp.Reload()) // which makes no second endpoint, and shows no secret
		o.sees("h1", "Ledger")
		o.until(`!document.querySelector("#secret")`)
		endpointID := strings.TrimPrefix(o.value("location.pathname"), "/endpoints/")

		o.visit("/jobs")
		o.sees("#live", "Live")
		o.value(`window.stays = true`) // gone when the page is loaded again
		id := o.job(endpointID)
		o.sees("#job-"+id, "DEAD_LETTER")
		o.sees("#job-"+id, "500 Internal Server Error")
		o.until("window.stays")

		o.click("#open-" + id)
		o.at("/jobs/" + id)
		o.sees("#state", "DEAD_LETTER")
		o.click("td.answer summary")
		o.sees("td.answer pre", saidByReceiver)
		o.shot("job-dead")

		o.visit("/endpoints/" + endpointID)
		o.shot("endpoint")
		o.fill("#url", r.URL+"/right")
		o.click("section button")
		o.sees(".done", "corrected")

		r.refuse.Store(true) // it shall be seen to fail once more
		o.visit("/jobs/" + id)
		o.sees("#live", "Live")
		o.click("#replay")
		o.sees(".done", "attempted again")
		o.sees("#attempt-2-FAILED", "500")
		o.sees("#live", "Live")
		o.click("#attempt-2-FAILED summary")
		o.value(`window.stays = true`)
		r.refuse.Store(false)
		o.replay(id) // by somebody else: the page shows it all the same
		o.sees("#state", "DISPATCHED")
		o.sees("#attempt-3-DELIVERED", "200")
		o.until(`window.stays && document.querySelector("#attempt-2-FAILED details").open`) // and keeps open what was
		o.shot("job-dispatched")
		if title := o.value("document.title"); strings.Contains(title, "owned") {
			t.Error("the receiver's answer ran")
		}

		o.click("#payload")
		o.sees("#content", `{"case": 17, "text": "<i>sealed</i>"}`)
		o.shot("payload")
	})
}

// TestReplayIsSeenInTheList watches rows of the list from DEAD_LETTER to DISPATCHED.
func TestReplayIsSeenInTheList(t *testing.T) {
	o := begin(t, storetest.Open(t, storetest.SQLiteURL(t)))
	o.enroll()
	r := receive(t)
	endpointID := o.endpoint("Ledger", r.URL+"/wrong")
	ids := []string{o.job(endpointID), o.job(endpointID), o.job(endpointID)}
	o.visit("/jobs")
	for _, id := range ids {
		o.sees("#job-"+id, "DEAD_LETTER")
	}
	o.shot("jobs-dead")
	o.correct(endpointID, r.URL+"/right")
	o.click("#replay-" + ids[1])
	o.sees(".done", "attempted again")
	o.sees("#live", "Live")
	o.sees("#job-"+ids[1], "DISPATCHED")
	o.at("/jobs")
	o.value(`window.stays = true`)
	o.value(`document.querySelector("#open-` + ids[0] + `").focus()`)
	o.replay(ids[2])
	o.sees("#job-"+ids[2], "DISPATCHED")
	newest := o.job(endpointID)
	o.sees("#job-"+newest, "DISPATCHED")
	o.until(`window.stays && document.activeElement.id === "open-` + ids[0] + `"`) // nobody loses their place
	o.shot("jobs")

	o.value(`document.querySelector("#status").focus()`) // a filter is used as soon as it is chosen
	o.press("DE")
	o.at("/jobs?status=DEAD_LETTER")
	o.until(`document.querySelectorAll("#jobs tbody tr").length === 1`)
	o.sees("#live", "Live")
	o.replay(ids[0]) // a row that is no longer like the filter goes
	o.sees("#jobs", "No job is like that")
}

// TestReplayByKeyboard goes from the list to a replayed job without a mouse.
func TestReplayByKeyboard(t *testing.T) {
	o := begin(t, storetest.Open(t, storetest.SQLiteURL(t)))
	o.enroll()
	r := receive(t)
	endpointID := o.endpoint("Ledger", r.URL+"/wrong")
	id := o.job(endpointID)
	o.visit("/jobs")
	o.sees("#job-"+id, "DEAD_LETTER")
	o.correct(endpointID, r.URL+"/right")
	o.tabTo("the first link", `document.activeElement.className === "skip"`)
	o.press(kb.Enter)
	o.until(`document.activeElement.id === "main"`)
	o.tabTo("the job", `document.activeElement.id === "open-`+id+`"`)
	if o.value(`getComputedStyle(document.activeElement).outlineStyle`) != "solid" {
		t.Error("where one is cannot be seen")
	}
	o.press(kb.Enter)
	o.at("/jobs/" + id)
	o.tabTo("replay", `document.activeElement.id === "replay"`)
	o.press(kb.Enter)
	o.sees("#state", "DISPATCHED")

	o.until(`document.querySelector("a#replay")`) // again, which asks for a reason first
	o.tabTo("replay", `document.activeElement.id === "replay"`)
	o.press(kb.Enter)
	o.at("/jobs/" + id + "/replay")
	o.until(`document.activeElement.id === "reason"`)
	o.shot("replay")
	o.press("the receiver lost it", kb.Enter)
	o.at("/jobs/" + id)
	o.sees("#attempt-3-DELIVERED", "200")
}

// TestSignInWithACode signs out and in again: with a code, then with a backup code.
func TestSignInWithACode(t *testing.T) {
	o := begin(t, storetest.Open(t, storetest.SQLiteURL(t)))
	o.enroll()
	o.click(".who button")
	o.sees(".done", "signed out")
	o.visit("/jobs?status=PENDING")
	o.until(`location.pathname === "/login"`)
	o.password()
	o.sees("h1", "Second factor")
	o.until(`document.activeElement.id === "code"`)
	o.shot("code")
	o.expect("401")
	o.fill("#code", "000000")
	o.press(kb.Enter)
	o.sees("#failed", "The code is wrong")
	o.shot("code-wrong")
	o.fill("#code", o.code())
	o.press(kb.Enter)
	o.at("/jobs?status=PENDING")
	o.click(".who button")
	o.at("/login?done=out")
	o.password()
	o.sees("h1", "Second factor")
	o.click("summary")
	o.fill("#backupCode", o.backup[0])
	o.press(kb.Enter)
	o.at("/jobs")
}

// TestConfirmThenGoOn has a sign-in that is no longer fresh: the action asks, and then goes on.
func TestConfirmThenGoOn(t *testing.T) {
	o := begin(t, storetest.Open(t, storetest.SQLiteURL(t)))
	o.enroll()
	endpointID := o.endpoint("Ledger", "https://receiver.example/hook")
	o.visit("/endpoints/" + endpointID)
	err := o.server.Store.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), `update session set authenticated_at = $1`, time.Now().Add(-time.Hour).UnixMicro())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	o.expect("403", "401")
	o.fill("#reason", "maintenance tonight")
	o.click("#pause")
	o.sees("h1", "Confirm that it is you")
	o.shot("reauth")
	o.fill("#password", "wrong")
	o.fill("#code", "000000")
	o.click("main form button")
	o.sees("#failed", "The password is wrong")
	o.fill("#password", adminPassword)
	o.fill("#code", o.code())
	o.click("main form button")
	o.at("/endpoints/" + endpointID)
	o.sees(".state", "PAUSED")
	o.sees(".state", "maintenance tonight")
	o.visit("/endpoints")
	o.sees("table", "maintenance tonight")
	o.shot("endpoints")
}

// TestWhatIsWrongStandsBesideTheField fills a form in wrongly.
func TestWhatIsWrongStandsBesideTheField(t *testing.T) {
	o := begin(t, storetest.Open(t, storetest.SQLiteURL(t)))
	o.enroll()
	o.visit("/endpoints/new")
	o.fill("#name", "Ledger")
	o.fill("#url", "ftp://receiver.example")
	o.expect("422")
	o.press(kb.Enter)
	o.sees("#failed", "URL starts with https://")
	o.sees("#url-error", "URL starts with https://")
	o.until(`document.activeElement.id === "url" && document.activeElement.getAttribute("aria-invalid") === "true"`)
	if got := o.value(`document.querySelector("#name").value + " " + document.querySelector("#url").value`); got != "Ledger ftp://receiver.example" {
		t.Errorf("the form has %q", got)
	}
	o.shot("endpoint-wrong")
}

// TestEndedSignInLeavesThePage revokes the sign-in behind a page's back.
func TestEndedSignInLeavesThePage(t *testing.T) {
	o := begin(t, storetest.Open(t, storetest.SQLiteURL(t)))
	o.enroll()
	o.sees("#live", "Live")
	o.expect("401")
	err := o.server.Accounts.LogoutAll(t.Context(), audit.Itself("test"), account.Whose{Everyone: true})
	if err != nil {
		t.Fatal(err)
	}
	o.until(`location.pathname === "/login"`)
	o.sees("h1", "Sealpost")
}

// TestWithoutScripts does the runbook's correction and replay in a browser that runs none.
func TestWithoutScripts(t *testing.T) {
	o := begin(t, storetest.Open(t, storetest.SQLiteURL(t)))
	o.enroll()
	r := receive(t)
	endpointID := o.endpoint("Ledger", r.URL+"/wrong")
	id := o.job(endpointID)
	o.visit("/jobs")
	o.sees("#job-"+id, "DEAD_LETTER")
	off := emulation.SetScriptExecutionDisabledParams{Value: true}
	if _, err := chromedp.Call(o.ctx, emulation.SetScriptExecutionDisabled, off); err != nil {
		t.Fatal(err)
	}
	o.visit("/endpoints/" + endpointID)
	o.fill("#url", r.URL+"/right")
	o.click("section button")
	o.sees(".done", "corrected")
	o.visit("/jobs/" + id)
	o.click("#replay")
	o.sees(".done", "attempted again")
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		job, err := o.server.Dispatch.Get(t.Context(), elsewhere, id)
		if err != nil {
			t.Fatal(err)
		}
		if job.Status == dispatch.Dispatched {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the job is %s", job.Status)
		}
	}
	o.visit("/jobs?status=DISPATCHED")
	o.sees("#job-"+id, "DISPATCHED")
	o.click("details.tool summary")
	o.click("details.tool button")
	o.sees("main", "No job was due")
}
