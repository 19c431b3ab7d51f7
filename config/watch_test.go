package config

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// patience bounds every wait of these tests; a passing test never waits so long.
const patience = 20 * time.Second

// watch starts a watcher of these paths that does not poll.
func watch(t *testing.T, paths ...string) *Watcher {
	t.Helper()
	w := NewWatcher(t.Context(), WatchOptions{Settle: 10 * time.Millisecond, Poll: time.Hour})
	t.Cleanup(w.Close)
	if err := w.Err(); err != nil {
		t.Skipf("the system does not tell of changes: %v", err)
	}
	w.Set(paths)
	return w
}

func wantChange(t *testing.T, w *Watcher) {
	t.Helper()
	select {
	case <-w.C():
	case <-time.After(patience):
		t.Fatal("no change seen")
	}
}

// must fails the test for the error of a file operation.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(content), 0o600))
}

// sawAll waits until the watcher compares to what the files hold now, however
// many changes that takes.
func sawAll(t *testing.T, w *Watcher) {
	t.Helper()
	for w.differs() {
		wantChange(t, w)
	}
	select {
	case <-w.C():
	default:
	}
}

// TestWatch makes changes one after the other; each must be seen before the
// next.
func TestWatch(t *testing.T) {
	type step = func(t *testing.T, file string)
	rewrite := func(content string) step {
		return func(t *testing.T, file string) { write(t, file, content) }
	}
	replace := func(content string) step {
		return func(t *testing.T, file string) {
			write(t, file+".new", content)
			must(t, os.Rename(file+".new", file))
		}
	}
	remove := func(t *testing.T, file string) { must(t, os.Remove(file)) }
	removeDir := func(t *testing.T, file string) { must(t, os.RemoveAll(filepath.Dir(file))) }
	create := func(content string) step {
		return func(t *testing.T, file string) {
			must(t, os.MkdirAll(filepath.Dir(file), 0o755))
			write(t, file, content)
		}
	}
	moveDir := func(t *testing.T, file string) {
		dir := filepath.Dir(file)
		must(t, os.Mkdir(dir+".new", 0o755))
		write(t, filepath.Join(dir+".new", filepath.Base(file)), "moved")
		must(t, os.Rename(dir, dir+".old"))
		must(t, os.Rename(dir+".new", dir))
	}
	saveDance := func(t *testing.T, file string) { // vim with backup
		must(t, os.Rename(file, file+"~"))
		write(t, file, "danced")
		must(t, os.Remove(file+"~"))
	}
	for name, steps := range map[string][]step{
		"write":                        {rewrite("1"), rewrite("2"), rewrite("3")},
		"atomic rename":                {replace("1"), replace("2"), replace("3")},
		"backup and write":             {saveDance, rewrite("1")},
		"delete and recreate":          {remove, rewrite("1"), remove, replace("2")},
		"folder deleted and recreated": {removeDir, create("1"), rewrite("2"), removeDir, create("3"), replace("4")},
		"folder replaced":              {moveDir, rewrite("1"), replace("2")},
		"emptied for good":             {rewrite(""), rewrite("1")},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "sub", "usher.yaml")
			create("0")(t, file)
			w := watch(t, file)
			for _, change := range steps {
				change(t, file)
				wantChange(t, w)
				sawAll(t, w)
			}
		})
	}
}

