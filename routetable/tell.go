package routetable

// Matches are what the route claims, as Conflict.Match has it without the listeners: one for
// each of its hosts.
func (r *Route) Matches() []string {
	out := make([]string, 0, len(r.Hosts))
	for _, host := range r.Hosts {
		out = append(out, matchOf(r.Kind, host, r.Path, r.PathType))
	}
	return out
}

// To is where clients are sent, with the variables as they were written.
func (r *Redirect) To() string { return r.to.Expand(func(name string) string { return "$" + name }) }
