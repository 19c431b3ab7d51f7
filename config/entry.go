package config

import "reflect"

// maxEntrySize bounds one entry of a key-value store, in bytes: what Consul takes.
const maxEntrySize = 512 << 10

// DecodeRoute reads and checks one route from an entry of a key-value store: a YAML
// document that holds what an element of routes does, as strictly as Load and with
// the same defaults. The name is that of the entry; a name in the document must be
// the same. Which listeners and registries there are is not known here, so that any
// will do.
//
// where names the entry in positions. Its error is always Errors, with every problem
// found; the Route is zero then. It reads nothing else, neither files nor the
// environment (${VAR} is taken as it stands), and may be called from any goroutine.
// The result belongs to the caller and does not refer to data.
func DecodeRoute(where, name string, data []byte) (Route, error) {
	r, d := decodeEntry[Route](where, data, elements()...)
	completeMatch(&r.Match)
	completeProtocol(&r, nil)
	c := newChecker(d)
	if d.where.given("name") && r.Name != name {
		c.bad("name", "route name %q differs from that of its key, %q", shorten(r.Name), shorten(name))
	}
	r.Name = name
	if name == "" {
		c.bad("name", "route name is empty")
	} else {
		c.route(r, "", routeNames{any: true}, map[string]string{})
	}
	if err := d.problems.err(); err != nil {
		return Route{}, err
	}
	return r, nil
}

// DecodeService reads and checks the settings of one service from an entry of a
// key-value store, as DecodeRoute does a route: a YAML document that holds what a
// value of services does. What it leaves out is taken from defaults; an empty
// document sets nothing.
func DecodeService(where string, data []byte, defaults Policy) (Service, error) {
	s, d := decodeEntry[Service](where, data, Service{Policy: defaults})
	refuseUpstreamFiles(d)
	refuseConnect(d)
	newChecker(d).policy(s.Policy, "")
	if err := d.problems.err(); err != nil {
		return Service{}, err
	}
	return s, nil
}

// decodeEntry decodes a document into a T, which starts from the one among fresh.
func decodeEntry[T any](where string, data []byte, fresh ...any) (entry T, d *decoder) {
	d = newDecoder(&problems{})
	for _, v := range fresh {
		d.startFrom(v)
	}
	v := d.element(reflect.TypeFor[T]())
	d.value(entryNode(where, data, d.problems), v, "")
	return v.Interface().(T), d
}

// entryNode parses an entry; an empty one is a map without keys.
func entryNode(where string, data []byte, p *problems) *node {
	start := Pos{File: where, Line: 1, Column: 1}
	if len(data) > maxEntrySize {
		p.add(Pos{File: where}, "larger than %s", Size(maxEntrySize))
		return &node{kind: badNode, pos: start}
	}
	before := len(p.list)
	root := parse(where, data, nil, p)
	switch {
	case len(p.list) > before && root == nil:
		return &node{kind: badNode, pos: start}
	case root == nil || root.kind == nullNode:
		return mapAt(start)
	}
	return root
}
