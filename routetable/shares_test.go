package routetable

import (
	"math"
	"testing"

	"usher/watcher"
)

// The shares of a route's traffic, by Fabio's rule.
func TestWeightShares(t *testing.T) {
	// weighted is an instance with its own weight.
	weighted := func(id string, weight float64, options string) watcher.Instance {
		in := instance(id, "a.com/ "+options)
		in.Weight = weight
		return in
	}
	plain := func(id, options string) watcher.Instance { return weighted(id, 1, options) }
	type list = []watcher.Instance
	for name, c := range map[string]struct {
		instances list
		want      []float64
	}{
		"all dynamic": {list{plain("a", ""), plain("b", "")}, []float64{.5, .5}},
		"one fixed": {
			list{plain("a", "weight=0.2"), plain("b", ""), plain("c", "")}, []float64{.2, .4, .4},
		},
		"all fixed, below the whole": {list{plain("a", "weight=0.1"), plain("b", "weight=0.3")}, []float64{.25, .75}},
		"all fixed, the whole":       {list{plain("a", "weight=0.9"), plain("b", "weight=0.1")}, []float64{.9, .1}},
		"all fixed, above the whole": {list{plain("a", "weight=3"), plain("b", "weight=1")}, []float64{.75, .25}},
		"fixed take the whole":       {list{plain("a", "weight=1"), plain("b", "")}, []float64{1, 0}},
		"fixed take more": {
			list{plain("a", "weight=1"), plain("b", "weight=1"), plain("c", "")}, []float64{.5, .5, 0},
		},
		"0 excludes": {list{plain("a", "weight=0"), plain("b", "")}, []float64{0, 1}},
		"0 excludes, beside fixed": {
			list{plain("a", "weight=0"), plain("b", "weight=.5"), plain("c", "")}, []float64{0, .5, .5},
		},
		"one alone":          {list{plain("a", "weight=0.2")}, []float64{1}},
		"instances' weights": {list{weighted("a", 3, ""), weighted("b", 1, "")}, []float64{.75, .25}},
		"instances' weights share what is left": {
			list{plain("a", "weight=.2"), weighted("b", 3, ""), weighted("c", 1, "")}, []float64{.2, .6, .2},
		},
		"an instance drained": {
			list{weighted("a", 0, ""), plain("b", ""), plain("c", "")}, []float64{0, .5, .5},
		},
		"a fixed share of a drained instance": {
			list{weighted("a", 0, "weight=0.2"), plain("b", ""), plain("c", "")}, []float64{0, .5, .5},
		},
		"all excluded": {list{plain("a", "weight=0"), weighted("b", 0, "")}, []float64{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			table := Build(catalogOf(service("s", c.instances...)), rulesOf(), nil)
			weights := weightsOf(t, table, "a.com/")
			var sum float64
			for _, w := range weights {
				sum += w
			}
			for i, in := range c.instances {
				if got := weights[in.ID] / max(sum, math.SmallestNonzeroFloat64); math.Abs(got-c.want[i]) > 1e-9 {
					t.Errorf("%s: got %g, want %g of %v", in.ID, got, c.want[i], weights)
				}
			}
		})
	}
}

// The weights of a route of its own have nothing to do with those of another.
func TestWeightBelongsToTheRule(t *testing.T) {
	table := Build(announce("a.com/ weight=0.25", "b.com/"), rulesOf(to("c", "s", "c.com/")), nil)
	for id, want := range map[string]float64{"a.com/": .25, "b.com/": 1, "c": 1} {
		if got := weightsOf(t, table, id)["i"]; got != want {
			t.Errorf("%s: got %g, want %g", id, got, want)
		}
	}
}
