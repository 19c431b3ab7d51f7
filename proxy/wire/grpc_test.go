package wire_test

import (
	"math"
	"math/big"
	"testing"
	"time"

	"usher/proxy/wire"
)

func TestIsGRPC(t *testing.T) {
	for value, want := range map[string]bool{
		"application/grpc":             true,
		"Application/gRPC":             true,
		"application/grpc+proto":       true,
		"application/grpc;charset=x":   true,
		"application/grpc+json;x=y":    true,
		"":                             false,
		"application/grp":              false,
		"application/grpcx":            false,
		"application/grpc-web":         false,
		"application/grpc-web+proto":   false,
		"application/grpc-web-text":    false,
		"text/plain; application/grpc": false,
		"application/json":             false,
	} {
		if got := wire.IsGRPC([]byte(value)); got != want {
			t.Errorf("%q: got %v", value, got)
		}
	}
}

func TestParseGRPCTimeout(t *testing.T) {
	const most = math.MaxInt64 / 2
	for value, want := range map[string]time.Duration{
		"1H":        time.Hour,
		"2M":        2 * time.Minute,
		"30S":       30 * time.Second,
		"100m":      100 * time.Millisecond,
		"5u":        5 * time.Microsecond,
		"7n":        7,
		"00000001S": time.Second,
		"99999999n": 99999999,
		"99999999m": 99999999 * time.Millisecond,
		"99999999H": most,
		"0n":        1,
		"0S":        1,
		// These mean nothing.
		"": 0, "S": 0, "1": 0, "10": 0, "1s": 0, "1h": 0, "-1S": 0, "+1S": 0, "1.5S": 0, " 1S": 0, "1 S": 0, "1SS": 0,
		"000000001S": 0, "123456789n": 0, "0x1S": 0, "aS": 0, "1\xb5": 0,
	} {
		got, ok := wire.ParseGRPCTimeout([]byte(value))
		if got != want || ok != (want > 0) {
			t.Errorf("%q: got %v, %v, want %v", value, got, ok, want)
		}
	}
}

func TestAppendGRPCTimeout(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second:                     "1n",
		0:                                "1n",
		1:                                "1n",
		99_999_999:                       "99999999n",
		100_000_000:                      "100000u",
		100_000_001:                      "100001u",
		time.Minute:                      "60000000u",
		99_999_999*time.Microsecond + 1:  "100000m",
		time.Hour:                        "3600000m",
		99_999_999*time.Millisecond + 1:  "100000S",
		99_999_999 * time.Second:         "99999999S",
		99_999_999*time.Second + 1:       "1666667M",
		99_999_999*time.Minute + 1:       "1666667H",
		time.Duration(math.MaxInt64):     "2562048H",
		time.Duration(math.MaxInt64 / 2): "76861434M",
	} {
		if got := string(wire.AppendGRPCTimeout(nil, d)); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}

func TestGRPCStatus(t *testing.T) {
	for lines, want := range map[string]int{
		"":                                        -1,
		"grpc-status: 0\r\n":                      0,
		"Grpc-Status:14\r\n":                      14,
		"a: b\r\ngrpc-status: 7 \r\nc: d\r\n":     7,
		"grpc-status: 16\r\n":                     16,
		"grpc-status: 17\r\n":                     2,
		"grpc-status: x\r\n":                      2,
		"grpc-status:\r\n":                        2,
		"grpc-status-details-bin: 7\r\n":          -1,
		"grpc-message: grpc-status: 7\r\n":        -1,
		"grpc-status: 999999999999999999999\r\n":  2,
		"grpc-message: x\r\n\r\ngrpc-status: 3":   3,
		"grpc-status: 1\r\ngrpc-status: 2\r\n":    1,
		"x-grpc-status: 1\r\ngrpc-status : 2\r\n": -1,
	} {
		if got := wire.GRPCStatus([]byte(lines)); got != want {
			t.Errorf("%q: got %d, want %d", lines, got, want)
		}
	}
}

