package config

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// sum identifies the content of a file, or that there is none.
type sum [sha256.Size]byte

func emptySum() sum { return sha256.Sum256(nil) }

// sumOf identifies what a path or glob holds. Only regular files are read: a
// pipe would block, and lose what it holds.
func sumOf(path string) sum {
	if !isGlob(path) {
		return sumOfFile(path)
	}
	matches, _ := filepath.Glob(path) // a malformed pattern matches nothing
	h := sha256.New()
	for _, m := range matches {
		fmt.Fprintf(h, "%q %x\n", m, sumOfFile(m))
	}
	return sum(h.Sum([]byte{}))
}

func sumOfFile(path string) sum {
	f, err := openRegular(path)
	if err != nil {
		return sha256.Sum256([]byte("unreadable: " + bare(err).Error()))
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, maxFileSize+1)); err != nil {
		return sha256.Sum256([]byte("unreadable: " + bare(err).Error()))
	}
	return sum(h.Sum([]byte{}))
}

func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("a %s", info.Mode().Type())
	}
	return os.Open(path)
}

// follow makes the system watch the folders that matter now and no others.
// Watching a folder again is cheap, and needed where it was replaced by another
// of the same name.
func (w *Watcher) follow() {
	if w.notify == nil {
		return
	}
	needed := map[string]bool{}
	for path := range w.sums {
		for _, dir := range w.watchFolders(path) {
			needed[dir] = true
		}
	}
	for _, dir := range w.notify.WatchList() {
		if !needed[dir] {
			_ = w.notify.Remove(dir) // it may be gone by itself
		}
	}
}

// watchFolders watches the folders that matter for a path. One that cannot be
// watched is left to polling.
func (w *Watcher) watchFolders(path string) []string {
	dirs := folders(path)
	if w.notify != nil {
		for _, dir := range dirs {
			_ = w.notify.Add(dir)
		}
	}
	return dirs
}

// folders returns the folders in which a change can change what path holds.
func folders(path string) []string {
	path = absolute(path)
	if !isGlob(path) {
		return foldersOfFile(path)
	}
	matches, _ := filepath.Glob(path)
	dirs := []string{nearest(filepath.Dir(path[:strings.IndexAny(path, "*?[")] + "x"))}
	for _, m := range matches {
		dirs = append(dirs, foldersOfFile(m)...)
	}
	return dirs
}

// foldersOfFile returns the folder of the file, or the nearest one that exists,
// and the folder of every symbolic link on the way to it, wherever in the path
// it is.
func foldersOfFile(path string) []string {
	const mostLinks = 40 // as many as Linux follows
	dirs := []string{nearest(filepath.Dir(path))}
	for range mostLinks {
		link, target, rest := firstLink(path)
		if link == "" {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(link), target)
		}
		path = filepath.Join(target, rest)
		dirs = append(dirs, filepath.Dir(link), nearest(filepath.Dir(path)))
	}
	return dirs
}

// firstLink returns the first part of a path that is a symbolic link, what it
// points to, and what follows it; "" when there is none.
func firstLink(path string) (link, target, rest string) {
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != filepath.Separator {
			continue
		}
		if target, err := os.Readlink(path[:i]); err == nil {
			return path[:i], target, path[i:]
		}
	}
	return "", "", ""
}

// nearest returns dir, or the closest folder above it that exists.
func nearest(dir string) string {
	for {
		info, err := os.Stat(dir)
		parent := filepath.Dir(dir)
		if err == nil && info.IsDir() || parent == dir {
			return dir
		}
		dir = parent
	}
}
