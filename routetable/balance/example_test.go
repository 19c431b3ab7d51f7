package balance_test

import (
	"fmt"

	"usher/routetable"
	"usher/routetable/balance"
)

// A round robin takes the endpoints in turn, by weight; a retry goes elsewhere.
func ExampleNewRoundRobin() {
	picker := balance.NewRoundRobin(nil, &routetable.ClusterState{})
	view := routetable.NewView([]int32{0, 1}, []float64{3, 1})
	var got [2]int
	for range 4000 {
		i, err := picker.Pick(view, &routetable.PickInfo{})
		if err != nil {
			fmt.Println(err)
			return
		}
		got[i]++
	}
	fmt.Println(got[0] > 2990, got[1] > 990)

	var tried routetable.PickInfo
	tried.Try(0)
	fmt.Println(picker.Pick(view, &tried))
	// Output:
	// true true
	// 1 <nil>
}

// The endpoint with fewer requests in flight is preferred.
func ExampleNewLeastRequest() {
	endpoints := []*routetable.Endpoint{{State: &routetable.State{}}, {State: &routetable.State{}}}
	endpoints[0].State.InFlight.Store(5)
	picker := balance.NewLeastRequest(&routetable.Cluster{Endpoints: endpoints}, nil)
	view := routetable.NewView([]int32{0, 1}, []float64{1, 1})
	var got [2]int
	for range 1000 {
		i, err := picker.Pick(view, &routetable.PickInfo{})
		if err != nil {
			fmt.Println(err)
			return
		}
		got[i]++
	}
	fmt.Println(got[1] > 2*got[0])
	// Output: true
}