// What the scanner notes of a call and of the response to one.
func TestScanGRPC(t *testing.T) {
	const post = "POST /s/M HTTP/1.1\r\nHost: a\r\n"
	for head, want := range map[string]struct {
		grpc    bool
		timeout time.Duration
	}{
		post + "Content-Type: text/plain\r\n\r\n":                                  {false, 0},
		post + "Content-Type: application/grpc\r\n\r\n":                            {true, 0},
		post + "content-type:\tapplication/grpc+proto \r\n\r\n":                    {true, 0},
		post + "grpc-timeout: 1S\r\ncontent-type: application/grpc\r\n\r\n":        {true, time.Second},
		post + "grpc-timeout: 1S\r\n\r\n":                                          {false, time.Second},
		post + "Grpc-Timeout: 1s\r\nContent-Type: application/grpc\r\n\r\n":        {true, -1},
		post + "grpc-timeout: 1S\r\ngrpc-timeout: 1S\r\n\r\n":                      {false, -1},
		post + "grpc-timeout: 1S\r\ngrpc-timeout: x\r\n\r\n":                       {false, -1},
		post + "Content-Typo: application/grpc\r\ngrpc-timeouu: 1S\r\n\r\n":        {false, 0},
		post + "Content-Type: application/grpc-web\r\nX: application/grpc\r\n\r\n": {false, 0},
	} {
		h, err := scan([]byte(head))
		if err != nil || h.Has(wire.HasGRPC) != want.grpc || h.CallTimeout != want.timeout || !h.Verbatim() {
			t.Errorf("%q: got %v, %v, verbatim %v (%v)", head, h.Has(wire.HasGRPC), h.CallTimeout, h.Verbatim(), err)
		}
	}
	const ok = "HTTP/1.1 200 OK\r\n"
	for head, want := range map[string]struct {
		grpc   bool
		status int
	}{
		ok + "\r\n": {false, -1},
		ok + "content-type: application/grpc\r\n\r\n":                                  {true, -1},
		ok + "content-type: application/grpc\r\ngrpc-status: 14\r\n\r\n":               {true, 14},
		ok + "Grpc-Status: 0\r\nContent-Type: application/grpc+proto\r\n\r\n":          {true, 0},
		ok + "content-type: text/html\r\ngrpc-status-details-bin: 4\r\nx: y\r\n\r\n":   {false, -1},
		"HTTP/1.1 503 No\r\ncontent-type: application/grpc\r\ngrpc-status: 99\r\n\r\n": {true, 2},
	} {
		var h wire.Head
		h.Reset()
		err := h.ScanResponse([]byte(head))
		if err != nil || h.Has(wire.HasGRPC) != want.grpc || h.GRPCStatus != want.status {
			t.Errorf("%q: got %v, %d (%v)", head, h.Has(wire.HasGRPC), h.GRPCStatus, err)
		}
	}
}

// FuzzGRPCTimeout compares with a reading that cannot overflow, and writes down again what
// was read.
func FuzzGRPCTimeout(f *testing.F) {
	for _, s := range []string{"1H", "99999999H", "0n", "00000010u", "123456789S", "1x", "", "1", "99999999M"} {
		f.Add([]byte(s))
	}
	units := map[byte]int64{'H': 3600e9, 'M': 60e9, 'S': 1e9, 'm': 1e6, 'u': 1e3, 'n': 1}
	f.Fuzz(func(t *testing.T, value []byte) {
		got, ok := wire.ParseGRPCTimeout(value)
		want, valid := new(big.Int), len(value) > 1 && len(value) <= 9
		for _, c := range value[:max(0, len(value)-1)] {
			valid = valid && '0' <= c && c <= '9'
			want.Add(want.Mul(want, big.NewInt(10)), big.NewInt(int64(c-'0')))
		}
		if valid {
			unit := units[value[len(value)-1]]
			valid = unit > 0
			want.Mul(want, big.NewInt(unit))
		}
		switch most := big.NewInt(math.MaxInt64 / 2); {
		case want.Sign() == 0:
			want.SetInt64(1)
		case want.Cmp(most) > 0:
			want = most
		}
		if ok != valid || ok && want.Cmp(big.NewInt(int64(got))) != 0 {
			t.Fatalf("%q: got %d, %v, want %d, %v", value, got, ok, want, valid)
		}
		if !ok {
			return
		}
		text := wire.AppendGRPCTimeout(nil, got)
		again, ok := wire.ParseGRPCTimeout(text)
		if !ok || again < got || again-got > got/1e4 {
			t.Fatalf("%q: %d was written as %q, which is %d", value, got, text, again)
		}
	})
}
