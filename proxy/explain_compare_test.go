package proxy_test

import (
	"fmt"
	"slices"
	"strings"

	"usher/proxy"
	"usher/proxy/core"
)

// compare says what of an explanation is not so; empty: all of it is.
func (s *scene) compare(x *core.Explained, q *proxy.Question, really *got) string {
	switch {
	case len(x.Arms) > 0 && really.backend != "":
		return s.compareForwarded(x, q, really)
	case len(x.Arms) > 0:
		return s.compareUnsent(x, q, really)
	case really.backend != "":
		return "an endpoint answered, and none was to be asked"
	default:
		return s.compareAnswer(x.Reason, x.Status(), locationOf(x.Own.Fields), really)
	}
}

// locationOf is the Location among the lines of a head.
func locationOf(lines []byte) string {
	_, location, _ := strings.Cut(string(lines), "Location: ")
	location, _, _ = strings.Cut(location, "\r\n")
	return location
}

// compareAnswer compares an answer of usher's own.
func (s *scene) compareAnswer(reason core.Reason, status int, location string, really *got) string {
	word := reason.String
	said := really.reason
	if reason == core.Answered {
		s.tally.answered++
		if said == "" || said == "redirect" || said == "respond" {
			word = func() string { return said }
		}
	} else {
		s.tally.refused++
	}
	if said != word() || status != really.StatusCode || location != really.Header.Get("Location") {
		return fmt.Sprintf("explained is %v, %d, %q", reason, status, location)
	}
	return ""
}

// compareUnsent compares a request for which no endpoint was asked: it depends on who was
// chosen.
func (s *scene) compareUnsent(x *core.Explained, q *proxy.Question, really *got) string {
	var problem string
	for range draws(x) {
		arm := &x.Arms[x.Drawn]
		if !arm.Usable() || arm.Certain || len(x.Arms) == 1 && x.Reason == core.Overloaded {
			location := ""
			if x.Reason == core.Answered {
				location = locationOf(x.Own.Fields)
			}
			if problem = s.compareAnswer(x.Reason, x.Status(), location, really); problem == "" {
				return ""
			}
		}
		for i := range arm.Endpoints {
			e := &arm.Endpoints[i]
			switch {
			case !e.Usable || e.Would == core.None:
			case e.Would == core.Answered && really.reason == "redirect" && e.Location == really.Header.Get("Location"),
				e.Would != core.Answered && e.Would.String() == really.reason:
				if arm.Certain && arm.Chosen != i {
					return "another endpoint was certain to be chosen"
				}
				return ""
			}
		}
		problem = fmt.Sprintf("no endpoint would do that: %+v", arm.Endpoints)
		x = s.usher.Proxy.Explain(q)
	}
	return problem
}

// draws is how often it is asked again until the same part of a split is drawn.
func draws(x *core.Explained) int {
	if len(x.Arms) > 1 {
		return 300
	}
	return 1
}

// find returns the place of the endpoint at an address in the drawn arm, -1 for none.
func find(x *core.Explained, address string) int {
	for i, e := range x.Arms[x.Drawn].Arm.Cluster.Endpoints {
		if e.Address == address {
			return i
		}
	}
	return -1
}

// compareForwarded compares a request that an endpoint has answered.
func (s *scene) compareForwarded(x *core.Explained, q *proxy.Question, really *got) string {
	s.tally.forwarded++
	first := x
	for range draws(x) {
		if find(x, really.backend) >= 0 {
			break
		}
		x = s.usher.Proxy.Explain(q)
	}
	i := find(x, really.backend)
	if i < 0 {
		return "who answered is not among the endpoints"
	}
	arm := &x.Arms[x.Drawn]
	e := &arm.Endpoints[i]
	line, rest, _ := strings.Cut(really.raw, "\r\n")
	words := strings.Split(line, " ")
	switch {
	case !e.Usable || e.Share <= 0 || e.Would != core.None:
		return fmt.Sprintf("who answered was not to be asked: %+v", *e)
	case len(words) != 3 || e.Target != words[1]:
		return fmt.Sprintf("the target was to be %q", e.Target)
	case !strings.Contains("\r\n"+rest, "\r\nHost: "+e.Host+"\r\n"):
		return fmt.Sprintf("the host was to be %q", e.Host)
	}
	return s.compareChoice(first, x, q, i, really)
}

// compareChoice compares who was chosen, where that is not left to chance, and what it was
// asked, byte for byte. first is the explanation from before the request.
func (s *scene) compareChoice(first, x *core.Explained, q *proxy.Question, i int, really *got) string {
	arm := &first.Arms[first.Drawn]
	// Nobody else asks: the turn that is explained is the one that is taken.
	turns := arm.Arm.Cluster.Policy.Balance == "round_robin"
	if j := find(first, really.backend); j >= 0 && (arm.Certain || turns) {
		s.tally.certain++
		if arm.Chosen != j {
			return fmt.Sprintf("%d was to be chosen of %+v", arm.Chosen, arm.Endpoints)
		}
		x = first
	}
	for range 100 {
		if x.Reason == core.None && x.Arms[x.Drawn].Chosen == i && find(x, really.backend) == i {
			s.tally.verbatim++
			if string(x.Head) != really.raw {
				return fmt.Sprintf("it was to be asked\n%s", x.Head)
			}
			return ""
		}
		x = s.usher.Proxy.Explain(q)
	}
	return ""
}

// compareApart compares the explanation with one by the same table in nobody's use.
func (s *scene) compareApart(x *core.Explained, q *proxy.Question) string {
	own := *q
	own.Table = s.table
	apart := s.apart.Explain(&own)
	for range draws(x) {
		if apart.Drawn == x.Drawn {
			break
		}
		apart = s.apart.Explain(&own)
	}
	if x.Reason == core.Loop { // the other one has not seen it
		return ""
	}
	if a, b := tried(x), tried(apart); a != b {
		return fmt.Sprintf("apart other rules were tried:\n%s\nand\n%s", a, b)
	}
	if len(x.Arms) != len(apart.Arms) || len(x.Arms) == 0 && x.Reason != apart.Reason {
		return fmt.Sprintf("apart it is %+v", apart)
	}
	for k := range x.Arms {
		if !slices.Equal(x.Arms[k].Endpoints, apart.Arms[k].Endpoints) {
			return fmt.Sprintf("apart the endpoints are %+v", apart.Arms[k].Endpoints)
		}
		if x.Arms[k].Certain && x.Arms[k].Chosen != apart.Arms[k].Chosen {
			return fmt.Sprintf("apart %d is chosen", apart.Arms[k].Chosen)
		}
	}
	return ""
}

// tried are the rules of an explanation and what became of each.
func tried(x *core.Explained) string {
	var b strings.Builder
	for _, e := range x.Tried {
		fmt.Fprintf(&b, "%s %s %s%s %v %s\n", e.ID, e.Owner, e.Host, e.Path, e.Won, e.Why)
	}
	return b.String()
}
