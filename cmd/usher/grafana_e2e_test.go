package main_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"usher/metrics/promtest"
)

// panel is one of Grafana's, as far as the test looks.
type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ X, Y, W, H int }
	Targets []struct{ Expr, RefID string }
	Panels  []panel
}

// dashboard: the dashboard is one that Grafana takes, and what it asks for exists.
func (b *busy) dashboard(t *testing.T, p *promtest.Server) {
	var d struct {
		SchemaVersion int
		Templating    struct {
			List []struct{ Name, Type, Definition string }
		}
		Panels []panel
	}
	if err := json.Unmarshal([]byte(read(t, deployed(t, "grafana/usher.json"))), &d); err != nil {
		t.Fatal(err)
	}
	if d.SchemaVersion < 42 {
		t.Errorf("schemaVersion %d", d.SchemaVersion)
	}
	got := b.scrape()
	variables := map[string]bool{}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
		if m := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(v.Definition); m != nil {
			got.mustAnswer(t, p, "variable "+v.Name, fmt.Sprintf("count by (%s) (%s)", m[2], concrete(m[1])))
		} else if v.Type != "datasource" {
			t.Errorf("variable %s: %s", v.Name, v.Definition)
		}
	}
	for _, name := range []string{"datasource", "listener", "route", "service"} {
		if !variables[name] {
			t.Errorf("no variable %s", name)
		}
	}
	ids, rows := map[int]bool{}, 0
	for _, panels := range rowsOf(d.Panels) {
		rows++
		checkLayout(t, panels)
		for _, panel := range panels {
			if panel.ID == 0 || ids[panel.ID] {
				t.Errorf("%s: the id %d is not its own", panel.Title, panel.ID)
			}
			ids[panel.ID] = true
			panel.check(t, p, got)
		}
	}
	if rows < 8 || len(ids) < 50 {
		t.Errorf("%d rows, %d panels", rows, len(ids))
	}
}

// rowsOf are the panels that are laid out together: those at the top, and those in each
// row that is folded.
func rowsOf(top []panel) [][]panel {
	out := [][]panel{top}
	for _, p := range top {
		if len(p.Panels) > 0 {
			out = append(out, p.Panels)
		} else if p.Type == "row" {
			out = append(out, nil)
		}
	}
	return out
}

// checkLayout fails the test if panels lie upon each other or beyond the grid.
func checkLayout(t *testing.T, panels []panel) {
	t.Helper()
	taken := map[[2]int]string{}
	for _, p := range panels {
		g := p.GridPos
		if g.X < 0 || g.W <= 0 || g.H <= 0 || g.X+g.W > 24 {
			t.Errorf("%s lies at %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("%s lies upon %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

// check fails the test if a panel asks for nothing, or for what is not there.
func (p panel) check(t *testing.T, server *promtest.Server, got exposition) {
	t.Helper()
	if p.Title == "" || p.Type != "row" && len(p.Targets) == 0 {
		t.Errorf("panel %d, %q, has no title or asks for nothing", p.ID, p.Title)
	}
	refs := map[string]bool{}
	for _, target := range p.Targets {
		if target.RefID == "" || refs[target.RefID] {
			t.Errorf("%s: the refId %q is not its own", p.Title, target.RefID)
		}
		refs[target.RefID] = true
		expr := concrete(target.Expr)
		if strings.Contains(expr, "$") {
			t.Errorf("%s: a variable is unknown in %s", p.Title, expr)
		}
		got.mustAnswer(t, server, p.Title, expr)
		if _, err := server.Query(expr); err != nil {
			t.Errorf("%s: %s: %v", p.Title, expr, err)
		}
	}
}

// concrete puts values in the place of Grafana's variables.
func concrete(expr string) string {
	expr = strings.NewReplacer("$__rate_interval", "1m", "$__interval", "1m").Replace(expr)
	return regexp.MustCompile(`\$(job|instance|listener|route|service)\b`).ReplaceAllString(expr, ".*")
}
