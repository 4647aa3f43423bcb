package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sealpost/client"
)

// smallDisk is a file system that can be filled, and made to take no writes, while a server uses it.
//
// Where the kernel lets us, as it does root and on most systems everybody, it is a tmpfs in a mount namespace
// that a shell holds for as long as this process holds its pipe: however the test ends, nothing stays
// mounted. Elsewhere (a container without those rights) it is a folder, and "full" is the limit of a file's
// size, which anybody may lower for a process that is running. SQLite meets ENOSPC in the one case and EFBIG
// in the other.
type smallDisk struct {
	t     *testing.T
	dir   string   // its path, for the server
	enter []string // what starts a program that sees it
	root  string   // where this process sees the server's file system
	mount bool
}

const smallDiskMiB = 24

func newSmallDisk(t *testing.T) *smallDisk {
	t.Helper()
	d := &smallDisk{t: t, dir: t.TempDir()}
	var refused []string
	for _, namespace := range [][]string{{"--mount"}, {"--mount", "--user", "--map-root-user"}} {
		if why := d.hold(namespace); why != "" {
			refused = append(refused, fmt.Sprintf("unshare %s: %s", strings.Join(namespace, " "), why))
			continue
		}
		return d
	}
	if out, err := exec.CommandContext(t.Context(), "prlimit", "--fsize", "--pid", strconv.Itoa(os.Getpid())).CombinedOutput(); err != nil {
		t.Fatalf("neither can a small file system be mounted nor a limit be set: %q, prlimit: %v %s", refused, err, out)
	}
	t.Logf("a file size limit takes the place of a small file system, which cannot be mounted: %q", refused)
	return d
}

// hold mounts the file system in a namespace of its own, and says why that is not possible.
func (d *smallDisk) hold(namespace []string) (refused string) {
	d.t.Helper()
	script := fmt.Sprintf(`mount -t tmpfs -o size=%dm,mode=0777 sealpost-test "$0" && echo mounted && exec cat >/dev/null`, smallDiskMiB)
	cmd := exec.CommandContext(context.Background(), "unshare", append(namespace, "sh", "-c", script, d.dir)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	leash, err := cmd.StdinPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		return err.Error()
	}
	end := func() { _ = leash.Close(); _ = cmd.Wait() }
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "mounted\n" {
		end()
		return strings.TrimSpace(errs.String())
	}
	d.t.Cleanup(end)
	pid := strconv.Itoa(cmd.Process.Pid)
	d.mount, d.root = true, "/proc/"+pid+"/root"
	d.enter = []string{"nsenter", "--target", pid, "--mount", "--wd=/", "--"}
	if len(namespace) > 1 {
		d.enter = []string{"nsenter", "--target", pid, "--user", "--preserve-credentials", "--mount", "--wd=/", "--"}
	}
	return ""
}

// fill leaves no room, and free makes room again.
func (d *smallDisk) fill(p *process) {
	d.t.Helper()
	if !d.mount {
		var largest int64
		for _, name := range d.files() {
			if info, err := os.Stat(name); err == nil {
				largest = max(largest, info.Size())
			}
		}
		d.limit(p, strconv.FormatInt(largest+64<<10, 10))
		return
	}
	f, err := os.OpenFile(d.root+d.dir+"/filler", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it ends with an error, as it is to
	block := make([]byte, 1<<20)
	for n := len(block); n >= 1<<12; {
		if _, err := f.Write(block[:n]); err != nil { // what still fits
			n /= 2
		}
	}
}

func (d *smallDisk) free(p *process) {
	d.t.Helper()
	if !d.mount {
		d.limit(p, "unlimited")
		return
	}
	if err := os.Remove(d.root + d.dir + "/filler"); err != nil {
		d.t.Fatal(err)
	}
}

// refuse makes every write to a file fail for a running server, as those to a file system do that has become
// read-only under it: the kernel mounts none read-only that is being written to, short of an error of its
// disk, so no test can have that. SQLite makes the same of EFBIG as of EROFS. accept ends it.
func (d *smallDisk) refuse(p *process) { d.limit(p, "0") }
func (d *smallDisk) accept(p *process) { d.limit(p, "unlimited") }

func (d *smallDisk) limit(p *process, bytes string) {
	d.t.Helper()
	if p.cmd.ProcessState != nil { // a limit ends with its process
		return
	}
	out, err := exec.CommandContext(d.t.Context(), "prlimit", "--pid", strconv.Itoa(p.cmd.Process.Pid), "--fsize="+bytes+":").CombinedOutput()
	if err != nil {
		d.t.Fatalf("set the file size limit: %v\n%s", err, out)
	}
}

// readOnly makes the disk one that takes no writes for a server that is started now, by what it gives to put
// before the program; writable ends it. No server runs.
func (d *smallDisk) readOnly() (within []string) {
	d.t.Helper()
	if !d.mount {
		return append(slices.Clone(d.enter), "prlimit", "--fsize=0:")
	}
	d.remount("ro")
	return d.enter
}

func (d *smallDisk) writable() {
	d.t.Helper()
	if d.mount {
		d.remount("rw")
	}
}

func (d *smallDisk) remount(how string) {
	d.t.Helper()
	args := append(slices.Clone(d.enter[1:]), "mount", "-o", "remount,"+how, d.dir)
	if out, err := exec.CommandContext(d.t.Context(), d.enter[0], args...).CombinedOutput(); err != nil {
		d.t.Fatalf("remount the disk %s: %v\n%s", how, err, out)
	}
}

// files are the database's, as this process sees them.
func (d *smallDisk) files() []string {
	list, err := filepath.Glob(d.root + d.dir + "/sealpost.db*")
	if err != nil {
		d.t.Fatal(err)
	}
	return list
}

// copyOut gives a copy of the database that does not depend on the disk.
func (d *smallDisk) copyOut() (databaseURL string) {
	d.t.Helper()
	dir := d.t.TempDir()
	for _, name := range d.files() {
		content, err := os.ReadFile(name)
		if err != nil {
			d.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), content, 0o600); err != nil {
			d.t.Fatal(err)
		}
	}
	return "sqlite:" + filepath.Join(dir, "sealpost.db")
}

