package main_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/watcher"
	"usher/watcher/consul/consultest"
)

// What usher keeps on disk, so that it can start while its registry is away.

// keeping is the configuration of a usher with a state_dir.
func keeping(addr, dir string) string {
	return withConsul(addr, fmt.Sprintf("state_dir: %q\n", dir))
}

// snapshotHas waits until the snapshot in a folder holds a text.
func snapshotHas(t *testing.T, dir, text string) {
	t.Helper()
	eventually(t, patience, "the snapshot holds "+text, func() bool {
		data, err := os.ReadFile(snapshotIn(dir))
		return err == nil && bytes.Contains(data, []byte(text))
	})
}

func snapshotIn(dir string) string { return filepath.Join(dir, "usher.snapshot") }

// quit ends usher in an orderly way.
func (u *usher) quit() {
	u.t.Helper()
	u.signal(syscall.SIGTERM)
	if code := u.wait(patience); code != 0 {
		u.t.Errorf("exit %d", code)
	}
}

// usher starts while Consul is down: it serves what it knew, says so, and goes on from
// there when Consul is back.
func TestStartWithoutConsul(t *testing.T) {
	t.Parallel()
	agent, dir := consultest.Start(t), t.TempDir()
	s := &stage{t: t, agent: agent}
	s.shop = s.add("shop", 3)
	first := start(t, keeping(agent.Addr(), dir))
	first.servedBy("shop.test", names(s.shop)...)
	snapshotHas(t, dir, "shop-2")
	first.quit()
	agent.Kill()
	s.shop[0].stop() // it is gone, and the snapshot does not know

	s.u = launch(t, keeping(agent.Addr(), dir))
	begin := time.Now()
	s.u.waitLog(`"msg":"services"`)
	t.Logf("usher serves %s after its start", time.Since(begin).Round(time.Millisecond))
	l := s.load()
	s.serve("shop.test", s.shop[1:])
	s.u.waitDetails("serving the snapshot of ")
	s.u.stale()
	s.u.waitLog("starting from the snapshot")
	var registries []struct {
		Synced   bool
		Snapshot *time.Time
		Error    string
	}
	s.u.api(http.MethodGet, "registries", &registries)
	if r := registries[0]; r.Synced || r.Snapshot == nil || r.Error == "" {
		t.Errorf("the API tells of the registry: %+v", r)
	}
	agent.Restart()
	agent.Deregister("shop-0")
	fresh := s.add("fresh", 1)
	s.serve("shop.test", append(fresh, s.shop[1:]...))
	s.u.fresh()
	eventually(t, patience, "the snapshot is not served any more", func() bool {
		return !strings.Contains(s.u.details(), "snapshot")
	})
	s.u.holding(0)
	l.mustBeClean(lowRate / 2)
}

// Consul is back without its data when usher starts from a snapshot: what is served is
// held, not lost. It takes a catalog of some size for this to be implausible.
func TestStartBesideAnEmptyConsul(t *testing.T) {
	t.Parallel()
	const n = 4
	agent, dir := consultest.Start(t), t.TempDir()
	s := &stage{t: t, agent: agent}
	s.shop = s.add("shop", n)
	first := start(t, keeping(agent.Addr(), dir))
	first.servedBy("shop.test", names(s.shop)...)
	snapshotHas(t, dir, "shop-3")
	first.quit()
	agent.RestartEmpty()
	s.u = start(t, keeping(agent.Addr(), dir))
	l := s.load()
	s.u.holding(n)
	s.serve("shop.test", s.shop)
	before, err := os.ReadFile(snapshotIn(dir))
	if err != nil {
		t.Fatal(err)
	}
	pause(2 * time.Second) // longer than between two writes
	if now, err := os.ReadFile(snapshotIn(dir)); err != nil || !bytes.Equal(now, before) {
		t.Errorf("the snapshot was written during a hold: %v", err)
	}
	s.register(s.shop)
	s.u.holding(0)
	l.mustBeClean(lowRate)
}

