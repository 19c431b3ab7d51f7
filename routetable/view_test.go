package routetable

import (
	"errors"
	"math"
	"slices"
	"testing"

	"usher/watcher"
)

func TestNewView(t *testing.T) {
	for name, c := range map[string]struct {
		usable  []int32
		weights []float64
		want    View
	}{
		"nothing":       {nil, nil, View{}},
		"equal weights": {[]int32{0, 2, 5}, []float64{3, 3, 3}, View{Usable: []int32{0, 2, 5}}},
		"one":           {[]int32{4}, []float64{.001}, View{Usable: []int32{4}}},
		"scaled to the largest": {[]int32{0, 1, 2}, []float64{1, 3, 6}, View{
			Usable: []int32{0, 1, 2}, Weights: []uint16{10922, 32767, 65535}, Sums: []uint32{10922, 43689, 109224},
		}},
		"0 is left out": {[]int32{0, 1, 2}, []float64{0, 2, 2}, View{Usable: []int32{1, 2}}},
		"0 is left out, weights aligned": {[]int32{3, 5, 7}, []float64{2, 0, 1}, View{
			Usable: []int32{3, 7}, Weights: []uint16{65535, 32767}, Sums: []uint32{65535, 98302},
		}},
		"negative is left out": {[]int32{0, 1}, []float64{-1, 1}, View{Usable: []int32{1}}},
		"tiny stays above 0": {[]int32{0, 1}, []float64{1e-300, 1e300}, View{
			Usable: []int32{0, 1}, Weights: []uint16{1, 65535}, Sums: []uint32{1, 65536},
		}},
		"all 0": {[]int32{0, 1}, []float64{0, 0}, View{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := NewView(c.usable, c.weights)
			if !slices.Equal(got.Usable, c.want.Usable) || !slices.Equal(got.Weights, c.want.Weights) ||
				!slices.Equal(got.Sums, c.want.Sums) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if (got.Weights == nil) != (c.want.Weights == nil) || (got.Sums == nil) != (got.Weights == nil) {
				t.Errorf("nil against empty: %+v", got)
			}
		})
	}
}

func TestNewViewKeepsItsInput(t *testing.T) {
	usable, weights := []int32{0, 1, 2}, []float64{0, math.Pi, 1}
	NewView(usable, weights)
	if !slices.Equal(usable, []int32{0, 1, 2}) || !slices.Equal(weights, []float64{0, math.Pi, 1}) {
		t.Errorf("got %v, %v", usable, weights)
	}
}

func TestClusterView(t *testing.T) {
	var c Cluster
	if v := c.View(); v == nil || len(v.Usable) != 0 {
		t.Fatalf("the view before the first is %v", v)
	}
	if _, err := (firstUsable{}).Pick(c.View(), &PickInfo{}); !errors.Is(err, ErrNoEndpoint) {
		t.Errorf("got %v", err)
	}
	v := NewView([]int32{1}, []float64{1})
	c.SetView(v)
	if c.View() != v {
		t.Error("the view is another")
	}
}

func TestPickInfo(t *testing.T) {
	var p PickInfo
	if p.Tried(0) || p.Attempts() != 0 {
		t.Error("the zero value tried something")
	}
	for i := range 2 * maxTried {
		p.Try(i)
	}
	if p.Attempts() != maxTried || !p.Tried(0) || !p.Tried(maxTried-1) || p.Tried(maxTried) {
		t.Errorf("%d attempts: %v", p.Attempts(), p)
	}
	p.Reset()
	if p.Tried(0) || p.Attempts() != 0 {
		t.Error("Reset left something")
	}
}

func TestUp(t *testing.T) {
	for status, want := range map[watcher.Status]bool{
		watcher.Passing: true, watcher.Warning: true, watcher.Critical: false, watcher.Maintenance: false,
	} {
		if got := (&Endpoint{Status: status}).Up(); got != want {
			t.Errorf("%s: got %t", status, got)
		}
	}
}

func TestWords(t *testing.T) {
	for word, want := range map[string]PathType{
		"prefix": Prefix, "exact": Exact, "glob": Glob, "regex": Regex, "": Prefix, "other": Prefix,
	} {
		if got := pathType(word); got != want {
			t.Errorf("%q: got %s", word, got)
		}
	}
	for source, want := range map[Source]string{SourceTag: "tag", SourceMeta: "meta", SourceConfig: "config"} {
		if got := source.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
