package routetable_test

import (
	"fmt"

	"usher/config"
	"usher/routetable"
	"usher/routetable/balance"
	"usher/watcher"
)

// example is a catalog of one service with two instances that announce a route.
func example(text string) *watcher.Catalog {
	announcements := []watcher.Announcement{{Where: "urlprefix-" + text, Text: text}}
	return watcher.NewCatalog(1, &watcher.Service{
		Key: watcher.Key{Registry: "consul", Service: "orders"},
		Instances: []watcher.Instance{
			{ID: "orders-1", Address: "10.0.0.1:8000", Weight: 1, Announcements: announcements},
			{ID: "orders-2", Address: "10.0.0.2:8000", Weight: 1, Announcements: announcements},
		},
	})
}

func exampleRules() *routetable.Rules {
	return &routetable.Rules{Defaults: config.Policy{Balance: "round_robin"}, Balancers: balance.All()}
}

// A catalog becomes a table, and the table finds the route of a request.
func ExampleBuild() {
	table := routetable.Build(example("shop.example.com/orders strip=/orders"), exampleRules(), nil)
	route := table.Match(&routetable.Request{
		Host: []byte("shop.example.com"), Path: []byte("/orders/17"), Method: []byte("GET"),
	})
	fmt.Println(route.ID, "by", route.Owner)

	// healthcheck writes the view, the proxy picks in it.
	cluster := route.Arms[route.Arm(0)].Cluster
	cluster.SetView(routetable.NewView([]int32{0, 1}, []float64{1, 1}))
	var tried routetable.PickInfo
	for range 3 {
		i, err := cluster.Picker.Pick(cluster.View(), &tried)
		if err != nil {
			fmt.Println(err)
			return
		}
		tried.Try(i)
		e := cluster.Endpoints[i]
		fmt.Println(e.Address, string(e.Rewrite.Target(nil, []byte("/orders/17?full"))))
	}
	// Output:
	// shop.example.com/orders by orders@consul urlprefix-shop.example.com/orders strip=/orders
	// 10.0.0.1:8000 /17?full
	// 10.0.0.2:8000 /17?full
	// no usable endpoint
}

// A rule that cannot be served is left out, with the reason.
func ExampleTable_refused() {
	table := routetable.Build(example("shop.example.com/ weight=heavy"), exampleRules(), nil)
	for _, r := range table.Refused() {
		fmt.Println(r.Service, r.Instance, r.Reason)
	}
	// Output:
	// orders@consul orders-1 weight "heavy" is not a share between 0 and 1
	// orders@consul orders-2 weight "heavy" is not a share between 0 and 1
}

func ExampleRewrite_Target() {
	r := routetable.Rewrite{Strip: "/orders", Prepend: "/v2"}
	fmt.Println(string(r.Target(nil, []byte("/orders/17?full"))))
	// Output: /v2/17?full
}
