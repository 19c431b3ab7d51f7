package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"usher/cmd/usher/internal/api"
	"usher/config"
	"usher/routetable"
)

// routeView is a route as the API tells of it; conflicts is how many claims it outranks.
func routeView(r *routetable.Route, conflicts int) api.Route {
	v := api.Route{
		ID: r.ID, Source: r.Source.String(), Owner: r.Owner, Protocol: r.Kind.String(),
		Hosts: r.Hosts, Path: r.Path, PathType: r.PathType.String(), Listeners: r.Listeners, Services: []string{},
		Conditions: conditionsOf(r), Priority: r.Priority, Action: routeAction(r), Conflicts: conflicts,
	}
	if r.Answers() { // the cluster of one that does stands for no service
		return v
	}
	v.Services = servicesOf(r)
	for i := range r.Arms {
		c := r.Arms[i].Cluster
		v.Endpoints += len(c.Endpoints)
		if view := c.View(); view != nil {
			v.Usable += len(view.Usable)
		}
	}
	return v
}

// conditionsOf are what a request must be beside host and path.
func conditionsOf(r *routetable.Route) (out []string) {
	if r.GRPC {
		out = append(out, "a call of gRPC")
	}
	if len(r.Methods) > 0 {
		out = append(out, "method "+strings.Join(r.Methods, ", "))
	}
	for _, h := range r.Headers {
		out = append(out, "header "+h.Name+": "+shown(h.Name, h.Value))
	}
	for _, p := range r.Patterns {
		out = append(out, "header "+p.Name+" ~ "+shown(p.Name, p.Expr.String()))
	}
	for _, p := range r.Query {
		if p.Value == "" {
			out = append(out, "query "+p.Name)
		} else {
			out = append(out, "query "+p.Name+"="+shown(p.Name, p.Value))
		}
	}
	return out
}

// shown is a value that a request is compared with, unless it may be a secret by its name.
func shown(name, value string) string {
	if config.Credential(name) {
		return config.Redacted
	}
	return value
}

// routeAction is what is done with the requests of a route.
func routeAction(r *routetable.Route) string {
	switch {
	case r.Redirect != nil:
		return fmt.Sprintf("redirect %d to %s", r.Redirect.Code, r.Redirect.To())
	case r.Respond != nil:
		return "respond " + strconv.Itoa(r.Respond.Status)
	case len(r.Arms) == 1:
		return clusterAction(r.Arms[0].Cluster)
	}
	sum := r.Sums[len(r.Sums)-1]
	parts := make([]string, 0, len(r.Arms))
	for _, arm := range r.Arms {
		share := strconv.FormatFloat(math.Round(arm.Weight/sum*1e4)/1e2, 'f', -1, 64)
		parts = append(parts, strings.Join(arm.Cluster.Services, ", ")+" "+share+" %")
	}
	return "to " + strings.Join(parts, ", ")
}

// clusterAction is what is done with requests that all go to one cluster, whose instances
// may have announced a redirect.
func clusterAction(c *routetable.Cluster) string {
	if c.Answers && len(c.Endpoints) > 0 {
		if to := c.Endpoints[0].Redirect; to != nil {
			return fmt.Sprintf("redirect %d to %s", to.Code, to.To())
		}
	}
	return "to " + strings.Join(c.Services, ", ")
}

// outranked counts, by the owner of a route and what it matches, the claims that it
// outranks.
func outranked(conflicts []routetable.Conflict) map[[2]string]int {
	out := make(map[[2]string]int, len(conflicts))
	for _, c := range conflicts {
		match, _, _ := strings.Cut(c.Match, " listener=")
		out[[2]string{c.Winner, match}]++
	}
	return out
}

// conflictsOf is how many claims a route outranks.
func conflictsOf(r *routetable.Route, by map[[2]string]int) (n int) {
	if len(by) == 0 {
		return 0
	}
	for _, match := range r.Matches() {
		n += by[[2]string{r.Owner, match}]
	}
	return n
}
