package certs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// maxFile bounds a file of a certificate or key, in bytes.
const maxFile = 1 << 20

// restless is how young a file may be for its time to tell nothing: clocks of file systems
// are coarse, and it may be written again within one tick.
const restless = 2 * time.Second

// files are the files as they were when they were read, by path.
type files map[string]fs.FileInfo

// read reads the files of the source and says whether there is another certificate than
// before. Only what changed is read.
func (s *source) read(now time.Time) (changed bool) {
	groups, err := s.place.groups()
	if err != nil {
		return s.fail(err)
	}
	seen := files{}
	all := make(map[string]raw, len(groups))
	for name, p := range groups {
		all[name] = s.readOne(name, p, seen, now)
	}
	s.files = seen
	return s.take(all, now)
}

// groups are the files of each certificate, by its name.
func (p place) groups() (map[string]parts, error) {
	if p.kind == file {
		name := strings.TrimSuffix(filepath.Base(p.path), filepath.Ext(p.path))
		return map[string]parts{name: {crt: p.path, key: p.key}}, nil
	}
	entries, err := os.ReadDir(p.path)
	if err != nil {
		return nil, err
	}
	groups := map[string]parts{}
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, ".") {
			addPart(groups, name, filepath.Join(p.path, name), false)
		}
	}
	return groups, nil
}

// addPart sorts a file or key into the group of its name. With bareToo one without
// a known ending holds both.
func addPart(groups map[string]parts, name, at string, bareToo bool) {
	ext := filepath.Ext(name)
	base := strings.TrimSuffix(name, ext)
	g := groups[base]
	switch {
	case base != "" && ext == ".crt":
		g.crt = at
	case base != "" && ext == ".pem":
		g.pem = at
	case base != "" && ext == ".key":
		g.key = at
	case bareToo:
		base = name
		g = groups[base]
		g.bare = at
	default:
		return
	}
	groups[base] = g
}

// readOne reads the files of one certificate, unless they are those that were read last.
func (s *source) readOne(name string, p parts, seen files, now time.Time) raw {
	cert, key, err := p.choose()
	r := raw{label: cert, err: err}
	if err != nil {
		return r
	}
	same := s.items[name] != nil
	for _, path := range []string{cert, key} {
		info, err := os.Stat(path)
		if err != nil {
			return raw{label: cert, err: plain(err)}
		}
		old := s.files[path]
		same = same && old != nil && sameFile(old, info)
		if now.Sub(info.ModTime()) > restless {
			seen[path] = info
		}
	}
	if same {
		r.same = true
		return r
	}
	if r.cert, r.err = readFile(cert); r.err == nil && key != cert {
		r.key, r.err = readFile(key)
	} else {
		r.key = r.cert
	}
	return r
}

// sameFile says whether a file has not been written or replaced.
func sameFile(a, b fs.FileInfo) bool {
	return a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && os.SameFile(a, b)
}

// readFile reads a regular file: a pipe would hang.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, plain(err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, plain(err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return data, err
}

// plain is an error of the file system without the name of the system call.
func plain(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", e.Path, e.Err)
	}
	return err
}

// folders are where a change can change what the source says, links followed.
func (p place) folders() []string {
	paths := []string{p.path}
	if p.key != "" {
		paths = append(paths, p.key)
	}
	var out []string
	for _, path := range paths {
		out = append(out, filepath.Dir(path))
		if target, err := filepath.EvalSymlinks(path); err == nil {
			out = append(out, filepath.Dir(target))
		}
	}
	if p.kind == folder {
		out = append(out, p.path)
	}
	return out
}
