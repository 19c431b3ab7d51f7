package routetable

import "testing"

func TestRewriteTarget(t *testing.T) {
	for name, c := range map[string]struct {
		rewrite      Rewrite
		target, want string
	}{
		"nothing":                        {Rewrite{}, "/a/b?c=d", "/a/b?c=d"},
		"nothing, byte for byte":         {Rewrite{}, "//a/./b/../%2f?%zz", "//a/./b/../%2f?%zz"},
		"strip":                          {Rewrite{Strip: "/a"}, "/a/b", "/b"},
		"strip all":                      {Rewrite{Strip: "/a"}, "/a", "/"},
		"strip all but the query":        {Rewrite{Strip: "/a"}, "/a?x=1", "/?x=1"},
		"strip what is not there":        {Rewrite{Strip: "/a"}, "/b/a", "/b/a"},
		"strip more than there is":       {Rewrite{Strip: "/a/b"}, "/a", "/a"},
		"strip within a segment":         {Rewrite{Strip: "/a"}, "/abc", "/bc"},
		"strip with a slash":             {Rewrite{Strip: "/a/"}, "/a/b", "/b"},
		"strip with a slash, all":        {Rewrite{Strip: "/a/"}, "/a/", "/"},
		"strip the root":                 {Rewrite{Strip: "/"}, "/a", "/a"},
		"strip once":                     {Rewrite{Strip: "/a"}, "/a/a/b", "/a/b"},
		"strip keeps what follows":       {Rewrite{Strip: "/a"}, "/a//b%2Fc?d=/a", "//b%2Fc?d=/a"},
		"prepend":                        {Rewrite{Prepend: "/p"}, "/a", "/p/a"},
		"prepend with a slash":           {Rewrite{Prepend: "/p/"}, "/a", "/p/a"},
		"prepend to the root":            {Rewrite{Prepend: "/p"}, "/", "/p/"},
		"strip, then prepend":            {Rewrite{Strip: "/a", Prepend: "/p"}, "/a/b?c", "/p/b?c"},
		"strip all, then prepend":        {Rewrite{Strip: "/a", Prepend: "/p"}, "/a", "/p/"},
		"strip all, prepend with slash":  {Rewrite{Strip: "/a", Prepend: "/p/"}, "/a", "/p/"},
		"strip part, prepend with slash": {Rewrite{Strip: "/a", Prepend: "/p/"}, "/ab", "/p/b"},
		"strip sees the client's path":   {Rewrite{Strip: "/p/a", Prepend: "/p"}, "/a", "/p/a"},
		"the host is not the path":       {Rewrite{Host: "b.com"}, "/a", "/a"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := string(c.rewrite.Target(nil, []byte(c.target))); got != c.want {
				t.Errorf("%s: got %q, want %q", c.target, got, c.want)
			}
		})
	}
}

func TestRewriteTargetAllocs(t *testing.T) {
	r := Rewrite{Strip: "/a", Prepend: "/p"}
	target, dst := []byte("/a/b/c?d=e"), make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() { dst = r.Target(dst[:0], target) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
