package fabio

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"usher/config"
)

// buildOverrides makes routes of the configuration where commands changed what
// services announce.
func (c *conversion) buildOverrides() {
	for _, before := range c.announced.routes {
		now := c.table.find(before.host, before.path)
		if now != nil && sameAnnounced(before, now) {
			continue
		}
		where := "route " + before.source()
		if now == nil {
			c.notes.add(Todo, where, "a command deletes it, but services still announce it: take the tag off them, "+
				"or set their meta usher-enable=false")
			continue
		}
		r, err := c.configured(now)
		if err != nil {
			c.notes.add(Todo, where, "commands change the shares of services that announce it, which no route of "+
				"the configuration can say (%v): set weight= in their tags, or take the tag off", err)
			continue
		}
		c.routes = append(c.routes, r)
		c.notes.add(Differs, where, "is a route of the configuration now, with the shares of this moment: "+
			"an instance more or less does not change them")
	}
}

// sameAnnounced says whether the announced targets of a route are as they were.
func sameAnnounced(before, now *route) bool {
	type kept struct {
		service, instance string
		fixed             float64
	}
	of := func(r *route) (out []kept) {
		for _, t := range r.targets {
			if t.instance != "" {
				out = append(out, kept{t.service, t.instance, t.fixed})
			}
		}
		return out
	}
	return slices.Equal(of(before), of(now))
}

// configured says a route in the configuration's words, or why it cannot be said.
func (c *conversion) configured(r *route) (config.Route, error) {
	match, err := c.match(r)
	if err != nil {
		return config.Route{}, err
	}
	out := config.Route{Name: r.source(), Match: match}
	rewrite, err := c.rewriteOf(r)
	if err != nil {
		return config.Route{}, err
	}
	out.StripPrefix, out.PrependPrefix, out.Host = rewrite.get("strip"), rewrite.get("prepend"), rewrite.get("host")
	arms, err := c.arms(r)
	switch {
	case err != nil:
		return config.Route{}, err
	case len(arms) == 1:
		out.Service = arms[0].Service
	default:
		out.Split = arms
	}
	return out, nil
}

// match is what a route matches.
func (c *conversion) match(r *route) (config.Match, error) {
	m := config.Match{Path: r.path, PathType: c.matcher}
	bad := func(x rune) bool { return x <= ' ' || x == 0x7f || x == '?' || x == '#' }
	switch {
	case r.path == "":
		return m, fmt.Errorf("it is a TCP port")
	case r.host != "" && !validHost(r.host, true):
		return m, fmt.Errorf("the host %q is none that the configuration accepts", clip(r.host))
	case strings.ContainsFunc(r.source(), func(x rune) bool { return x <= ' ' || x == 0x7f }):
		return m, fmt.Errorf("the source holds a control character")
	case c.matcher == "glob" && strings.ContainsAny(r.path, `[]{}\`):
		return m, fmt.Errorf("the glob %q has more than stars and question marks: say it as path_type: regex",
			clip(r.path))
	case c.matcher == "glob":
	case strings.ContainsFunc(r.path, bad):
		return m, fmt.Errorf("the path %q is none that the configuration accepts", clip(r.path))
	}
	if r.host != "" {
		m.Hosts = []string{r.host}
	}
	return m, nil
}

// rewriteOf are the rewrites of a route, which all its targets must share.
func (c *conversion) rewriteOf(r *route) (fields, error) {
	var common fields
	for i, t := range r.targets {
		var own fields
		for _, key := range []string{"strip", "prepend", "host"} {
			own = own.set(key, "")
		}
		for _, o := range c.options(t) {
			switch o.key {
			case "strip", "prepend", "host":
				own = own.set(o.key, o.value)
			case "register":
			default:
				return nil, fmt.Errorf("the option %s=%s", clip(o.key), clip(o.value))
			}
		}
		if i > 0 && !slices.Equal(own, common) {
			return nil, fmt.Errorf("its targets rewrite requests differently")
		}
		common = own
	}
	return common, checkRewrite(common)
}

func checkRewrite(own fields) error {
	if host := own.get("host"); host == "dst" || host != "" && !validHost(host, false) {
		return fmt.Errorf("the option host=%s", clip(host))
	}
	for _, key := range []string{"strip", "prepend"} {
		if strings.ContainsFunc(own.get(key), func(x rune) bool { return x <= ' ' || x == 0x7f }) {
			return fmt.Errorf("a control character in %s", key)
		}
	}
	return nil
}

// arms are the services of a route with their shares. A route of the configuration goes
// to all instances of a service alike, so the route must have them all, in the
// proportion that the service has by itself.
func (c *conversion) arms(r *route) ([]config.Arm, error) {
	shares := r.shares()
	var arms []config.Arm
	counts, at := map[string]int{}, map[string]int{}
	first := map[string]float64{}
	for i, t := range r.targets {
		name := c.armName(t)
		j, had := at[name]
		if !had {
			j = len(arms)
			at[name], first[name] = j, shares[i]
			arms = append(arms, config.Arm{Service: name})
		}
		if first[name] != shares[i] {
			return nil, fmt.Errorf("the instances of %s have different shares", clip(t.service))
		}
		counts[name]++
		arms[j].Weight += shares[i]
	}
	for name, n := range counts {
		if all, known := c.sizes[name]; known && all != n {
			bare, _, _ := strings.Cut(name, "@")
			return nil, fmt.Errorf("it has only %d of the %d instances of %s", n, all, clip(bare))
		}
	}
	arms = slices.DeleteFunc(arms, func(a config.Arm) bool { return a.Weight == 0 })
	for i := range arms {
		arms[i].Weight = round(arms[i].Weight)
	}
	return arms, checkArms(arms)
}

func checkArms(arms []config.Arm) error {
	for _, a := range arms {
		if a.Service[0] == '@' || strings.Count(a.Service, "@") > 1 ||
			strings.ContainsFunc(a.Service, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return fmt.Errorf("the configuration has no way to write the service %q", clip(a.Service))
		}
	}
	if len(arms) == 0 {
		return fmt.Errorf("nothing is left of it")
	}
	return nil
}

// round keeps what a person would write: 0.9 rather than 0.8999999999999999. What is
// not 0 stays above 0.
func round(w float64) float64 {
	f, err := strconv.ParseFloat(strconv.FormatFloat(w, 'g', 6, 64), 64)
	if err != nil {
		return w
	}
	return cmp.Or(f, w)
}

// armName is the service of a target as the configuration names it.
func (c *conversion) armName(t *target) string {
	if t.instance != "" {
		return t.service + "@" + consulRegistry
	}
	return c.homes[t] + "@" + staticRegistry
}