// TestFullDisk fills SQLite's disk under load, and then has every write fail: what is not stored is answered
// with 503, and the health check says so while reading goes on. When there is room again the server goes
// on by itself, all that was answered 202 arrives, the audit log tells of it, and nothing is half-written,
// also after a kill in the midst of it.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	d := newSmallDisk(t)
	rc := newCountingReceiver(t)
	p := newProcess(t, "sqlite:"+d.dir+"/sealpost.db")
	p.within = d.enter
	p.start()
	p.firstAdmin()
	endpoints := []string{p.endpoint(rc.URL + "/1"), p.endpoint(rc.URL + "/2")}

	var accepted []string
	for _, phase := range []struct {
		name       string
		begin, end func(*process)
		kill       bool
	}{
		{"a full disk", d.fill, d.free, false},
		{"a disk that takes no writes", d.refuse, d.accept, false},
		{"a full disk and a kill", d.fill, d.free, true},
	} {
		var refused atomic.Int64
		var other sync.Once
		load := post(t, p, endpoints, func(err error) {
			problem, answered := errors.AsType[*client.Problem](err)
			switch {
			case !answered: // it was killed
			case problem.Status == http.StatusServiceUnavailable && strings.HasPrefix(problem.Message, "the database's disk "):
				refused.Add(1)
			default:
				other.Do(func() { t.Errorf("%s: %v", phase.name, err) })
			}
		})
		await(t, "jobs are accepted", func() bool { return len(load.ids()) > 20 })
		phase.begin(p)
		await(t, phase.name+": jobs are refused", func() bool { return refused.Load() > 20 })
		await(t, phase.name+": the health check says so", func() bool {
			h := p.health()
			return h.Status == "FAIL" && strings.Contains(h.Checks["audit"].Reason, "the database's disk ")
		})
		p.must("GET", "/api/admin/dispatch/jobs?limit=1", nil, new(many)) // what is read goes on
		if phase.kill {
			p.kill()
			load.stop()
		}
		phase.end(p)
		before := len(load.ids())
		if phase.kill {
			p.start()
		} else {
			await(t, phase.name+": jobs are accepted again", func() bool { return len(load.ids()) > before+20 })
			load.stop()
		}
		await(t, phase.name+": the server is well again", func() bool { return p.health().Status == "PASS" })
		accepted = append(accepted, load.ids()...)
		await(t, phase.name+": every accepted job arrives", func() bool { return len(rc.missing(accepted)) == 0 })
	}
	t.Logf("%d jobs accepted beside a full disk, all delivered", len(accepted))
	waitUntilNothingIsUnfinished(t, p)
	var events struct {
		Events []struct {
			Outcome string
			Details struct {
				Writes int
				Reason string
			}
		}
	}
	p.must("GET", "/api/admin/audit/events?action=audit.outage", nil, &events)
	if len(events.Events) == 0 {
		t.Error("the audit log does not tell that it could not be written")
	}
	for _, e := range events.Events {
		if e.Outcome != "FAILURE" || e.Details.Writes == 0 || !strings.HasPrefix(e.Details.Reason, "the database's disk ") {
			t.Errorf("the audit log tells of it as %+v", e)
		}
	}
	if err := p.stop(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	checkNothingHalfWritten(t, d.copyOut())
}

// TestStartOnADiskThatTakesNoWrites starts the program where it cannot write to its database, as after a machine
// has come up with its disk read-only, or full: it says so and ends, so that whoever started it knows, and starts
// when that is over, with all that was there.
func TestStartOnADiskThatTakesNoWrites(t *testing.T) {
	t.Parallel()
	d := newSmallDisk(t)
	rc := newCountingReceiver(t)
	p := newProcess(t, "sqlite:"+d.dir+"/sealpost.db")
	p.within = d.enter
	p.start()
	p.firstAdmin()
	held := p.accept(p.endpoint(rc.URL), "hold")
	await(t, "the job is at the receiver", func() bool { return rc.seenTimes(held) == 1 })
	p.kill()

	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	within := d.readOnly()
	args := append(slices.Clone(within), path, "serve")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = p.env
	out, err := cmd.CombinedOutput()
	exit, ended := errors.AsType[*exec.ExitError](err)
	if !ended || exit.ExitCode() != 1 || bytes.Contains(out, []byte("listening")) {
		t.Errorf("started on a disk that takes no writes: %v\n%s", err, out)
	}
	if !bytes.Contains(out, []byte("read-only file system")) && !bytes.Contains(out, []byte("the database's disk ")) {
		t.Errorf("it does not say why:\n%s", out)
	}
	d.writable()
	p.start()
	await(t, "the job is sent again", func() bool { return len(rc.missing([]string{held})) == 0 })
	waitUntilNothingIsUnfinished(t, p)
	if err := p.stop(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	checkNothingHalfWritten(t, d.copyOut())
}