// TestWatchKubernetes swaps the ..data link as the kubelet does.
func TestWatchKubernetes(t *testing.T) {
	dir := t.TempDir()
	publish := func(version string) {
		must(t, os.Mkdir(filepath.Join(dir, version), 0o755))
		write(t, filepath.Join(dir, version, "usher.yaml"), version)
		must(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	publish("..1")
	file := filepath.Join(dir, "usher.yaml")
	must(t, os.Symlink("..data/usher.yaml", file))
	w := watch(t, file)
	for _, version := range []string{"..2", "..3"} {
		publish(version)
		wantChange(t, w)
		sawAll(t, w)
	}
}

// TestWatchLinkElsewhere: both the link and what it points to may change, and so
// may a linked folder on the way.
func TestWatchLinkElsewhere(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"a", "b", "links"} {
		must(t, os.Mkdir(filepath.Join(dir, d), 0o755))
		write(t, filepath.Join(dir, d, "real.yaml"), d)
	}
	link := filepath.Join(dir, "links", "folder")
	relink := func(to string) {
		must(t, os.Symlink(filepath.Join("..", to), link+".new"))
		must(t, os.Rename(link+".new", link))
	}
	relink("a")
	w := watch(t, filepath.Join(link, "real.yaml"))
	for _, change := range []func(){
		func() { write(t, filepath.Join(dir, "a", "real.yaml"), "more") },
		func() { relink("b") },
		func() { write(t, filepath.Join(dir, "b", "real.yaml"), "even more") },
	} {
		change()
		wantChange(t, w)
		sawAll(t, w)
	}
}

func TestWatchGlob(t *testing.T) {
	dir := t.TempDir()
	w := watch(t, filepath.Join(dir, "conf.d", "*.yaml"))
	for _, change := range []func(){
		func() {
			must(t, os.Mkdir(filepath.Join(dir, "conf.d"), 0o755))
			write(t, filepath.Join(dir, "conf.d", "a.yaml"), "a")
		},
		func() { write(t, filepath.Join(dir, "conf.d", "b.yaml"), "b") },
		func() { write(t, filepath.Join(dir, "conf.d", "a.yaml"), "c") },
		func() { must(t, os.Remove(filepath.Join(dir, "conf.d", "b.yaml"))) },
	} {
		change()
		wantChange(t, w)
		sawAll(t, w)
	}
}

// TestWatchTouch looks without waiting: a new time stamp, or the same content
// again, is no change.
func TestWatchTouch(t *testing.T) {
	file := filepath.Join(t.TempDir(), "usher.yaml")
	write(t, file, "same")
	w := watch(t, file)
	must(t, os.Chtimes(file, time.Now(), time.Now().Add(time.Hour)))
	write(t, file, "same")
	must(t, os.Chmod(file, 0o644))
	if changed, _ := w.look(true); changed {
		t.Error("a touch counts as a change")
	}
	write(t, file, "other")
	wantChange(t, w)
}

// TestWatchManyWritesAreFew: writes that follow each other closely are told of
// at most once for each time the receiver comes back.
func TestWatchManyWritesAreFew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "usher.yaml")
	w := watch(t, file)
	for i := range 200 {
		write(t, file, time.Duration(i).String())
	}
	wantChange(t, w)
	sawAll(t, w)
	if len(w.C()) != 0 {
		t.Error("more changes told than there were")
	}
}

func TestWatchSet(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "other", "b")
	must(t, os.Mkdir(filepath.Join(dir, "other"), 0o755))
	w := watch(t, a)
	write(t, a, "1")
	w.Set([]string{a, b}) // the change of a, not seen yet, is not forgotten
	wantChange(t, w)
	write(t, b, "1")
	wantChange(t, w)
	w.Set([]string{b})
	write(t, a, "2")
	if changed, _ := w.look(true); changed {
		t.Error("a file that is no longer watched changed")
	}
	if list := w.notify.WatchList(); slices.Contains(list, dir) {
		t.Errorf("the folder is still watched: %q", list)
	}
}

// TestWatchPolls takes the system's notification away.
func TestWatchPolls(t *testing.T) {
	file := filepath.Join(t.TempDir(), "usher.yaml")
	w := newWatcher(WatchOptions{Settle: time.Millisecond, Poll: 5 * time.Millisecond})
	w.start(t.Context())
	defer w.Close()
	w.Add(file)
	for _, content := range []string{"1", "2"} {
		write(t, file, content)
		wantChange(t, w)
		sawAll(t, w)
	}
}

// TestWatchEmptied: a file that is truncated and then filled is one change.
func TestWatchEmptied(t *testing.T) {
	file := filepath.Join(t.TempDir(), "usher.yaml")
	write(t, file, "full")
	w := watch(t, file)
	write(t, file, "")
	if changed, emptied := w.look(false); !changed || !emptied {
		t.Errorf("changed %v, emptied %v", changed, emptied)
	}
	write(t, file, "full")
	if w.differs() {
		t.Error("the moment of emptiness was taken for the state")
	}
}

func TestWatchEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := NewWatcher(ctx, WatchOptions{})
	cancel()
	select {
	case <-w.done:
	case <-time.After(patience):
		t.Fatal("still running after its context ended")
	}
	w.Close()
	w.Close()
	w.Add("after the end") // harmless
}

// TestLoadFeedsWatcher is the way cmd/usher puts the two together.
func TestLoadFeedsWatcher(t *testing.T) {
	main := writeFiles(t, map[string]string{"main.yaml": "include: more.yaml"})
	w := watch(t)
	opts := Options{Env: envOf(nil), Saw: w.Add}
	if _, err := Load(main, opts); err == nil {
		t.Fatal("the include is missing")
	}
	write(t, filepath.Join(filepath.Dir(main), "more.yaml"), "log: {level: warn}")
	wantChange(t, w) // the file that was missing is watched, too
	cfg, err := Load(main, opts)
	must(t, err)
	w.Set(slices.Concat(cfg.Files, cfg.Globs))
	write(t, main, "log: {level: debug}")
	wantChange(t, w)
}
