package config

import (
	"reflect"
	"testing"
)

func TestLoadCatalog(t *testing.T) {
	got, err := LoadCatalog("testdata/good/catalog.yaml", Options{Env: envOf(nil)})
	if err != nil {
		t.Fatal(err)
	}
	at := func(line, column int) Pos { return Pos{"testdata/good/catalog.yaml", line, column} }
	want := &Catalog{Services: []CatalogService{
		{
			Name: "orders", Routes: []string{"shop.example.com/orders strip=/orders", "/"}, Pos: at(2, 5),
			Instances: []CatalogInstance{
				{
					ID: "127.0.0.1:9001", Address: "127.0.0.1:9001", Weight: 0.5, Status: "passing",
					Tags: []string{"blue"}, Meta: map[string]string{"version": "v2"}, Pos: at(5, 9),
				},
				{ID: "second", Address: "orders.example.com:80", Weight: 1, Status: "warning", Pos: at(6, 9)},
			},
		},
		{Name: "empty", Pos: at(7, 5)},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestLoadCatalogEmpty(t *testing.T) {
	path := writeFiles(t, map[string]string{"main.yaml": "# nothing yet\n"})
	if got, err := LoadCatalog(path, Options{}); err != nil || len(got.Services) != 0 {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := LoadCatalog(path+".gone", Options{}); err == nil {
		t.Error("a missing file is no error")
	}
}
