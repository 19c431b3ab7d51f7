package fabio

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// table is Fabio's routing table: what the commands make, run in their order. Routes
// and targets stay in the order they came in.
type table struct{ routes []*route }

// route is one source and its targets.
type route struct {
	// host is in lower case; a TCP port is a host of the form :3306 without a path.
	host, path string
	targets    []*target
}

// target is one destination of a route.
type target struct {
	service string
	url     *url.URL
	// fixed is the share of the traffic asked for, 0 for none.
	fixed float64
	tags  []string
	opts  fields
	// instance identifies an announced target's instance; empty: a command made it.
	instance string
	where    string
}

// source is the route as Fabio writes it.
func (r *route) source() string { return r.host + r.path }

// splitSource splits a source into host and path; a bare host means all its paths.
func splitSource(src string) (host, path string) {
	if strings.HasPrefix(src, ":") {
		return src, ""
	}
	host, path, _ = strings.Cut(src, "/")
	return host, "/" + path
}

func (t *table) find(host, path string) *route {
	for _, r := range t.routes {
		if r.host == host && r.path == path {
			return r
		}
	}
	return nil
}

// run runs a command and returns how many targets it made, removed or weighed.
func (t *table) run(c command) (int, error) {
	switch c.verb {
	case verbAdd:
		return 1, t.add(c, "")
	case verbDel:
		return t.del(c)
	default:
		return t.weigh(c), nil
	}
}

// add makes a target; instance is that of an announced one.
func (t *table) add(c command, instance string) error {
	u, err := url.Parse(c.dst)
	if err != nil {
		return fmt.Errorf("the destination %q is not a URL", clip(c.dst))
	}
	host, path := splitSource(c.src)
	host = strings.ToLower(host)
	r := t.find(host, path)
	if r == nil {
		r = &route{host: host, path: path}
		t.routes = append(t.routes, r)
	}
	n := &target{c.service, u, max(0, c.weight), c.tags, c.opts, instance, c.where}
	if !slices.ContainsFunc(r.targets, n.same) {
		r.targets = append(r.targets, n)
	}
	return nil
}

// same says whether Fabio takes two targets for one, whatever their options.
func (t *target) same(o *target) bool {
	return t.service == o.service && t.url.String() == o.url.String() && t.fixed == o.fixed &&
		slices.Equal(t.tags, o.tags)
}

// del removes targets, and routes that have none left. Unlike add it takes the host as
// it is written, so one in upper case removes nothing.
func (t *table) del(c command) (removed int, err error) {
	dst := ""
	if c.dst != "" {
		u, err := url.Parse(c.dst)
		if err != nil {
			return 0, fmt.Errorf("the destination %q is not a URL", clip(c.dst))
		}
		dst = u.String()
	}
	host, path := splitSource(c.src)
	for _, r := range t.routes {
		if c.src != "" && (r.host != host || r.path != path) {
			continue
		}
		before := len(r.targets)
		r.targets = slices.DeleteFunc(r.targets, func(x *target) bool {
			return x.selected(c) && (dst == "" || x.url.String() == dst)
		})
		removed += before - len(r.targets)
	}
	t.routes = slices.DeleteFunc(t.routes, func(r *route) bool { return len(r.targets) == 0 })
	return removed, nil
}

// weigh gives the selected targets of a route a share of its traffic together.
func (t *table) weigh(c command) int {
	r := t.find(splitSource(c.src))
	if r == nil {
		return 0
	}
	var chosen []*target
	for _, x := range r.targets {
		if x.selected(c) {
			chosen = append(chosen, x)
		}
	}
	for _, x := range chosen {
		x.fixed = max(0, c.weight/float64(len(chosen)))
	}
	return len(chosen)
}

// selected says whether a del or weight means this target: by its service, if one is
// given, and by having all the tags.
func (t *target) selected(c command) bool {
	if c.service != "" && t.service != c.service {
		return false
	}
	return !slices.ContainsFunc(c.tags, func(tag string) bool { return !slices.Contains(t.tags, tag) })
}

// shares are the parts of a route's traffic that its targets get, by Fabio's rule; they
// add up to 1.
func (r *route) shares() []float64 {
	var sum float64
	dynamic := 0
	for _, t := range r.targets {
		sum += t.fixed
		if t.fixed == 0 {
			dynamic++
		}
	}
	scale := 1.0
	if sum > 1 || dynamic == 0 {
		scale = 1 / sum
	}
	out := make([]float64, len(r.targets))
	for i, t := range r.targets {
		switch {
		case t.fixed > 0:
			out[i] = t.fixed * scale
		default:
			out[i] = max(0, 1-sum) / float64(dynamic)
		}
	}
	return out
}
