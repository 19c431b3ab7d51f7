package watcher_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"usher/config"
	"usher/watcher"
)

// taken is when the snapshots of the tests were, before the clock of the bubbles.
func taken() time.Time { return time.Date(1999, 12, 31, 12, 0, 0, 123456789, time.UTC) }

// richSnapshot is one with something in every field.
func richSnapshot() *watcher.Snapshot {
	in := watcher.Instance{
		ID: "dc1/n1/web-1", Address: "10.0.0.1:80", Status: watcher.Warning, Cause: "check: warning", Weight: 0.25,
		Created: 1 << 60, Tags: []string{"urlprefix-/", "\x00<ü>"}, Meta: map[string]string{"usher-zone": "a"},
		Announcements: []watcher.Announcement{
			{Origin: watcher.FromTag, Where: "urlprefix-/", Text: "/"},
			{Origin: watcher.FromMeta, Where: "usher-route", Text: "a.b/ strip=/x"},
			{Origin: watcher.FromDefault, Where: "default_route", Text: "web.apps"},
		},
		Datacenter: "dc1", Zone: "a", Tier: 2, Problem: "something",
	}
	worse := watcher.Instance{ID: "dc1/n2/web-2", Address: "10.0.0.2:80", Status: watcher.Maintenance}
	critical := watcher.Instance{ID: "1", Address: "[::1]:1", Status: watcher.Critical, Weight: 1e6}
	pos := config.Pos{File: "usher/routes/x", Line: 3, Column: 7}
	return &watcher.Snapshot{
		Registries: []watcher.RegistrySnapshot{
			{
				Name: "r", Identity: "here", Taken: taken(),
				Services: []*watcher.Service{
					{Key: watcher.Key{Registry: "r", Service: "api"}, Instances: []watcher.Instance{critical}},
					{Key: watcher.Key{Registry: "r", Service: "web"}, Instances: []watcher.Instance{in, worse}},
				},
				Overrides: &watcher.Overrides{
					Registry: "r",
					Routes: []config.Route{{
						Name: "x", Service: "web@r", Priority: -3, StripPrefix: "/x", PrependPrefix: "/y", Host: "h",
						Split: []config.Arm{{Service: "a", Weight: 0.5}, {Service: "b"}}, Pos: pos,
						Match: config.Match{
							Listeners: []string{"l"}, Hosts: []string{"*.x"}, Path: "/x", PathType: "glob",
							Methods: []string{"GET"}, Headers: map[string]string{"X-A": "1"},
						},
					}},
					Services: map[string]config.Service{"web": {Pos: pos}},
					Refused:  []watcher.RefusedOverride{{Key: "usher/routes/bad", Reason: "it is"}},
				},
			},
			{Name: "s", Identity: "there", Taken: taken().Add(time.Hour)},
		},
		Memory: json.RawMessage(`{"incumbents":[1,2]}`),
	}
}

func encoded(t testing.TB, s *watcher.Snapshot) []byte {
	t.Helper()
	data, err := watcher.EncodeSnapshot(s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSnapshotRoundTrip(t *testing.T) {
	for name, s := range map[string]*watcher.Snapshot{"empty": {}, "rich": richSnapshot()} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := watcher.ReadSnapshot(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("there is none: %v", err)
			}
			for range 2 { // the second replaces the first
				if err := watcher.WriteSnapshot(dir, s); err != nil {
					t.Fatal(err)
				}
			}
			got, err := watcher.ReadSnapshot(dir)
			if err != nil || !reflect.DeepEqual(got, s) {
				t.Errorf("got  %+v, %v\nwant %+v", got, err, s)
			}
			if files := filesIn(t, dir); !slices.Equal(files, []string{"usher.snapshot -rw-------"}) {
				t.Errorf("the folder has %q", files)
			}
		})
	}
}

