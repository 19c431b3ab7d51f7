package watcher

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Snapshot is what a Manager knows, and what the routing table remembers beyond
// that, as kept on disk: what a start serves while a registry is away.
type Snapshot struct {
	Registries []RegistrySnapshot
	// Memory is the routing table's, which alone knows its form.
	Memory json.RawMessage `json:",omitempty"`
	// Running is what a running usher adds for who asks it for a snapshot, and alone knows
	// the form of; on disk there is none.
	Running json.RawMessage `json:",omitempty"`
}

// RegistrySnapshot is what was known of one registry.
type RegistrySnapshot struct {
	Name string
	// Identity is the Source's: a snapshot of another registry is not used.
	Identity string
	// Taken is when the registry last answered.
	Taken     time.Time
	Services  []*Service
	Overrides *Overrides
}

// The file is one line that says what follows, and JSON.
const (
	snapshotName    = "usher.snapshot"
	snapshotMagic   = "usher-snapshot"
	snapshotVersion = 1
)

// ErrSnapshot marks a file that is not a snapshot this version can use.
var ErrSnapshot = errors.New("unusable snapshot")

// EncodeSnapshot returns the form of s on disk: a line with the version, the
// checksum and the length of the JSON that follows it.
func EncodeSnapshot(s *Snapshot) ([]byte, error) {
	body, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return sealed(body), nil
}

// sealed puts before a body the line that says what it is.
func sealed(body []byte) []byte {
	sum := sha256.Sum256(body)
	head := fmt.Sprintf("%s %d %s %d\n", snapshotMagic, snapshotVersion, hex.EncodeToString(sum[:]), len(body))
	return append([]byte(head), body...)
}

// DecodeSnapshot is the inverse of EncodeSnapshot. The error, ErrSnapshot, says what
// is wrong: the file is foreign, of another version, cut, or damaged.
func DecodeSnapshot(data []byte) (*Snapshot, error) {
	line, body, _ := bytes.Cut(data, []byte("\n"))
	var magic, sum string
	var version, length int
	n, _ := fmt.Sscanf(string(line[:min(len(line), 200)]), "%s %d %s %d", &magic, &version, &sum, &length)
	switch want := sha256.Sum256(body); {
	case n < 1 || magic != snapshotMagic:
		return nil, fmt.Errorf("%w: this is no snapshot of usher", ErrSnapshot)
	case n < 2 || version != snapshotVersion:
		return nil, fmt.Errorf("%w: version %d, this usher reads version %d", ErrSnapshot, version, snapshotVersion)
	case n < 4 || length != len(body):
		return nil, fmt.Errorf("%w: it is cut: %d bytes of %d", ErrSnapshot, len(body), length)
	case hex.EncodeToString(want[:]) != sum:
		return nil, fmt.Errorf("%w: it is damaged: the checksum differs", ErrSnapshot)
	}
	s := &Snapshot{}
	if err := json.Unmarshal(body, s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	return s, nil
}

// check refuses what no Manager would have written.
func (s *Snapshot) check() error {
	for i := range s.Registries {
		r := &s.Registries[i]
		if i > 0 && s.Registries[i-1].Name >= r.Name {
			return fmt.Errorf("registry %q is there twice, or out of order", r.Name)
		}
		if r.Overrides != nil && r.Overrides.Registry != r.Name {
			return fmt.Errorf("registry %q holds the overrides of %q", r.Name, r.Overrides.Registry)
		}
		last := ""
		for _, svc := range r.Services {
			if svc == nil || svc.Service <= last || svc.Registry != r.Name || len(svc.Instances) == 0 {
				return fmt.Errorf("registry %q holds a service without a name or instances, or out of order", r.Name)
			}
			if err := checkInstances(svc.Instances); err != nil {
				return fmt.Errorf("%s: %w", svc.Key, err)
			}
			last = svc.Service
		}
	}
	return nil
}

// checkInstances refuses the instances of a service that a Manager would not have
// written: it relies on their order, and what is held is in no snapshot.
func checkInstances(list []Instance) error {
	for i, in := range list {
		switch {
		case i > 0 && list[i-1].ID >= in.ID:
			return fmt.Errorf("instance %q is there twice, or out of order", in.ID)
		case in.Held != nil:
			return fmt.Errorf("instance %q is held", in.ID)
		case slices.ContainsFunc(in.Announcements, func(a Announcement) bool { return a.Origin > FromMeta }):
			return fmt.Errorf("instance %q announces a rule of unknown origin", in.ID)
		}
	}
	return nil
}

// WriteSnapshot puts a snapshot into the folder dir, whole or not at all: it is
// written beside the old one, brought to the disk, and renamed.
func WriteSnapshot(dir string, s *Snapshot) (err error) {
	data, err := EncodeSnapshot(s)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, snapshotName+".*.tmp") // readable by its owner alone
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // it is of no use, and the error is told
		}
	}()
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), filepath.Join(dir, snapshotName)); err != nil {
		return err
	}
	return syncFolder(dir)
}

