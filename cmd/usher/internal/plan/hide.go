package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"usher/config"
	"usher/config/redact"
	"usher/watcher"
)

// hider takes out of a configuration what is secret, and where its files lie: the same
// configuration in another folder is the same.
type hider struct {
	secrets *redact.Rules
	// dir is the folder of the configuration, with its slash; empty: there is no file.
	dir string
}

func newHider(cfg *config.Config) *hider {
	h := &hider{secrets: redact.New(nil, nil)}
	if len(cfg.Files) > 0 {
		h.dir = strings.TrimSuffix(filepath.Dir(cfg.Files[0]), "/") + "/"
	}
	return h
}

// hidden stands for a secret: what differs stays different, and cannot be read.
func hidden(secret string) string {
	if secret == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(secret))
	return "hidden " + hex.EncodeToString(sum[:3])
}

// path is that of a file from the configuration's folder on.
func (h *hider) path(path string) string {
	if h.dir == "" {
		return path
	}
	return strings.TrimPrefix(path, h.dir)
}

func (h *hider) values(part any) []config.Value {
	out := config.Values(part)
	for i := range out {
		out[i].Text = h.path(out[i].Text)
	}
	return out
}

func (h *hider) policy(p config.Policy) config.Policy {
	t := &p.Upstream.TLS
	t.CAFile, t.CertFile, t.KeyFile = h.path(t.CAFile), h.path(t.CertFile), h.path(t.KeyFile)
	t.PEM.CA, t.PEM.Cert, t.PEM.Key = hidden(t.PEM.CA), hidden(t.PEM.Cert), hidden(t.PEM.Key)
	p.Sticky.Secret = hidden(p.Sticky.Secret)
	p.HealthCheck.Headers = h.fields(p.HealthCheck.Headers)
	return p
}

func (h *hider) services(services map[string]config.Service) map[string]config.Service {
	out := maps.Clone(services)
	for name, s := range out {
		s.Policy = h.policy(s.Policy)
		out[name] = s
	}
	return out
}

// fields are header fields without the values of those that are secret.
func (h *hider) fields(fields map[string]string) map[string]string {
	out := maps.Clone(fields)
	for name, value := range out {
		if h.secrets.Secret(name) {
			out[name] = hidden(value)
		}
	}
	return out
}

func (h *hider) pages(pages map[string]config.Content) map[string]config.Content {
	out := maps.Clone(pages)
	for key, c := range out {
		out[key] = h.content(c)
	}
	return out
}

func (h *hider) content(c config.Content) config.Content {
	return config.Content{Path: h.path(c.Path), Data: hidden(c.Data)}
}

func (h *hider) routes(routes []config.Route) []config.Route {
	out := slices.Clone(routes)
	for i := range out {
		r := &out[i]
		r.Match.Headers = h.fields(r.Match.Headers)
		for _, e := range []*config.HeaderEdits{&r.RequestHeaders, &r.ResponseHeaders} {
			e.Set, e.Add = h.fields(e.Set), h.fields(e.Add)
		}
		r.ErrorPages = h.pages(r.ErrorPages)
		if r.Respond != nil {
			answer := *r.Respond
			answer.BodyFile, answer.Headers = h.content(answer.BodyFile), h.fields(answer.Headers)
			r.Respond = &answer
		}
	}
	return out
}

// Hide takes out of a snapshot what a plan needs not know and may be secret: tags and meta,
// which are read already, and secrets in overrides. The snapshot is changed, what it points
// to is not.
func Hide(s *watcher.Snapshot) {
	h := &hider{secrets: redact.New(nil, nil)}
	for i := range s.Registries {
		r := &s.Registries[i]
		r.Services = slices.Clone(r.Services)
		for j, svc := range r.Services {
			bare := &watcher.Service{Key: svc.Key, Instances: slices.Clone(svc.Instances)}
			for k := range bare.Instances {
				in := &bare.Instances[k]
				in.Tags, in.Meta, in.Held = nil, nil, nil
			}
			r.Services[j] = bare
		}
		if r.Overrides != nil {
			o := *r.Overrides
			o.Routes, o.Services = h.routes(o.Routes), h.services(o.Services)
			r.Overrides = &o
		}
	}
}
