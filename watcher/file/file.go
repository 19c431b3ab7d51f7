// Package file is the registry for static fleets and demonstrations: a YAML file
// that says which services there are (config.Catalog). The file is watched; a
// version that cannot be read is refused whole, and the last good one stays.
package file

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"usher/config"
	"usher/watcher"
)

// TagPrefix marks the tags that announce routes, as in Consul.
const TagPrefix = "urlprefix-"

// Registry watches one catalog file.
type Registry struct {
	path string
	opts config.Options
	log  *slog.Logger
}

// New returns a Registry of the file at path.
func New(path string, opts config.Options, log *slog.Logger) *Registry {
	return &Registry{path: path, opts: opts, log: log}
}

// Run implements watcher.Discoverer.
func (r *Registry) Run(ctx context.Context, out chan<- watcher.Update) error {
	w := config.NewWatcher(ctx, config.WatchOptions{})
	defer w.Close()
	w.Set([]string{r.path})
	known := map[string]bool{}
	for {
		if !r.read(ctx, out, known) {
			return ctx.Err()
		}
		select {
		case <-w.C():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// read sends what the file says. It returns false when ctx ended.
func (r *Registry) read(ctx context.Context, out chan<- watcher.Update, known map[string]bool) bool {
	since := time.Now()
	catalog, err := config.LoadCatalog(r.path, r.opts)
	if err != nil {
		return send(ctx, out, watcher.Update{Report: &watcher.Report{Err: err, Reason: "invalid"}})
	}
	gone := known
	now := map[string]bool{}
	for i := range catalog.Services {
		s := &catalog.Services[i]
		now[s.Name] = true
		delete(gone, s.Name)
		if !send(ctx, out, watcher.Update{Service: s.Name, Instances: instances(s), Since: since}) {
			return false
		}
	}
	for name := range gone {
		if !send(ctx, out, watcher.Update{Service: name, Since: since}) {
			return false
		}
	}
	clear(known)
	for name := range now {
		known[name] = true
	}
	seen := len(catalog.Services)
	return send(ctx, out, watcher.Update{Report: &watcher.Report{
		Synced: true, Alive: true, Contact: r.path, Seen: &seen,
	}})
}

func send(ctx context.Context, out chan<- watcher.Update, u watcher.Update) bool {
	select {
	case out <- u:
		return true
	case <-ctx.Done():
		return false
	}
}

// instances translates a service of the file; every instance announces its routes.
func instances(s *config.CatalogService) []watcher.Instance {
	var routes []watcher.Announcement
	for _, text := range s.Routes {
		routes = append(routes, watcher.Announcement{Origin: watcher.FromTag, Where: "routes: " + text, Text: text})
	}
	out := make([]watcher.Instance, 0, len(s.Instances))
	for i := range s.Instances {
		in := &s.Instances[i]
		if !watcher.Enabled(in.Meta) {
			continue
		}
		status, _ := watcher.ParseStatus(in.Status)
		own := watcher.Announcements(TagPrefix, in.Tags, in.Meta)
		out = append(out, watcher.Instance{
			ID: s.Name + "/" + in.ID, Address: in.Address, Status: status, Cause: cause(status),
			Weight:        watcher.Weight(in.Weight, in.Meta),
			Announcements: slices.Concat(routes, own),
			Tags:          in.Tags, Meta: in.Meta,
		})
	}
	return out
}

func cause(s watcher.Status) string {
	if s == watcher.Passing {
		return ""
	}
	return "status: " + s.String() + " in the file"
}
