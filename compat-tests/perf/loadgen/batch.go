package main

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand"
	"time"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Where things are in a version 2 record batch.
const (
	batchLengthAt     = 8
	batchMagicAt      = 16
	batchCRCAt        = 17
	batchAttributesAt = 21 // the CRC covers everything from here on
	batchLastDeltaAt  = 23
	batchCountAt      = 57
	batchHeader       = 61
)

// appendRecord adds one record without key and headers.
func appendRecord(b []byte, delta int64, value []byte) []byte {
	body := []byte{0}                                   // attributes
	body = binary.AppendVarint(body, 0)                 // timestamp delta
	body = binary.AppendVarint(body, delta)             // offset delta
	body = binary.AppendVarint(body, -1)                // no key
	body = binary.AppendVarint(body, int64(len(value))) //
	body = append(body, value...)                       //
	body = binary.AppendVarint(body, 0)                 // headers
	return append(binary.AppendVarint(b, int64(len(body))), body...)
}

// buildBatch makes an uncompressed batch of as many records of size bytes as
// fit in limit bytes, at least one, and returns it with the number of records.
func buildBatch(limit, size int) ([]byte, int) {
	rng := rand.New(rand.NewSource(1))
	now := uint64(time.Now().UnixMilli())
	b := make([]byte, batchHeader, max(limit, size+batchHeader+32))
	n := 0
	for {
		value := make([]byte, size)
		for i := range value {
			value[i] = byte('a' + rng.Intn(26))
		}
		next := appendRecord(b, int64(n), value)
		if n > 0 && len(next) > limit {
			break
		}
		b, n = next, n+1
	}
	be.PutUint64(b[0:], 0) // base offset: the broker sets it
	be.PutUint32(b[batchLengthAt:], uint32(len(b)-12))
	be.PutUint32(b[12:], 0xffffffff) // partition leader epoch
	b[batchMagicAt] = 2
	be.PutUint16(b[batchAttributesAt:], 0)
	be.PutUint32(b[batchLastDeltaAt:], uint32(n-1))
	be.PutUint64(b[27:], now)        // first timestamp
	be.PutUint64(b[35:], now)        // largest timestamp
	be.PutUint64(b[43:], ^uint64(0)) // producer id
	be.PutUint16(b[51:], 0xffff)     // producer epoch
	be.PutUint32(b[53:], 0xffffffff) // base sequence
	be.PutUint32(b[batchCountAt:], uint32(n))
	be.PutUint32(b[batchCRCAt:], crc32.Checksum(b[batchAttributesAt:], castagnoli))
	return b, n
}