// TestSnapshotKeepsPolicies: the settings of services survive, whatever they are.
func TestSnapshotKeepsPolicies(t *testing.T) {
	v, err := config.DecodeService("usher/services/web", []byte(
		"balance: round_robin\nretry: {attempts: 3}\nconnect_timeout: 250ms\nidle_timeout: 3s\n"),
		config.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	s := richSnapshot()
	s.Registries[0].Overrides.Services["web"] = v
	got, err := watcher.DecodeSnapshot(encoded(t, s))
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("got  %+v, %v\nwant %+v", got.Registries[0].Overrides.Services, err, v)
	}
}

// filesIn lists a folder: names and modes.
func filesIn(t *testing.T, dir string) (files []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f.Name()+" "+info.Mode().String())
	}
	return files
}

// TestDecodeSnapshotRefuses what was not written by this version as it is.
func TestDecodeSnapshotRefuses(t *testing.T) {
	whole := encoded(t, richSnapshot())
	refuse := func(t *testing.T, data []byte, says string) {
		t.Helper()
		s, err := watcher.DecodeSnapshot(data)
		if s != nil || !errors.Is(err, watcher.ErrSnapshot) || !strings.Contains(err.Error(), says) {
			t.Fatalf("got %v, %v; want %q", s, err, says)
		}
	}
	t.Run("foreign", func(t *testing.T) {
		long := strings.Repeat("x", 1000)
		for _, text := range []string{"", "\n", "{}", "services:\n  - name: web\n", "\x00\xff\n\n", long} {
			refuse(t, []byte(text), "no snapshot of usher")
		}
	})
	t.Run("of another version", func(t *testing.T) {
		refuse(t, bytes.Replace(whole, []byte("usher-snapshot 1 "), []byte("usher-snapshot 2 "), 1), "version 2")
	})
	t.Run("cut", func(t *testing.T) {
		for n := range whole {
			refuse(t, whole[:n], "")
		}
	})
	t.Run("longer", func(t *testing.T) { refuse(t, append(slices.Clone(whole), ' '), "bytes of") })
	t.Run("flipped", func(t *testing.T) {
		for i := range whole {
			for _, bit := range []byte{0x01, 0x80} {
				data := slices.Clone(whole)
				data[i] ^= bit
				refuse(t, data, "")
			}
		}
	})
}

// TestDecodeSnapshotChecks refuses what has a good checksum, but no Manager wrote.
func TestDecodeSnapshotChecks(t *testing.T) {
	type registry = watcher.RegistrySnapshot
	for name, spoil := range map[string]func(r *registry){
		"overrides of another": func(r *registry) { r.Overrides.Registry = "x" },
		"no service":           func(r *registry) { r.Services[0] = nil },
		"a nameless service":   func(r *registry) { r.Services[0].Service = "" },
		"a service of another": func(r *registry) { r.Services[0].Registry = "x" },
		"a service twice":      func(r *registry) { r.Services[0] = r.Services[1] },
		"no instances":         func(r *registry) { r.Services[0].Instances = nil },
		"an instance twice": func(r *registry) {
			r.Services[1].Instances[1] = r.Services[1].Instances[0]
		},
		"instances out of order": func(r *registry) { slices.Reverse(r.Services[1].Instances) },
		"a held instance":        func(r *registry) { r.Services[0].Instances[0].Held = &watcher.Hold{} },
		"an unknown origin":      func(r *registry) { r.Services[1].Instances[0].Announcements[0].Origin = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			s := richSnapshot()
			spoil(&s.Registries[0])
			if _, err := watcher.DecodeSnapshot(encoded(t, s)); !errors.Is(err, watcher.ErrSnapshot) {
				t.Errorf("got %v", err)
			}
		})
	}
	s := richSnapshot()
	s.Registries[1] = s.Registries[0]
	if _, err := watcher.DecodeSnapshot(encoded(t, s)); !errors.Is(err, watcher.ErrSnapshot) {
		t.Errorf("a registry twice: %v", err)
	}
}

