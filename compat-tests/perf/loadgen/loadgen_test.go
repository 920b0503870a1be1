package main

import (
	"hash/crc32"
	"testing"
)

func TestBatch(t *testing.T) {
	if got := crc32.Checksum([]byte("123456789"), castagnoli); got != 0xe3069283 {
		t.Fatalf("CRC32C check value is %08x", got)
	}
	for _, c := range []struct{ limit, size, records int }{{1, 1024, 1}, {16384, 1024, 15}, {131072, 1024, 126}} {
		b, n := buildBatch(c.limit, c.size)
		if n != c.records || (len(b) > c.limit && n > 1) {
			t.Errorf("limit %d: %d records in %d bytes", c.limit, n, len(b))
		}
		*verify = true
		p := cursor{}
		records, bytes, err := p.skip(append(b, b[:20]...)) // the second one is cut off
		if err != nil || records != int64(n) || bytes != int64(len(b)) || p.offset != int64(n) {
			t.Errorf("limit %d: skip gave %d records, %d bytes, %v", c.limit, records, bytes, err)
		}
		b[len(b)-3] ^= 1
		if _, _, err := (&cursor{}).skip(b); err == nil {
			t.Errorf("limit %d: a changed byte went unnoticed", c.limit)
		}
		*verify = false
	}
}

func TestSenderRing(t *testing.T) {
	b, _ := buildBatch(1, 100)
	s := newSender(nil, []int32{0, 1, 2}, -1, b, 8)
	if s.slots != 9 || len(s.ring) != 9*s.frameLen {
		t.Fatalf("%d slots, %d bytes of %d", s.slots, len(s.ring), s.frameLen)
	}
	if int(be.Uint32(s.ring[s.frameLen:]))+4 != s.frameLen {
		t.Fatal("frame length field is wrong")
	}
}