// syncFolder brings a rename to the disk.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ReadSnapshot reads the snapshot in the folder dir. The error is fs.ErrNotExist
// when there is none.
func ReadSnapshot(dir string) (*Snapshot, error) {
	path := filepath.Join(dir, snapshotName)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s, err := DecodeSnapshot(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Restore gives the Manager a snapshot to start from: a source of the same name and
// identity serves it, marked as restored, until it is synced. It must be called
// before the first Apply.
func (m *Manager) Restore(s *Snapshot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.restored = s
}

// restore gives a new source its part of the snapshot. The caller holds m.mu.
func (m *Manager) restore(s *source) {
	if m.restored == nil {
		return
	}
	for i := range m.restored.Registries {
		r := &m.restored.Registries[i]
		if r.Name != s.Name {
			continue
		}
		if r.Identity != s.Identity {
			m.log.Warn("the snapshot is of another registry; it is not used", "registry", s.Name,
				"snapshot", r.Identity, "configured", s.Identity)
			continue
		}
		services := map[string]entry{}
		for _, svc := range r.Services {
			services[svc.Service] = entry{svc, s.generation, r.Taken}
			m.set(svc.Key, svc)
		}
		s.inherit(services, r.Overrides)
		s.status.Restored, s.known = r.Taken, r.Taken
		m.log.Info("starting from the snapshot", "registry", s.Name, "services", len(services),
			"taken", r.Taken.UTC().Format(time.RFC3339))
	}
}

// Snapshot returns what is known now, without the table's memory. It is not ok
// while an instance is held, or when nothing is known yet: then what is on disk is
// worth more. A registry that has not answered since the start keeps the age of
// what it was started from.
func (m *Manager) Snapshot() (s *Snapshot, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s = &Snapshot{}
	for _, src := range m.sources {
		if src.guard.heldAll > 0 {
			return nil, false
		}
		if src.Identity == "" || (!src.status.Synced && src.known.IsZero()) {
			continue
		}
		r := RegistrySnapshot{Name: src.Name, Identity: src.Identity, Taken: src.taken(), Overrides: src.overrides}
		for _, e := range src.services {
			r.Services = append(r.Services, e.service)
		}
		s.Registries = append(s.Registries, r)
	}
	s.sort()
	return s, len(s.Registries) > 0
}

// Known returns everything that is known now, of registries of which no snapshot is kept
// too, and with what is held: it is to be looked at, not to start from.
func (m *Manager) Known() *Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &Snapshot{}
	for _, src := range m.sources {
		r := RegistrySnapshot{Name: src.Name, Identity: src.Identity, Taken: src.taken(), Overrides: src.overrides}
		for _, e := range src.services {
			r.Services = append(r.Services, e.service)
		}
		s.Registries = append(s.Registries, r)
	}
	s.sort()
	return s
}

// sort gives a snapshot the one order in which the same is the same.
func (s *Snapshot) sort() {
	slices.SortFunc(s.Registries, func(a, b RegistrySnapshot) int { return cmp.Compare(a.Name, b.Name) })
	for _, r := range s.Registries {
		slices.SortFunc(r.Services, func(a, b *Service) int { return a.Compare(b.Key) })
	}
}
