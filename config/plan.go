package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// plan is how a struct is read from a map, worked out from its tags:
//
//	yaml:"key"            the field's key
//	yaml:",inline"        the keys of this struct stand among the outer ones
//	yaml:",pos"           the field, a Pos, receives the position of the map
//	yaml:",when key=word" the keys of this pointed-to struct stand among the
//	                      outer ones when key has that value
//	yaml:"-"              not read
//	secret:"true"         key_file, naming a file that holds the value, is
//	                      accepted as well; a field for that key receives the path
//	path:"true"           a relative path counts from the folder of the file
type plan struct {
	fields   []field
	branches []branch
	pos      []int // index of the position's field; nil: none
}

// field is one key of a struct.
type field struct {
	key    string
	index  []int // nil for a secret's key_file that no field keeps
	secret []int // set for a secret's key_file: the index of the secret itself
	path   bool
}

// branch is a pointed-to struct that is read when key has the value word.
type branch struct {
	key, word string
	index     []int
	plan      *plan
}

// planOf works out the plan of a struct type. It panics on a tag it does not
// know: a mistake in this package, which any test finds.
func planOf(t reflect.Type) *plan {
	p := &plan{}
	p.collect(t, nil)
	p.addSecretFiles(t)
	return p
}

func (p *plan) collect(t reflect.Type, at []int) {
	for f := range t.Fields() {
		index := append(slices.Clone(at), f.Index...)
		key, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		condition, when := strings.CutPrefix(option, "when ")
		switch {
		case key == "-":
		case option == "inline":
			p.collect(f.Type, index)
		case option == "pos":
			p.pos = index
		case when:
			on, word, _ := strings.Cut(condition, "=")
			p.branches = append(p.branches, branch{on, word, index, planOf(f.Type.Elem())})
		case key == "" || option != "":
			panic(fmt.Sprintf("config: field %s of %s has the tag %q", f.Name, t, f.Tag))
		default:
			p.fields = append(p.fields, field{key: key, index: index, path: f.Tag.Get("path") == "true"})
		}
	}
}

func (p *plan) addSecretFiles(t reflect.Type) {
	for _, f := range slices.Clone(p.fields) {
		if t.FieldByIndex(f.index).Tag.Get("secret") != "true" {
			continue
		}
		if file := p.field(f.key + "_file"); file != nil {
			file.secret = f.index
			continue
		}
		p.fields = append(p.fields, field{key: f.key + "_file", secret: f.index})
	}
}

// field returns the field of key; nil when there is none.
func (p *plan) field(key string) *field {
	for i := range p.fields {
		if p.fields[i].key == key {
			return &p.fields[i]
		}
	}
	return nil
}

// owner returns the branch that has key; nil when none has.
func (p *plan) owner(key string) *branch {
	for i := range p.branches {
		if p.branches[i].plan.field(key) != nil {
			return &p.branches[i]
		}
	}
	return nil
}

// keys are the keys of the struct and of its branch active (nil: of none), in
// the order of the fields.
func (p *plan) keys(active *branch) []string {
	var keys []string
	for _, f := range p.fields {
		keys = append(keys, f.key)
	}
	if active != nil {
		keys = append(keys, active.plan.keys(nil)...)
	}
	return keys
}

// words are the values that choose a branch.
func (p *plan) words() []string {
	var words []string
	for _, b := range p.branches {
		words = append(words, b.word)
	}
	return words
}