// FuzzDecodeSnapshot: what is accepted is written and read as the same.
func FuzzDecodeSnapshot(f *testing.F) {
	body := func(s *watcher.Snapshot) []byte {
		_, after, _ := bytes.Cut(encoded(f, s), []byte("\n"))
		return after
	}
	f.Add([]byte(nil), body(&watcher.Snapshot{}))
	f.Add(encoded(f, &watcher.Snapshot{}), body(richSnapshot()))
	f.Add(encoded(f, richSnapshot()), []byte("null"))
	f.Add([]byte("usher-snapshot 1 x -1\n"), []byte(`{"Registries":[{"Name":"r","Services":[null]}],"Memory":null}`))
	f.Fuzz(func(t *testing.T, file, body []byte) {
		_, _ = watcher.DecodeSnapshot(file) // it does not panic
		s, err := watcher.DecodeSnapshot(watcher.SealSnapshot(body))
		if err != nil {
			if s != nil || !errors.Is(err, watcher.ErrSnapshot) {
				t.Fatalf("got %v, %v", s, err)
			}
			return
		}
		data := encoded(t, s)
		again, err := watcher.DecodeSnapshot(data)
		if err != nil {
			t.Fatalf("what was written is refused: %v", err)
		}
		if second := encoded(t, again); !bytes.Equal(data, second) {
			t.Fatalf("written  %q\nthen %q", data, second)
		}
	})
}

// TestWriteSnapshotFails: the old one stays, and nothing else.
func TestWriteSnapshotFails(t *testing.T) {
	t.Run("no folder", func(t *testing.T) {
		if err := watcher.WriteSnapshot(filepath.Join(t.TempDir(), "no"), richSnapshot()); err == nil {
			t.Error("it is written")
		}
	})
	t.Run("something is in the way", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "usher.snapshot", "x"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := watcher.WriteSnapshot(dir, richSnapshot()); err == nil {
			t.Error("it is written")
		}
		if files := filesIn(t, dir); len(files) != 1 {
			t.Errorf("the folder has %q", files)
		}
	})
	for _, how := range []string{"read-only", "full"} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			if err := watcher.WriteSnapshot(dir, richSnapshot()); err != nil {
				t.Fatal(err)
			}
			before := filesIn(t, dir)
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWriteSnapshotChild$", "-test.v")
			cmd.Env = append(os.Environ(), childEnv+"="+how+":"+dir)
			out, err := cmd.CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte("--- PASS: TestWriteSnapshotChild")) {
				t.Fatalf("%v: %s", err, out)
			}
			if err := os.Chmod(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if files := filesIn(t, dir); !slices.Equal(files, before) {
				t.Errorf("the folder has %q, want %q", files, before)
			}
			if s, err := watcher.ReadSnapshot(dir); err != nil || !reflect.DeepEqual(s, richSnapshot()) {
				t.Errorf("the old one is %+v, %v", s, err)
			}
		})
	}
}

// childEnv tells a process of its own what it may not do, and where.
const childEnv = "USHER_TEST_SNAPSHOT"

// TestWriteSnapshotChild runs in a process of its own, which gives up the right to
// write into the folder, or to write much into any file.
func TestWriteSnapshotChild(t *testing.T) {
	how, dir, is := strings.Cut(os.Getenv(childEnv), ":")
	if !is {
		t.Skip("it is part of TestWriteSnapshotFails")
	}
	want := error(syscall.EFBIG)
	if how == "read-only" {
		want = fs.ErrPermission
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		if os.Geteuid() == 0 { // nothing is read-only for root
			if err := syscall.Setuid(65534); err != nil {
				t.Fatal(err)
			}
		}
	} else {
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 512, Max: 512}); err != nil {
			t.Fatal(err)
		}
	}
	if err := watcher.WriteSnapshot(dir, richSnapshot()); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}