// A snapshot that cannot be used is refused with a reason, and usher starts without.
func TestUnusableSnapshots(t *testing.T) {
	t.Parallel()
	agent, dir := consultest.Start(t), t.TempDir()
	s := &stage{t: t, agent: agent}
	s.shop = s.add("shop", 1)
	first := start(t, keeping(agent.Addr(), dir))
	first.servedBy("shop.test", "shop-0")
	snapshotHas(t, dir, "shop-0")
	first.quit()
	good, err := os.ReadFile(snapshotIn(dir))
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := bytes.Cut(good, []byte("\n"))
	damaged := bytes.Replace(good, []byte("shop-0"), []byte("shop-3"), 1)
	for _, c := range []struct{ name, content, says string }{
		{"empty", "", "this is no snapshot of usher"},
		{"foreign", "PNG\n\x00\x01", "this is no snapshot of usher"},
		{"cut", string(good[:len(good)-10]), "it is cut"},
		{"damaged", string(damaged), "the checksum differs"},
		{"of a later version", strings.Replace(string(head), " 1 ", " 99 ", 1) + "\n" + string(body), "version 99"},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := t.TempDir()
			writeFile(t, snapshotIn(own), c.content)
			u := start(t, keeping(agent.Addr(), own))
			u.servedBy("shop.test", "shop-0")
			if !u.hasLog("the snapshot is not used") || !u.hasLog(c.says) {
				t.Errorf("the log does not say %q", c.says)
			}
			snapshotHas(t, own, "shop-0") // and is replaced by a good one
		})
	}
}

// A snapshot of another registry is not served.
func TestSnapshotOfAnotherRegistry(t *testing.T) {
	t.Parallel()
	agent, dir := consultest.Start(t), t.TempDir()
	s := &stage{t: t, agent: agent}
	s.shop = s.add("shop", 1)
	first := start(t, keeping(agent.Addr(), dir))
	first.servedBy("shop.test", "shop-0")
	snapshotHas(t, dir, "shop-0")
	first.quit()
	other := consultest.Start(t)
	u := start(t, keeping(other.Addr(), dir))
	if !u.hasLog("the snapshot is of another registry; it is not used") || !u.hasLog(agent.Addr()) {
		t.Error("the log does not say whose snapshot it is")
	}
	if code, _ := u.status("shop.test"); code != http.StatusNotFound {
		t.Errorf("shop.test answers %d", code)
	}
	u.holding(0)
}

// The last good version of a rule that is broken now outlives a restart, with Consul
// there and without.
func TestLastGoodRulesAreKept(t *testing.T) {
	t.Parallel()
	agent, dir := consultest.Start(t), t.TempDir()
	b := newBackend(t, "shop-0", nil)
	announce := func(tag string) {
		agent.Register(api.AgentServiceRegistration{
			ID: "shop-0", Name: "shop", Address: "127.0.0.1", Port: b.port, Tags: []string{tag},
		})
	}
	announce("urlprefix-shop.test/ strip=/a")
	u := start(t, keeping(agent.Addr(), dir))
	u.servedBy("shop.test", "shop-0")
	announce("urlprefix-shop.test/ weight=heavy")
	u.waitMetric("usher_discovery_refused_rules", 1)
	u.servedBy("shop.test", "shop-0")
	snapshotHas(t, dir, "strip=/a")
	snapshotHas(t, dir, "weight=heavy")
	for _, how := range []string{"with Consul", "without Consul"} {
		u.quit()
		if how == "without Consul" {
			agent.Kill()
		}
		u = start(t, keeping(agent.Addr(), dir))
		u.servedBy("shop.test", "shop-0")
		u.waitMetric("usher_discovery_refused_rules", 1)
		if !u.hasLog("heavy") {
			t.Errorf("%s: the log does not name the broken rule", how)
		}
	}
}

// A folder that cannot be written costs the snapshot only.
func TestUnwritableStateDir(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t)
	s := &stage{t: t, agent: agent}
	s.shop = s.add("shop", 1)
	u := start(t, keeping(agent.Addr(), filepath.Join(t.TempDir(), "missing")))
	u.servedBy("shop.test", "shop-0")
	u.waitLog("the snapshot cannot be written")
}

// What came last before the end is in the snapshot: the last write waits for nothing.
func TestSnapshotAtTheEnd(t *testing.T) {
	t.Parallel()
	agent, dir := consultest.Start(t), t.TempDir()
	u := start(t, keeping(agent.Addr(), dir))
	register(agent, "late", newBackend(t, "late", nil), "late.test")
	u.waitStatus("late.test", 200)
	u.quit()
	s, err := watcher.ReadSnapshot(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Registries) != 1 || len(s.Registries[0].Services) != 1 || s.Registries[0].Services[0].Service != "late" {
		t.Errorf("the snapshot has %+v", s.Registries)
	}
}
