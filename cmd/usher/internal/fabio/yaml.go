package fabio

import (
	"strconv"
	"strings"

	"usher/config"
)

// quote writes a text as a YAML scalar in double quotes, whose escapes are a superset of
// Go's. What would stand for a variable in usher's files is escaped.
func quote(s string) string { return strconv.Quote(strings.ReplaceAll(valid(s), "${", "$${")) }

// lines writes indented YAML.
type lines struct{ b strings.Builder }

func (l *lines) add(depth int, text string) {
	l.b.WriteString(strings.Repeat("  ", depth) + text + "\n")
}

// section writes a map in block form, nothing when it is empty.
func (l *lines) section(depth int, name string, f fields) {
	if len(f) == 0 {
		return
	}
	l.add(depth, name+":")
	for _, x := range f {
		l.add(depth+1, x.key+": "+x.value)
	}
}

// flow writes a map on one line.
func flow(f fields) string {
	parts := make([]string, len(f))
	for i, x := range f {
		parts[i] = x.key + ": " + x.value
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// list writes texts on one line.
func list(texts []string) string {
	parts := make([]string, len(texts))
	for i, t := range texts {
		parts[i] = quote(t)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// configYAML writes usher.yaml.
func (c *conversion) configYAML() string {
	var l lines
	s := &c.set
	if len(s.listeners) > 0 {
		l.add(0, "listeners:")
		for _, x := range s.listeners {
			l.add(1, "- "+flow(x))
		}
	}
	if s.admin != "" {
		l.section(0, "admin", fields{{"address", quote(s.admin)}})
	}
	if s.telemetry != "" {
		l.section(0, "telemetry", fields{{"address", quote(s.telemetry)}})
	}
	if s.logLevel != "" {
		l.section(0, "log", fields{{"level", s.logLevel}})
	}
	c.registriesYAML(&l)
	if len(c.routes) > 0 {
		l.add(0, "routes:")
		for i := range c.routes {
			routeYAML(&l, &c.routes[i])
		}
	}
	l.section(0, "defaults", s.defaults)
	return l.b.String()
}

func (c *conversion) registriesYAML(l *lines) {
	s := &c.set
	if s.backend != "consul" && len(c.services) == 0 {
		l.add(0, "registries: []")
		return
	}
	l.add(0, "registries:")
	if s.backend == "consul" {
		l.add(1, "- type: consul")
		l.add(2, "name: "+consulRegistry)
		for _, x := range s.consul {
			l.add(2, x.key+": "+x.value)
		}
		l.section(2, "tls", s.tls)
		l.section(2, "register", s.register)
	}
	if len(c.services) > 0 {
		l.add(1, "- "+flow(fields{{"type", "file"}, {"name", staticRegistry}, {"path", CatalogFile}}))
	}
}

func routeYAML(l *lines, r *config.Route) {
	l.add(1, "- name: "+quote(r.Name))
	var match fields
	if len(r.Match.Hosts) > 0 {
		match = match.set("hosts", list(r.Match.Hosts))
	}
	match = match.set("path", quote(r.Match.Path)).set("path_type", r.Match.PathType)
	l.add(2, "match: "+flow(match))
	if r.Service != "" {
		l.add(2, "service: "+quote(r.Service))
	} else {
		l.add(2, "split:")
		for _, a := range r.Split {
			l.add(3, "- "+flow(fields{{"service", quote(a.Service)}, {"weight", number(a.Weight)}}))
		}
	}
	for _, x := range []field{
		{"strip_prefix", r.StripPrefix}, {"prepend_prefix", r.PrependPrefix}, {"host", r.Host},
	} {
		if x.value != "" {
			l.add(2, x.key+": "+quote(x.value))
		}
	}
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// catalogYAML writes services.yaml; it is empty when there are no services.
func (c *conversion) catalogYAML() string {
	if len(c.services) == 0 {
		return ""
	}
	var l lines
	l.add(0, "services:")
	for _, s := range c.services {
		l.add(1, "- name: "+quote(s.name))
		if len(s.routes) > 0 {
			l.add(2, "routes:")
			for _, r := range s.routes {
				l.add(3, "- "+quote(r))
			}
		}
		l.add(2, "instances:")
		for _, in := range s.instances {
			l.add(3, "- "+flow(s.instanceFields(in)))
		}
	}
	return l.b.String()
}

func (s *service) instanceFields(in *instance) fields {
	f := fields{{"address", quote(in.address)}}
	if in.id != in.address {
		f = fields{{"id", quote(in.id)}, {"address", quote(in.address)}}
	}
	if tags := s.allTags(in); len(tags) > 0 {
		f = f.set("tags", list(tags))
	}
	return f
}
