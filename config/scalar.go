package config

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// expected describes the values of a type in a message.
func expected(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "a duration like 5s"
	case reflect.TypeFor[Size]():
		return "a size like 10MiB"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	}
	return "a string"
}

// setScalar parses text as v's type. Quotes in the file make no difference to
// it: "5" is a number where a number is wanted, 5 a string where a string is. It
// panics for a type the configuration does not use yet.
func setScalar(v reflect.Value, text string) (err error) {
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p = text
	case *bool:
		*p, err = parseBool(text)
	case *int:
		*p, err = parseInt(text)
	case *float64:
		*p, err = parseFloat(text)
	case *time.Duration:
		*p, err = parseDuration(text)
	case *Size:
		*p, err = parseSize(text)
	default:
		panic(fmt.Sprintf("config: no parser for %s", v.Type()))
	}
	return err
}

func parseBool(s string) (bool, error) {
	if s != "true" && s != "false" {
		return false, fmt.Errorf("expected true or false, found %q", shorten(s))
	}
	return s == "true", nil
}

func parseInt(s string) (int, error) {
	n, err := strconv.Atoi(s)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("%q is too large", shorten(s))
	case err != nil:
		return 0, fmt.Errorf("expected a whole number, found %q", shorten(s))
	}
	return n, nil
}

func parseFloat(s string) (float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, fmt.Errorf("expected a number, found %q", shorten(s))
	}
	return f, nil
}

// parseDuration wants a unit, because a bare number means seconds to one reader
// and milliseconds to the next.
func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	_, notNumber := strconv.ParseFloat(s, 64)
	switch {
	case err == nil && d < 0:
		return 0, fmt.Errorf("duration %q is negative", shorten(s))
	case err == nil:
		return d, nil
	case notNumber == nil:
		return 0, fmt.Errorf("duration %q has no unit: write %ss, or %sms", shorten(s), shorten(s), shorten(s))
	}
	return 0, fmt.Errorf("expected a duration like 5s or 1m30s, found %q", shorten(s))
}

// sizeUnits are the suffixes of a Size, those that end like another first.
func sizeUnits() []sizeUnit {
	return []sizeUnit{
		{"KiB", 1 << 10},
		{"MiB", 1 << 20},
		{"GiB", 1 << 30},
		{"kB", 1e3},
		{"KB", 1e3},
		{"MB", 1e6},
		{"GB", 1e9},
		{"B", 1},
		{"", 1},
	}
}

type sizeUnit struct {
	suffix string
	bytes  int64
}

func parseSize(s string) (Size, error) {
	for _, u := range sizeUnits() {
		number, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimRight(number, " "), 10, 64)
		switch {
		case err != nil && !errors.Is(err, strconv.ErrRange):
			return 0, fmt.Errorf("expected a size like 512KiB or 10MiB, found %q", shorten(s))
		case n < 0:
			return 0, fmt.Errorf("size %q is negative", shorten(s))
		case err != nil || n > math.MaxInt64/u.bytes:
			return 0, fmt.Errorf("size %q is too large", shorten(s))
		}
		return Size(n * u.bytes), nil
	}
	panic("unreachable: the last unit is empty")
}

// String returns the size with the largest binary unit that divides it; what it
// returns reads as the same size.
func (s Size) String() string {
	for _, u := range []sizeUnit{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10)
}
